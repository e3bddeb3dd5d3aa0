"""Several processes against one, with a model small enough to add up by hand."""

import ipaddress
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from torch import nn

from dskd_core.errors import CapacityError, DataError
from dskd_core.training.ranks.ranks import LostRankError, Ranks, group, together

N_STEPS, N_WINDOWS, LENGTH = 5, 6, 3


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch):
    """Let three ranks meet on a machine of two processors: they do next to nothing."""
    monkeypatch.setattr("dskd_core.training.ranks.ranks.usable_processors", lambda: 4)


def train(ranks: Ranks) -> list[torch.Tensor]:
    """Take steps over windows that depend on the step alone; return the weights after each."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    after = []
    for step in range(N_STEPS):
        drawn = torch.randn(N_WINDOWS, LENGTH, 5, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        for window in ranks.mine(drawn):
            errors = model(window[:, :4])[:, 0] - window[:, 4]
            (errors.square().sum() / (N_WINDOWS * LENGTH)).backward()
        ranks.add_gradients(model.parameters())
        optimizer.step()
        after.append(torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()]))
    return after


def total(ranks: Ranks, values: list[float]) -> list[float]:
    """Exchange values, and add up what every rank has."""
    mine = torch.tensor(values, dtype=torch.float64, device=ranks.device)
    return ranks.gather(mine).sum(dim=0).tolist()


def add_up(ranks: Ranks) -> tuple[list[float], bool, bool, list[float]]:
    """Exchange everything there is; rank 0 had no window and has no gradient."""
    totals = total(ranks, [float(ranks.rank), 0.5])
    flags = [any(total(ranks, [float(said)])) for said in (ranks.rank == 1, False)]
    parameter = nn.Parameter(torch.ones(2))
    if ranks.rank:
        parameter.grad = torch.full((2,), float(ranks.rank))
    ranks.add_gradients([parameter])
    return totals, *flags, parameter.grad.tolist()


def refuse(ranks: Ranks) -> None:
    raise DataError("Window 3 is empty; rebuild the corpus.")


class UnsendableError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def break_down(ranks: Ranks) -> None:
    raise UnsendableError("this", "that")


def be_killed(ranks: Ranks) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse_last(ranks: Ranks) -> None:
    if ranks.rank == ranks.n_ranks - 1:
        refuse(ranks)
    total(ranks, [0.0])


def wait_in_vain(ranks: Ranks) -> None:
    total(ranks, [0.0])


def test_ranks_take_the_steps_one_alone_takes_within_the_rounding_of_float32():
    alone, runs = train(Ranks.alone()), []
    for _ in range(2):
        with together(2, train) as ranks:
            assert ranks.is_first
            runs.append(train(ranks))
    assert len(runs[0]) == N_STEPS
    for one, several, again in zip(alone, *runs, strict=True):
        torch.testing.assert_close(several, one, rtol=1e-6, atol=1e-7)
        assert torch.equal(several, again), "two runs of several ranks give the same bits"
    assert not torch.allclose(alone[0], alone[-1], rtol=1e-3)


def test_every_window_has_one_rank():
    shares = [Ranks(rank, 3).mine(list(range(8))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert Ranks.alone().mine([5, 6]) == [5, 6]


def test_totals_and_gradients_are_sums_over_the_ranks():
    with together(3, add_up) as ranks:
        assert add_up(ranks) == ([3.0, 1.5], True, False, [3.0, 3.0])


def test_alone_nothing_is_exchanged():
    parameter = nn.Parameter(torch.ones(2))
    with together(1, refuse) as ranks:
        ranks.add_gradients([parameter])
        assert total(ranks, [1.0]) == [1.0]
    assert parameter.grad is None


def test_a_refusal_of_another_rank_ends_the_run_with_its_own_words():
    with (
        pytest.raises(DataError, match=r"^Window 3 is empty; rebuild the corpus\.$"),
        together(2, refuse) as ranks,
    ):
        total(ranks, [0.0])


def test_an_error_that_cannot_be_sent_is_told():
    with (
        pytest.raises(RuntimeError, match="UnsendableError: this and that"),
        together(2, break_down) as ranks,
    ):
        total(ranks, [0.0])


def test_a_killed_rank_ends_the_run():
    sentence = r"^Rank 1 of 2 was ended by SIGKILL; run again, the last checkpoint is kept\.$"
    with pytest.raises(LostRankError, match=sentence), together(2, be_killed) as ranks:
        total(ranks, [0.0])


@pytest.mark.parametrize(
    ("end", "error", "sentence"),
    [
        (be_killed, LostRankError, r"^Rank 1 of 2 was ended by SIGKILL; run again"),
        (refuse, DataError, r"^Window 3 is empty"),
    ],
)
def test_a_rank_that_nccl_would_let_wait_is_freed_when_another_has_ended(
    monkeypatch, end, error, sentence
):
    """Between GPUs of one machine nothing tells of an end: a kernel waits for what never comes."""
    freed = threading.Event()

    def wait(values):
        assert freed.wait(60), "nobody ended the wait"
        raise RuntimeError("NCCL communicator was aborted")

    monkeypatch.setattr("dskd_core.training.ranks.ranks._give_up", freed.set)
    monkeypatch.setattr(dist, "all_reduce", wait)  # of this process: the other has its own
    with pytest.raises(error, match=sentence), together(2, end) as ranks:
        total(ranks, [0.0])
    assert spawned() == []


def test_nccl_gives_up_an_exchange_and_leaves_the_process_its_last_words(monkeypatch):
    """torch's own way is to end the process, from a thread that no exception leaves."""
    said = []
    monkeypatch.delenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", said.append)
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **kwargs: said.append(kwargs))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with group(Ranks(0, 2, "cuda:0"), dist.HashStore()):
        pass
    assert said[0] == "cuda:0"
    assert said[1]["timeout"] == timedelta(minutes=30)  # the others wait while the first validates
    assert os.environ.pop("TORCH_NCCL_ASYNC_ERROR_HANDLING") == "2"


def test_of_three_ranks_the_one_with_the_error_is_heard():
    with pytest.raises(DataError, match=r"^Window 3 is empty"), together(3, refuse_last) as ranks:
        total(ranks, [0.0])
    assert spawned() == []


class Deadly:
    """What ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_a_rank_that_dies_before_it_arrives_is_not_waited_for():
    with (
        pytest.raises(LostRankError, match="Rank 1 of 2 was ended by exit code 7"),
        together(2, add_up, Deadly()),
    ):
        pass
    with together(2, add_up) as ranks:
        assert add_up(ranks)[0] == [1.0, 1.0]


def test_after_a_meeting_that_failed_the_next_one_succeeds(monkeypatch, tmp_path):
    meet = dist.init_process_group
    alone = dist.FileStore(str(tmp_path / "meeting"), 2)
    with monkeypatch.context() as patched:
        patched.setattr(
            dist,
            "init_process_group",
            lambda *args, **kwargs: meet(*args, **(kwargs | {"timeout": timedelta(seconds=1)})),
        )
        with pytest.raises(LostRankError, match="did not meet"), group(Ranks(0, 2), alone):
            pass
    with together(2, add_up) as ranks:
        assert add_up(ranks)[0] == [1.0, 1.0]


def test_children_end_with_a_run_that_fails():
    class OwnError(Exception):
        pass

    with pytest.raises(OwnError), together(2, wait_in_vain):
        raise OwnError
    assert spawned() == []


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(CapacityError, match=r"n_ranks 2 .*GPUs.*there are 1"),
        together(2, train, device="cuda"),
    ):
        pass


def test_more_ranks_than_processors_are_refused_and_no_process_begins(monkeypatch):
    monkeypatch.setattr("dskd_core.training.ranks.ranks.usable_processors", lambda: 2)
    with (
        pytest.raises(CapacityError, match=r"n_ranks 20 .*processors.*there are 2 here; lower"),
        together(20, wait_in_vain),
    ):
        pass
    assert spawned() == []


def test_children_of_a_killed_parent_end(tmp_path):
    pids = tmp_path / "pids"
    context = torch.multiprocessing.get_context("spawn")
    parent = context.Process(target=live_and_die, args=(str(pids),))
    parent.start()
    parent.join(60)
    (child,) = map(int, pids.read_text().split())
    deadline = time.monotonic() + 20
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child)


def live_and_die(pids: str) -> None:
    with together(2, sleep_long), Path(pids).open("w") as file:
        file.write(" ".join(map(str, spawned())))
        file.flush()
        os.kill(os.getpid(), 9)


def spawned() -> list[int]:
    children = psutil.Process().children(recursive=True)
    return [p.pid for p in children if "spawn_main" in " ".join(p.cmdline())]


def sleep_long(ranks: Ranks) -> None:
    time.sleep(600)


def test_a_thread_can_be_the_first_rank():
    totals = []

    def run() -> None:
        with together(2, add_up) as ranks:
            totals.append(add_up(ranks)[0])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert totals == [[1.0, 1.0]]


def wait_for_the_end(ranks: Ranks) -> None:
    total(ranks, [0.0])
    total(ranks, [0.0])


def test_other_machines_reach_no_port_of_a_rank():
    before = {connection.laddr for connection in listening(psutil.Process())}
    with together(2, wait_for_the_end) as ranks:
        total(ranks, [0.0])
        processes = [psutil.Process(), *map(psutil.Process, spawned())]
        opened = {c.laddr for process in processes for c in listening(process)} - before
        total(ranks, [0.0])
    assert len(processes) == 2
    assert opened
    assert all(ipaddress.ip_address(address.ip).is_loopback for address in opened)


def listening(process: psutil.Process) -> list:
    return [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
