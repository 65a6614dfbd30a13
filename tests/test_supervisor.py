"""Programs are kept alive, and none outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crm import supervisor
from crm.supervisor import Service, StartFailed, Supervisor

PATIENCE = 20.0
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEP}"
PARENT = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n{SLEEP}"


def python(name: str, code: str, *, ends_last: bool = False) -> Service:
    return Service(name, [sys.executable, "-c", code], ends_last=ends_last)


def await_that(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(supervisor, "PAUSES", (0.05, 0.1, 0.2))
    watch = Supervisor(tmp_path / "logs", os.environ)
    yield watch
    if not watch.stopping:
        watch.stop()


def run_until(watch: Supervisor, found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    watch.run(until=lambda: found() or time.monotonic() > deadline)
    assert found(), "waited in vain"


def log_of(watch: Supervisor, name: str) -> str:
    return (watch.logs / f"{name}.log").read_text("utf-8")


def test_a_fallen_program_is_started_again(
    watch: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    child = watch.add(python("web", SLEEP))
    watch.ready = True
    run_until(watch, lambda: "up" in log_of(watch, "web"))
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    run_until(watch, lambda: log_of(watch, "web").count("up") == 2)
    assert child.process.pid != first
    assert "[web] завершился с кодом -9" in capsys.readouterr().out


def test_pauses_grow_and_a_steady_program_is_forgiven(watch: Supervisor) -> None:
    child = watch.add(python("web", SLEEP))
    now = time.monotonic()
    assert [child.plan_restart(now) for _ in range(4)] == [0.05, 0.1, 0.2, 0.2]
    assert child.plan_restart(now + supervisor.STEADY_SECONDS + 1) == 0.05
    child.restart_at = 0.0


def test_a_program_that_never_gets_up_ends_the_start(watch: Supervisor) -> None:
    watch.add(python("web", "raise SystemExit('no such table')"))
    with pytest.raises(StartFailed, match="web"):
        run_until(watch, lambda: False)
    assert "no such table" in log_of(watch, "web")


def test_stop_ends_grandchildren_too(watch: Supervisor) -> None:
    child = watch.add(python("worker", PARENT))
    run_until(watch, lambda: log_of(watch, "worker").count("up") == 2)
    assert child.process is not None
    members = supervisor.session_members(child.process.pid)
    assert len(members) == 2
    watch.stop()
    assert all(is_gone(pid) for pid in members)


def test_who_does_not_obey_is_killed(watch: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "GRACE_SECONDS", 0.3)
    child = watch.add(python("worker", STUBBORN))
    run_until(watch, lambda: "up" in log_of(watch, "worker"))
    watch.stop()
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_the_queue_ends_after_those_who_use_it(watch: Supervisor, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep({delay})\n"
        "    open({trace!r}, 'a').write('{name} ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n" + SLEEP.replace("import time\n", "")
    )
    redis = code.format(delay=0, trace=str(trace), name="redis")
    worker = code.format(delay=0.3, trace=str(trace), name="worker")
    watch.add(python("redis", redis, ends_last=True))
    watch.add(python("worker", worker))
    run_until(watch, lambda: all("up" in log_of(watch, name) for name in ("redis", "worker")))
    watch.stop()
    assert trace.read_text("utf-8").split() == ["worker", "redis"]


def test_errors_reach_the_terminal_and_the_rest_only_the_log(
    watch: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    watch.add(python("web", f"print('quiet'); print('ERROR loud {'x' * 500}')\n{SLEEP}"))
    run_until(watch, lambda: "up" in log_of(watch, "web"))
    shown = capsys.readouterr().out
    assert "[web] ERROR loud" in shown
    assert "quiet" not in shown
    assert max(map(len, shown.splitlines())) <= supervisor.LINE_WIDTH + len("[web] ")
    assert "quiet" in log_of(watch, "web")


def test_a_line_cut_by_the_pipe_is_logged_whole(watch: Supervisor) -> None:
    child = watch.add(python("web", SLEEP))
    text = "Заявка принята\n".encode()
    assert child.take_lines(text[:9]) == []
    assert child.take_lines(text[9:]) == ["Заявка принята"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_killed_supervisor_leaves_nobody(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from crm.supervisor import Service, Supervisor\n"
        f"watch = Supervisor(Path({str(tmp_path)!r}), os.environ)\n"
        f"child = watch.add(Service('web', [sys.executable, '-c', {SLEEP!r}]))\n"
        "print(child.process.pid, flush=True)\n"
        "watch.run()\n"
    )
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    await_that(lambda: is_gone(pid))
