"""One student over two machines: two processes with a folder each, and a store between them.

The store is the one that ``dskd torchrun`` hosts; the launcher itself takes part in one test.
"""

import contextlib
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from torch.distributed import TCPStore

from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import processor_on, trained_in
from flows.torchrun import _listening
from tests.faults.lives import ROOT, lives
from tests.faults.machine import PID, SAID, SILENT, machine
from tests.faults.test_training_stops import checkpoints, inputs, student, two_roots  # noqa: F401
from tests.miniature import Built

HERE = trained_in(processor_on("cpu").native)
OTHER = "float32" if HERE == "bfloat16" else "bfloat16"
TWO_RANKS = {"n_ranks": 2, "checkpoint_steps": 4}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def life() -> Iterator[Callable[..., int]]:
    with lives(machine, seconds=400) as life:
        yield life


@pytest.fixture(scope="module")
def calm(inputs, tmp_path_factory) -> PipelineConfig:  # noqa: F811
    """A root with the student of two ranks on one machine."""
    config, _ = two_roots(inputs, tmp_path_factory.mktemp("calm"), TWO_RANKS)
    Built(config).student("paper", 0)
    return config


@contextmanager
def places(folder: Path) -> Iterator[list[tuple[dict[str, str], Path]]]:
    """Give environment and folder of two machines, while a store stands that they meet at."""
    listening = _listening("127.0.0.1", 0)
    port = socket.socket(fileno=os.dup(listening)).getsockname()[1]
    store = TCPStore(
        *("127.0.0.1", port, None, True, timedelta(seconds=60)),
        wait_for_workers=False,
        master_listen_fd=listening,
    )
    found = []
    for rank in range(2):
        own = folder / f"machine-{rank}-{port}"
        own.mkdir()
        said = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1} | {
            "TORCHELASTIC_RUN_ID": "test",
            "DSKD_RENDEZVOUS": f"127.0.0.1:{port}",
        }
        found.append(({name: str(value) for name, value in said.items()}, own))
    yield found
    del store


def said(folder: Path) -> list[str]:
    return (folder / SAID).read_text().splitlines()


def test_two_machines_give_the_bytes_of_one(calm, inputs, tmp_path, life):  # noqa: F811
    config, alone = two_roots(inputs, tmp_path, TWO_RANKS)
    with places(tmp_path) as two:
        assert life.together(*((config, *place) for place in two)) == [0, 0]
        assert [said(folder) for _, folder in two] == [[], []]
    assert student(config).record.files == student(calm).record.files
    accumulated = {"n_ranks": 1, "n_accumulated": 2}
    training = alone.training.model_copy(update=accumulated)
    Built(alone.model_copy(update={"training": training})).student("paper", 0)
    weights = "model/model.safetensors"
    assert student(alone).record.files[weights] == student(calm).record.files[weights]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_machine_ends_the_other_in_a_sentence_and_a_rerun_gives_the_same_bytes(
    victim,
    calm,
    inputs,  # noqa: F811
    tmp_path,
    life,
):
    config, _ = two_roots(inputs, tmp_path, TWO_RANKS)
    with places(tmp_path) as two:
        killed = two[victim][1]
        codes = life.together((config, *two[0], killed, signal.SIGKILL, 6), (config, *two[1]))
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == 1
        (*_, last) = said(two[1 - victim][1])
    assert re.search(r"lost another rank|is silent for 8 s|is gone", last)
    assert last.endswith("start all machines again, the last checkpoint is kept.")
    assert checkpoints(config) == [4]
    with places(tmp_path) as two:
        assert life.together(*((config, *place) for place in two)) == [0, 0]
    assert student(config).record.files == student(calm).record.files
    assert checkpoints(config) == []


def test_a_machine_that_stands_still_is_not_waited_for(inputs, tmp_path, life):  # noqa: F811
    config, _ = two_roots(inputs, tmp_path, TWO_RANKS)
    with places(tmp_path) as two:
        frozen = two[1][1]
        began = time.monotonic()
        context = life.start((config, *two[0], frozen, signal.SIGSTOP, 3), (config, *two[1]))
        try:
            context[0].join(200)
            assert context[0].exitcode == 1
            assert (
                f"Rank 0 of 2 ({socket.gethostname()}) ends: rank 1 is silent for 8 s"
                in (said(two[0][1])[-1])
            )
            assert time.monotonic() - began > SILENT
        finally:
            os.kill(int((frozen / PID).read_text()), signal.SIGKILL)


def test_either_machine_may_be_asked_to_stop_and_the_step_is_kept(inputs, tmp_path, life):  # noqa: F811
    config, _ = two_roots(inputs, tmp_path, TWO_RANKS)
    with places(tmp_path) as two:
        other = two[1][1]
        codes = life.together((config, *two[0], other, signal.SIGTERM, 6), (config, *two[1]))
    assert codes == [143, 143]
    (kept,) = checkpoints(config)
    assert kept in {6, 7, 8}


@pytest.mark.parametrize(
    ("change", "environment", "refusal"),
    [
        (
            {"training": {"learning_rate": 0.5}},
            {},
            r"Rank 1 \(\S+\) was started with training.learning_rate 0.5, and rank 0 \(\S+\) with "
            r"0.01; give all machines the same parameter file\.",
        ),
        (
            {},
            {"DSKD_PRECISION": OTHER},
            rf"Rank 1 \(\S+\) has training.compute_dtype {OTHER}, and rank 0 \(\S+\) {HERE}: "
            r"their weights would drift apart",
        ),
        ({"root_uri": "artifacts"}, {}, r"root_uri leads Rank 1 \(\S+\) to /.* and rank 0"),
    ],
    ids=["settings", "precision", "relative root"],
)
def test_machines_that_differ_are_refused_before_any_work(
    change,
    environment,
    refusal,
    inputs,  # noqa: F811
    tmp_path,
    life,
):
    values = inputs.model_dump(mode="json")
    values["training"] |= TWO_RANKS | {"compute_dtype": "auto"}
    values |= {"root_uri": "artifacts"} if "root_uri" in change else {}
    first = PipelineConfig.model_validate(values)
    values["training"] |= change.get("training", {})
    second = PipelineConfig.model_validate(values)
    with places(tmp_path) as two:
        other = (two[1][0] | environment, two[1][1])
        assert life.together((first, *two[0]), (second, *other)) == [2, 2]
        for _, folder in two:
            assert re.search(refusal, " ".join(said(folder)))


def test_the_launcher_starts_both_and_nothing_listens_to_other_machines(calm, inputs, tmp_path):  # noqa: F811
    config, _ = two_roots(inputs, tmp_path, TWO_RANKS)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launchers, opened = [], set()
    for number in range(2):
        folder = tmp_path / f"machine-{number}"
        folder.mkdir()
        command = [sys.executable, "-m", "tests.faults.launching"]
        command += [str(tmp_path / "config.json"), str(folder), str(port)]
        path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        launchers.append(subprocess.Popen(command, cwd=folder, env=os.environ | path))
    try:
        deadline = time.monotonic() + 400
        while any(one.poll() is None for one in launchers) and time.monotonic() < deadline:
            opened |= listening(launchers)
            time.sleep(0.1)
        assert [one.poll() for one in launchers] == [0, 0]
    finally:
        for one in launchers:
            one.kill()
    assert ("127.0.0.1", port) in opened
    assert len(opened) > 1
    assert all(ipaddress.ip_address(host).is_loopback for host, _ in opened)
    assert student(config).record.files == student(calm).record.files


def listening(launchers: list[subprocess.Popen]) -> set[tuple[str, int]]:
    """Return where launchers and what they started listen now."""
    found = set()
    for one in launchers:
        with contextlib.suppress(psutil.Error):
            launcher = psutil.Process(one.pid)
            for process in (launcher, *launcher.children(recursive=True)):
                sockets = process.net_connections("inet")
                found |= {tuple(c.laddr) for c in sockets if c.status == psutil.CONN_LISTEN}
    return found
