"""Feeds from the shell: taking foreign ones in, building our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from crm.models import Feed, FeedRun, FeedRunItem, ImportFeed, ListingState, RunState, db
from crm.operations import files, imports, publishing, records
from crm.operations.errors import OperationError
from crm.operations.feeds import STATES_FOR_NEW

_SHOWN_REASONS = 20


@click.group("feed")
def feed() -> None:
    """Фиды: загрузка чужих и сборка своих."""


@feed.command("import")
@click.argument("source")
@click.option("--name", help="Название источника; по умолчанию имя файла или сайта.")
@click.option("--dry-run", is_flag=True, help="Только отчёт, объекты не меняются.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in STATES_FOR_NEW]),
    help="Состояние новых объектов (у нового источника — черновик).",
)
@click.option("--json", "as_json", is_flag=True, help="Отчёт в формате JSON.")
@with_appcontext
def take_in(source: str, name: str | None, dry_run: bool, state: str | None, as_json: bool) -> None:
    """Загрузить объекты из файла или по адресу SOURCE (формат Яндекс Недвижимости)."""
    remote = source.lower().startswith(("http://", "https://"))
    if not remote and not Path(source).is_file():
        raise click.ClickException(f"Нет файла {source}")
    try:
        target = _import_feed(name or _name_of(source, remote), state)
        run = _start(target, source, remote, dry_run)
        run = imports.run_import(run.id)
    except OperationError as error:
        raise click.ClickException(error.message) from error
    _report_import(run, as_json)


@feed.command("build")
@click.argument("which", required=False)
@click.option("--all", "every", is_flag=True, help="Все включённые фиды.")
@click.option("--force", is_flag=True, help="Опубликовать, даже если предложений стало мало.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Отчёт в формате JSON.")
@with_appcontext
def build(which: str | None, every: bool, force: bool, output: Path | None, as_json: bool) -> None:
    """Собрать фид WHICH (название или номер); единственный фид можно не называть."""
    feeds = _feeds(which, every)
    if output is not None and len(feeds) != 1:
        raise click.ClickException("Ключ -o нужен для одного фида")
    reports = [_built(found, force) for found in feeds]
    if output is not None:
        _save(feeds[0], output)
    if as_json:
        click.echo(json.dumps(reports if every else reports[0], ensure_ascii=False, indent=2))
    else:
        for report in reports:
            _print(report, ("offers", "refused", "unchanged"))
    if any(report["state"] != RunState.DONE for report in reports):
        raise SystemExit(1)


# --- import -----------------------------------------------------------------------------------


def _name_of(source: str, remote: bool) -> str:
    """Host of an address (never its path or query, where keys travel), or the file's name."""
    return (urlsplit(source).hostname or "сайт") if remote else Path(source).name[:120]


def _import_feed(name: str, state: str | None) -> ImportFeed:
    query = select(ImportFeed).where(ImportFeed.name == name)
    found: ImportFeed | None = db.session.scalars(query).one_or_none()
    if found is None:
        made = ImportFeed(name=name, state_for_new=str(state or ListingState.DRAFT))
        records.create(made, None)
        return made
    if state is not None and found.state_for_new != state:
        found.state_for_new = str(state)
        records.update(found, None)
    return found


def _start(target: ImportFeed, source: str, remote: bool, dry_run: bool) -> FeedRun:
    if remote:
        return imports.start_import(target, source, dry_run=dry_run, enqueue=False)
    with Path(source).open("rb") as stream:
        return imports.start_import(target, stream, dry_run=dry_run, enqueue=False)


def _report_import(run: FeedRun, as_json: bool) -> None:
    report = _report(run) | {
        "dry_run": run.dry_run,
        "imported": run.created,
        "updated": run.updated,
        "unchanged": run.unchanged,
        "refused": run.refused,
    }
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print(report, ("imported", "updated", "unchanged", "refused"))
    if run.state == RunState.FAILED:
        raise SystemExit(1)


# --- build ------------------------------------------------------------------------------------


def _feeds(which: str | None, every: bool) -> list[Feed]:
    query = select(Feed).order_by(Feed.id)
    if which is not None:
        by_id = Feed.id == int(which) if which.isdecimal() else Feed.name == which
        query = query.where(by_id | (Feed.name == which))
    elif every:
        query = query.where(Feed.active)
    found = list(db.session.scalars(query))
    if not found:
        raise click.ClickException("Такого фида нет")
    if len(found) > 1 and not every:
        names = ", ".join(f"{item.id} «{item.name}»" for item in found)
        raise click.ClickException(f"Назовите фид: {names}")
    return found


def _built(found: Feed, force: bool) -> dict[str, Any]:
    try:
        run = publishing.build_feed(found.id, force=force)
    except OperationError as error:
        raise click.ClickException(error.message) from error
    fresh = publishing.by_token(found.token)
    return _report(run) | {
        "feed": found.name,
        "offers": run.created,
        "refused": run.refused,
        "unchanged": bool(run.unchanged),
        "etag": fresh.etag if fresh else None,
    }


def _save(found: Feed, output: Path) -> None:
    db.session.refresh(found)
    if found.file is None:
        raise click.ClickException("Готового файла нет")
    with files.open_file(found.file) as stream, output.open("wb") as out:
        while chunk := stream.read(1024 * 1024):
            out.write(chunk)


# --- reports ----------------------------------------------------------------------------------


def _report(run: FeedRun) -> dict[str, Any]:
    query = (
        select(FeedRunItem.position, FeedRunItem.internal_id, FeedRunItem.reasons)
        .where(FeedRunItem.run_id == run.id, FeedRunItem.outcome == "refused")
        .order_by(FeedRunItem.position)
    )
    return {
        "run": run.id,
        "state": str(run.state),
        "message": run.error,
        "total": run.total,
        "reasons": [
            {"position": row.position, "internal_id": row.internal_id, "reasons": row.reasons}
            for row in db.session.execute(query)
        ],
    }


def _print(report: dict[str, Any], names: tuple[str, ...]) -> None:
    words = {
        "imported": "новых",
        "updated": "изменено",
        "unchanged": "без изменений",
        "refused": "не принято",
        "offers": "в файле",
    }
    counts = ", ".join(f"{words[name]}: {int(report[name])}" for name in names)
    click.echo(f"{report.get('feed') or 'Загрузка'} — {report['state']}; {counts}")
    if report["message"]:
        click.echo(report["message"])
    for row in report["reasons"][:_SHOWN_REASONS]:
        click.echo(f"  № {row['position']} {row['internal_id'] or ''}: {'; '.join(row['reasons'])}")
    if len(report["reasons"]) > _SHOWN_REASONS:
        click.echo(f"  … и ещё {len(report['reasons']) - _SHOWN_REASONS}")


COMMANDS = (feed,)
