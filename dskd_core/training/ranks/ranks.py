"""Data-parallel processes on one machine that together take the steps one would take alone.

The windows of a step depend on the seed and the step only. Rank r of n takes every n-th of them
from the r-th on; its loss is its sum over positions divided by the weight of the *whole* step, so
the gradients of the ranks add up to the gradient of the step, whatever n is (but for rounding).
The caller is rank 0: it alone reports, saves and exports. The others are its children and end
with it. Ranks on several machines are started by torch's elastic launcher instead (machines.py).

A rank that ends breaks the exchange of the others: gloo raises where it is, a GPU waits in a kernel
and computes on once that is given up, with numbers that never came. So a thread watches the
children, and whoever reads numbers of all ranks sees that each of them is there (step.py).
"""

import builtins
import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import parent_process
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn
from torch.distributed.distributed_c10d import Store

from dskd_core import errors
from dskd_core.errors import CapacityError
from dskd_core.interruption import Interrupted
from dskd_core.threads import usable_processors
from dskd_core.training.ranks.launched import launched

_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # where each of them listens
_LOOPBACK = {"lo", "lo0"}
_ARRIVAL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 20.0
CURE = "run again, the last checkpoint is kept."
_WATCH_SECONDS = 0.5
_EXCHANGE_LIMIT = timedelta(minutes=30)  # the others wait while the first one validates
_HANDLING, _GIVE_UP = "TORCH_NCCL_ASYNC_ERROR_HANDLING", "2"
"""What torch does about an exchange between GPUs that fails: give it up. By default it ends the
process, from a thread of its own: no exception is seen, and the flow would die without a word."""
Item = TypeVar("Item")


class LostRankError(RuntimeError):
    """A rank that others waited for is gone."""


@dataclass(frozen=True)
class Ranks:
    """One rank among its equals.

    Attributes:
        rank: 0 is the caller.
        n_ranks: how many there are.
        device: a torch device the ranks can exchange tensors on.
    """

    rank: int
    n_ranks: int
    device: str = "cpu"

    @classmethod
    def alone(cls) -> "Ranks":
        """Return the only rank, with nobody to exchange anything with."""
        return cls(0, 1)

    @property
    def is_first(self) -> bool:
        """Whether this rank reports, saves and exports."""
        return self.rank == 0

    def mine(self, items: Sequence[Item]) -> list[Item]:
        """Return this rank's share of what all ranks know.

        >>> Ranks(1, 3).mine(range(8))
        [1, 4, 7]
        """
        return list(items[self.rank :: self.n_ranks])

    def gather(self, values: Tensor) -> Tensor:
        """Return on every rank what each of them has, [n_ranks, *shape], in one exchange.

        Zeros are added to every number, which leaves it as it is: no order changes a bit.
        """
        if self.n_ranks == 1:
            return values[None]
        everyone = values.new_zeros(self.n_ranks, *values.shape)
        everyone[self.rank] = values
        self._add_up(everyone)
        return everyone

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the ranks; one exchange of one float32 array.

        A parameter without a gradient counts as zeros: a rank may have had no window.
        """
        if self.n_ranks == 1:
            return
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1).float() for gradient in gradients])
        self._add_up(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, piece in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def _add_up(self, values: Tensor) -> None:
        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise LostRankError(f"{self} lost another one ({error}); {CURE}") from error

    def __str__(self) -> str:
        return f"Rank {self.rank} of {self.n_ranks}"


def check_ranks(n_ranks: int, device: str) -> None:
    """Check that every rank on this machine has a GPU, or on the CPU a processor, of its own.

    Each rank is a process with torch and the student in it, so too many take the memory first.
    Where a launcher started them, their number is compared too.

    Raises:
        CapacityError: if there are more ranks.
        ConfigError: if a launcher started another number of them.
    """
    there, what = usable_processors(), "processors"
    if device == "cuda":
        there, what = torch.cuda.device_count(), "GPUs"
    asked = f"training.n_ranks {n_ranks} needs"
    if place := launched():
        place.check(n_ranks)
        n_ranks = place.n_local
        asked = f"{n_ranks} processes on this machine (--nproc-per-node) need"
    if n_ranks > max(1, there):
        raise CapacityError(f"{asked} as many {what}, and there are {there} here; lower it.")


@contextlib.contextmanager
def together(
    n_ranks: int, work: Callable[..., Any], *args: Any, device: str = "cpu"
) -> Iterator[Ranks]:
    """Run the block as rank 0 while ``work(ranks, *args)`` runs in every other rank's process.

    Args:
        n_ranks: 1 starts nothing.
        work: a function of a module, called in processes of their own (started afresh, not
            forked); it must exchange the same things in the same order as the block.
        args: what can be pickled, to be sent there.
        device: ``cpu`` exchanges by gloo, ``cuda`` by nccl with a GPU for each rank.

    Raises:
        CapacityError: if there are fewer GPUs, or on the CPU processors, than ranks.
        LostRankError: if a rank was killed; an exception that ended it is raised here instead.
    """
    if n_ranks == 1:
        yield Ranks.alone()
        return
    check_ranks(n_ranks, device)
    _listen_on_loopback()
    n_threads = torch.get_num_threads()
    share = max(1, n_threads // n_ranks)
    names = [f"cuda:{rank}" if device == "cuda" else device for rank in range(n_ranks)]
    first, *others = [Ranks(rank, n_ranks, name) for rank, name in enumerate(names)]
    context = multiprocessing.get_context("spawn")
    children: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="dskd-ranks-") as folder:  # of this user alone
        meeting = _Meeting(f"{folder}/meeting", context.Semaphore(0), context.SimpleQueue())
        try:
            for ranks in others:
                settings = (ranks, meeting, share, work, args)
                children.append(context.Process(target=_be_rank, args=settings, daemon=True))
                children[-1].start()
            torch.set_num_threads(share)
            _await_arrival(children, meeting)
            with group(first, _store(meeting, n_ranks)), _watched(children):
                yield first
            for child in children:
                child.join(_LAST_WORDS_SECONDS)
        except LostRankError as error:
            raise _what_ended(children, meeting) or error from error
        finally:
            torch.set_num_threads(n_threads)
            for child in children:
                if child.pid:
                    child.kill()
                    child.join()


@dataclass(frozen=True)
class _Meeting:
    """What the ranks of a run share, besides tensors.

    Attributes:
        file: by which they find one another, so that no port is open for that.
        arrived: counts the children that are there.
        words: the errors that ended children, the first one first.
    """

    file: str
    arrived: Any
    words: Any


def _await_arrival(children: list[Any], meeting: _Meeting) -> None:
    """Wait until every child is there: torch waits half an hour for one that has died."""
    for _ in children:
        while not meeting.arrived.acquire(timeout=_ARRIVAL_SECONDS):
            if any(child.exitcode is not None for child in children):
                raise LostRankError(f"A rank died before it met the others; {CURE}")


@contextlib.contextmanager
def _watched(children: list[Any]) -> Iterator[None]:
    """Give up the exchange that the block waits in when a child ends with an error."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            if any(child.exitcode for child in children):
                _give_up()
                return

    threading.Thread(target=watch, name="dskd-ranks", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _give_up() -> None:
    """Free whatever waits for other ranks in this process; gloo hears of their end by itself."""
    with contextlib.suppress(RuntimeError, AttributeError):  # the group has been left meanwhile
        dist.group.WORLD.abort()  # type: ignore[union-attr]


def _what_ended(children: list[Any], meeting: _Meeting) -> BaseException | None:
    """Return the error that ended a child, or that one was killed."""
    for child in children:
        child.join(_LAST_WORDS_SECONDS)
    if not meeting.words.empty():
        return meeting.words.get()  # type: ignore[no-any-return]
    for rank, child in enumerate(children, start=1):
        if code := child.exitcode:
            end = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            return LostRankError(f"Rank {rank} of {len(children) + 1} was ended by {end}; {CURE}")
    return None


def _be_rank(
    ranks: Ranks, meeting: _Meeting, n_threads: int, work: Callable[..., Any], args: Any
) -> None:
    """Live as a child: work, and say what went wrong."""
    # Whoever stops the run stops rank 0, and rank 0 tells the others between two steps.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    meeting.arrived.release()
    try:
        with group(ranks, _store(meeting, ranks.n_ranks)):
            work(ranks, *args)
    except (Interrupted, LostRankError):
        return  # rank 0 knows by itself
    except BaseException as error:
        # One of ours or of Python can be raised again there, of any other its text.
        known = type(error).__module__ in {errors.__name__, builtins.__name__}
        meeting.words.put(error if known else RuntimeError(f"{type(error).__name__}: {error}"))
        raise


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _store(meeting: _Meeting, n_ranks: int) -> Store:
    return dist.FileStore(meeting.file, n_ranks)  # type: ignore[attr-defined]


@contextlib.contextmanager
def group(ranks: Ranks, store: Store) -> Iterator[None]:
    """Meet the others, and part from them at the end.

    Args:
        ranks: which one this process is, and the device it exchanges tensors on.
        store: by which they find one another; used for this meeting alone.

    Raises:
        LostRankError: if they do not meet.
    """
    kind = torch.device(ranks.device).type
    if kind == "cuda":
        torch.cuda.set_device(ranks.device)
        os.environ.setdefault(_HANDLING, _GIVE_UP)
    try:
        dist.init_process_group(
            _BACKENDS[kind],
            store=store,
            rank=ranks.rank,
            world_size=ranks.n_ranks,
            timeout=_EXCHANGE_LIMIT,
        )
    except RuntimeError as error:
        # torch names a group by a count that the failed one raised; ending any sets it back.
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
        dist.destroy_process_group()
        raise LostRankError(f"{ranks} did not meet the others ({error}); {CURE}") from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _listen_on_loopback() -> None:
    """Let gloo and nccl open ports for this machine alone, unless the user named an interface."""
    for name in _LOOPBACK.intersection(name for _, name in socket.if_nameindex()):
        for variable in INTERFACES:
            os.environ.setdefault(variable, name)
