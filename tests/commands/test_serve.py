from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask

import config
from crm.cli import main
from crm.commands import serve
from crm.jobs import worker


@pytest.mark.parametrize(
    ("name", "port", "program"), [("web", "9321", "app:app"), ("events", "9322", "crm.events")]
)
def test_servers_replace_the_command(
    name: str, port: str, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, argv: started.append(argv))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "9321")
    monkeypatch.setenv("INSTANCE_DIR", str(tmp_path))
    result = CliRunner().invoke(main, [name, "--bind", "0.0.0.0"])
    assert result.exit_code == 0, result.output
    (argv,) = started
    assert f"0.0.0.0:{port}" in argv
    assert any(program in part for part in argv)
    # Started from anywhere, it finds the application.
    assert Path.cwd() == config.ROOT


def test_commands_are_offered() -> None:
    names = {command.name for command in serve.COMMANDS}
    assert names == {"web", "events", "worker", "cron"}
    text = CliRunner().invoke(main, ["--help"]).output
    assert all(name in text for name in names)


@pytest.mark.parametrize(("with_cron", "extra"), [(False, []), (True, ["cron"])])
def test_worker_may_carry_the_scheduler(app: Flask, with_cron: bool, extra: list[str]) -> None:
    lanes: Any = worker.build_lanes(app, with_cron=with_cron)
    names = [lane.name for lane in lanes.lanes]
    assert names == ["calls", "default", "feeds", "sync", "pbx", *extra]
