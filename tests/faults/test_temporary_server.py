"""A temporary server ends with the process it was started for, in whatever way that one ended.

The quick tests have a stand-in for Prefect's server, as deaf as it gets; the slow ones the server.
"""

import os
import pty
import re
import select
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dskd_core.store.artifacts import ArtifactStore
from tests.faults.ends import Started, is_open, seconds_until_gone, start
from tests.miniature import Built, make
from tests.served import awaited

SECONDS = 10.0
"""What may pass between the end of a process and that of its temporary server."""

STAND_IN = """
import os, signal, subprocess, sys, time
from pathlib import Path
from flows.temporary_server import end_servers_with_this_process
SERVER = '''
import signal, socket, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", 0))
written = Path(sys.argv[2] + ".part")
written.write_text(str(listener.getsockname()[1]))
written.rename(sys.argv[2])
time.sleep(300)
'''
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
end_servers_with_this_process()
variables = os.environ | {"PREFECT__SERVER_EPHEMERAL": "1"}
command = [sys.executable, "-c", SERVER, "prefect.server.api.server:create_app", sys.argv[2]]
if sys.argv[1] == "late":
    subprocess.Popen(command, env=variables)
    os.kill(os.getpid(), signal.SIGKILL)
subprocess.Popen(command, env=variables, start_new_session=sys.argv[1] == "detached")
while not Path(sys.argv[2]).exists():
    time.sleep(0.02)
if sys.argv[1] == "exception":
    raise RuntimeError("the run crashed")
if sys.argv[1] == "_exit":
    os._exit(3)
if sys.argv[1] == "end":
    sys.exit(0)
time.sleep(300)
"""

FLOW = """
import os, sys, time
from pathlib import Path
from flows.settings import use_own_prefect
use_own_prefect()
from prefect import flow, task
from dskd_core import interruption
from flows.runners.choice import ChosenRunner

@task
def work(sign, kind):
    Path(sign).write_text("")
    if kind == "deaf":
        time.sleep(60)
    if kind == "raises":
        raise RuntimeError("the run crashed")
    if kind == "saves":
        with interruption.finishing():
            time.sleep(8)
            Path(sign + ".saved").write_text("")
    for _ in range(600):
        time.sleep(0.1)
        interruption.check()

@flow(name="inner", task_runner=ChosenRunner())
def inner(*options):
    work.submit(*options).result()

@flow(name="outer", task_runner=ChosenRunner())
def outer(*options):
    inner(*options)

outer(*sys.argv[1:])
"""
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL]


def stand_in(folder: Path, name: str, way: str) -> tuple[Started, Path]:
    return start(["-c", STAND_IN, way, name + ".port"], folder, name), folder / f"{name}.port"


def end_stand_in(folder: Path, name: str, way: str, *sent) -> None:
    """Start a stand-in, end it and assert that nothing is left of it."""
    started, port = stand_in(folder, name, way)
    if way not in ("exception", "_exit", "end", "late"):
        assert awaited(port.exists, 30), started.said()
        assert is_open(int(port.read_text()))
        started.send(*sent[:1], to_group="group" in sent)
    started.code(30)
    assert seconds_until_gone(started, time.monotonic(), SECONDS) < SECONDS
    assert not (port.exists() and is_open(int(port.read_text())))


WAYS = [
    *(("detached", number) for number in SIGNALS),
    *(("detached", number, "group") for number in SIGNALS),
    *(("attached", signal.SIGKILL, "group"), ("attached", signal.SIGKILL)),
    *(("exception",), ("_exit",), ("end",), ("late",), ("late",), ("late",)),
]


@pytest.mark.slow
def test_a_deaf_server_is_gone_within_ten_seconds_however_its_process_ended(tmp_path):
    with ThreadPoolExecutor(len(WAYS)) as threads:
        ends = [
            threads.submit(end_stand_in, tmp_path, f"way{number}", *way)
            for number, way in enumerate(WAYS)
        ]
    for end in ends:
        end.result()


def test_servers_of_others_stay_and_an_orphan_whose_watcher_was_killed_is_ended_by_the_next_run(
    tmp_path, monkeypatch
):
    from flows.temporary_server import end_orphaned_servers

    (orphan, port), (other, _), (living, its_port) = (
        stand_in(tmp_path, name, "detached") for name in ("orphan", "other", "living")
    )
    try:
        everybody = (orphan, other, living)
        assert awaited(lambda: all(one.has_server() and port.exists() for one in everybody), 30)
        for one in (orphan, other):
            for process in one.left():
                if "temporary_server.py" in " ".join(process.cmdline()):
                    process.kill()
            one.process.kill()
            one.process.wait()
        end_orphaned_servers(str(orphan.home))
        end_orphaned_servers(str(living.home))
        assert awaited(lambda: not orphan.left(), SECONDS)
        assert other.has_server()
        assert living.has_server()
        assert awaited(its_port.exists, 30)
    finally:
        for one in (orphan, other, living):
            one.process.kill()
            for process in one.left():
                process.kill()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Path:
    """A PREFECT_HOME whose database is made, which takes longer than a run."""
    folder = tmp_path_factory.mktemp("migrated")
    started = start(["-c", FLOW, "sign", "raises"], folder, "first")
    assert started.code(200) == 1, started.said()
    assert "the run crashed" in started.said()
    assert seconds_until_gone(started, time.monotonic(), SECONDS) < SECONDS
    return started.home


@pytest.fixture
def started_flow(tmp_path, migrated):
    """Start the flow at a copy of the migrated home; return it once its task is at work."""
    everything = []

    def begin(kind: str = "works") -> tuple[Started, Path]:
        name = f"run{len(everything)}"
        shutil.copytree(migrated, tmp_path / f"{name}-prefect")
        sign = tmp_path / name
        started = start(["-c", FLOW, str(sign), kind], tmp_path, name)
        everything.append(started)
        assert awaited(sign.exists, 120), started.said()
        return started, sign

    yield begin
    for started in everything:
        started.process.kill()
        for process in started.left():
            process.kill()


def port_of(started: Started) -> int:
    return int(re.search(r"server on http://127.0.0.1:(\d+)", started.said())[1])


def report(what: str, ended: float, gone: float) -> None:
    print(f"{what}: ended after {ended:.1f} s, its server {gone:.1f} s later")


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_prefects_server_is_gone_within_ten_seconds_of_a_flow_that_a_signal_ended(
    started_flow, number
):
    for to_group in (False, True, False):
        started, _ = started_flow()
        sent = started.send(number, to_group=to_group)
        assert started.code(SECONDS) == -number, started.said()
        ended = time.monotonic()
        gone = seconds_until_gone(started, ended, SECONDS)
        report(f"{number.name}{' to its group' * to_group}", ended - sent, gone)
        assert gone < SECONDS
        assert not is_open(port_of(started))
        if number != signal.SIGKILL:  # a task and two flows have told the server of their end
            assert started.said().count("Finished in state Crashed") == 3, started.said()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_task_that_saves_is_waited_for_and_one_that_is_deaf_is_not(started_flow, number):
    saving, sign = started_flow("saves")
    saving.send(number)
    assert saving.code(8 + SECONDS) != 0
    assert sign.with_suffix(".saved").exists()

    deaf, _ = started_flow("deaf")
    sent = deaf.send(number)
    assert deaf.code(SECONDS) == -number, deaf.said()
    report(f"{number.name} to a deaf task", time.monotonic() - sent, 0)
    assert seconds_until_gone(deaf, time.monotonic(), SECONDS) < SECONDS


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once_but_the_echo_of_the_first_does_not(started_flow):
    echoed, sign = started_flow("saves")
    for _ in range(3):
        echoed.send(signal.SIGHUP)
        time.sleep(0.2)
    assert echoed.code(8 + SECONDS) == -signal.SIGHUP
    assert sign.with_suffix(".saved").exists()

    hurried, sign = started_flow("saves")
    hurried.send(signal.SIGTERM)
    time.sleep(2)
    hurried.send(signal.SIGINT)
    assert hurried.code(1) == -signal.SIGINT
    assert not sign.with_suffix(".saved").exists()
    assert seconds_until_gone(hurried, time.monotonic(), SECONDS) < SECONDS


@pytest.mark.slow
def test_a_flow_told_to_end_while_its_server_starts_leaves_no_server(tmp_path):
    for number in (signal.SIGTERM, signal.SIGKILL):
        started = start(["-c", FLOW, "sign", "works"], tmp_path, number.name)
        assert awaited(started.has_server, 60), started.said()
        time.sleep(1)
        started.send(number)
        assert started.code(SECONDS) == -number, started.said()
        assert seconds_until_gone(started, time.monotonic(), SECONDS) < SECONDS


@pytest.fixture
def training(tmp_path):
    """Start ``dskd run`` on a miniature, in a terminal or not, and return it in mid-training."""
    config = make(
        tmp_path,
        evaluation={"arms": ["kd"], "seeds": [0], "n_resamples": 20},
        training={"n_epochs": 10000.0, "checkpoint_steps": 20},
    )
    Built(config).inputs("kd")
    file, store = tmp_path / "miniature.yaml", ArtifactStore(config.root_uri)
    file.write_text(config.model_dump_json())
    everything = []

    def steps() -> list[int]:
        return sorted(each.record.config["step"] for each in store.of_stage("checkpoint"))

    def begin(terminal: str = "") -> Started:
        begun, command = steps(), ["-m", "flows.cli", "run", str(file)]
        if terminal:
            command = ["-c", IN_TERMINAL, terminal, *command]
        name = f"run{len(everything)}"
        started = start(command, tmp_path, name, PREFECT_HOME=str(tmp_path / "prefect"))
        everything.append(started)
        assert awaited(lambda: steps() != begun or started.process.poll() is not None, 200)
        assert started.process.poll() is None, started.said()
        return started

    begin.steps = steps
    yield begin
    for started in everything:
        started.process.kill()
        for process in started.left():
            process.kill()


IN_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # a leader of a session gets it as its own
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dskd_run_saves_its_step_and_leaves_no_server_however_it_is_ended(training):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        run = training()
        sent = run.send(number)
        code = run.code(SECONDS)
        ended = time.monotonic()
        assert code == {signal.SIGINT: 130}.get(number, -number), run.said()
        gone = seconds_until_gone(run, ended, SECONDS)
        report(f"dskd run, {number.name}", ended - sent, gone)
        assert gone < SECONDS
        if number != signal.SIGKILL:
            stopped = int(re.search(r"Stopped after step (\d+)", run.said())[1])
            assert training.steps()[-1] == stopped


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dskd_run_saves_its_step_and_leaves_no_server_when_its_terminal_is_closed(training):
    here, there = pty.openpty()
    closing = threading.Event()

    def read() -> None:
        while not closing.is_set():
            if select.select([here], [], [], 0.1)[0]:
                os.read(here, 4096)

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        try:
            run = training(os.ttyname(there))
        finally:
            closing.set()
        reading.result()
    os.close(there)
    begun = training.steps()
    os.close(here)
    assert run.code(SECONDS) == -signal.SIGHUP
    gone = seconds_until_gone(run, time.monotonic(), SECONDS)
    report("dskd run, closed terminal", 0, gone)
    assert gone < SECONDS
    assert training.steps()[-1] >= begun[-1]
    assert training.steps()[-1] % 20 or training.steps() != begun  # saved between two checkpoints
