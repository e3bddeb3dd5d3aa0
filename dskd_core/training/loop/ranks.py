"""Data-parallel processes on one machine that together take the steps one would take alone.

The windows of a step depend on the seed and the step only. Rank r of n takes every n-th of them
from the r-th on; its loss is its sum over positions divided by the weight of the *whole* step, so
the gradients of the ranks add up to the gradient of the step, whatever n is (but for rounding).
The caller is rank 0: it alone reports, saves and exports. The others are its children and end
with it.
"""

import builtins
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn

from dskd_core import errors
from dskd_core.errors import ConfigError
from dskd_core.interruption import Interrupted

_Meeting = dist.TCPStore  # type: ignore[attr-defined]
_HOST = "127.0.0.1"
_LAST_WORDS_SECONDS = 20.0
_ARRIVAL_SECONDS = 0.05
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

    def total(self, values: Iterable[float]) -> list[float]:
        """Add every value up over the ranks, in float64, in the same order on each of them."""
        values = list(values)
        if self.n_ranks == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        self._add_up(summed)
        return [float(value) for value in summed]

    def any(self, flag: bool) -> bool:
        """Say on every rank whether one of them says so."""
        return self.total([float(flag)])[0] > 0.0

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
            raise LostRankError(
                f"Rank {self.rank} of {self.n_ranks} lost another one ({error}); run again, the "
                "last checkpoint is kept."
            ) from error


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
        ConfigError: if there are fewer GPUs than ranks.
        LostRankError: if a rank was killed; an exception that ended it is raised here instead.
    """
    if n_ranks == 1:
        yield Ranks.alone()
        return
    if device == "cuda" and torch.cuda.device_count() < n_ranks:
        raise ConfigError(
            f"training.n_ranks {n_ranks} needs as many GPUs, and there are "
            f"{torch.cuda.device_count()}; lower it."
        )
    n_threads = torch.get_num_threads()
    share = max(1, n_threads // n_ranks)
    _stay_on_this_machine()
    meeting = _Meeting(_HOST, 0, n_ranks, is_master=True, wait_for_workers=False)
    children = [
        _start(Ranks(rank, n_ranks, _device_of(device, rank)), meeting.port, share, work, args)
        for rank in range(1, n_ranks)
    ]
    try:
        torch.set_num_threads(share)
        _await_arrival([process for process, _ in children], meeting)
        first = Ranks(0, n_ranks, _device_of(device, 0))
        with _met(first, meeting):
            yield first
        for process, _ in children:
            process.join(_LAST_WORDS_SECONDS)
    except LostRankError as error:
        raise _last_words([words for _, words in children]) or error from error
    finally:
        torch.set_num_threads(n_threads)
        for process, _ in children:
            process.kill()
            process.join()


def _await_arrival(children: Sequence[Any], meeting: Any) -> None:
    """Wait until every child is there: torch waits half an hour for one that has died."""
    for rank, process in enumerate(children, start=1):
        while not meeting.check([_arrived(rank)]):
            if process.exitcode is not None:
                raise LostRankError(
                    f"Rank {rank} of {len(children) + 1} ended with exit code {process.exitcode} "
                    "before it met the others; run again."
                )
            time.sleep(_ARRIVAL_SECONDS)


def _arrived(rank: int) -> str:
    return f"rank {rank} arrived"


def _start(
    ranks: Ranks, port: int, n_threads: int, work: Callable[..., Any], args: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Start a child; return its process and the end of a pipe its last words come from."""
    context = multiprocessing.get_context("spawn")
    words, speak = context.Pipe(duplex=False)
    process = context.Process(
        target=_be_rank, args=(ranks, port, n_threads, speak, work, args), daemon=True
    )
    process.start()
    speak.close()
    return process, words


def _be_rank(
    ranks: Ranks,
    port: int,
    n_threads: int,
    speak: Any,
    work: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Live as a child: work, and say what went wrong."""
    # Whoever stops the run stops rank 0, and rank 0 tells the others between two steps.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    try:
        meeting = _Meeting(_HOST, port, ranks.n_ranks, is_master=False)
        meeting.set(_arrived(ranks.rank), "")
        with _met(ranks, meeting):
            work(ranks, *args)
    except Interrupted:
        return
    except LostRankError:
        raise SystemExit(1) from None
    except BaseException as error:
        speak.send_bytes(_as_words(error))
        raise


@contextlib.contextmanager
def _met(ranks: Ranks, meeting: Any) -> Iterator[None]:
    on_gpu = ranks.device != "cpu"
    if on_gpu:
        torch.cuda.set_device(ranks.device)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", store=meeting, rank=ranks.rank, world_size=ranks.n_ranks
        )
    except RuntimeError as error:
        _forget_failed_meeting()
        raise LostRankError(
            f"Rank {ranks.rank} of {ranks.n_ranks} did not meet the others ({error}); run again."
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _forget_failed_meeting() -> None:
    """Set torch's count of groups back, by which ranks find one another; a failed one raised it.

    Otherwise the next run of this process would wait for children that have another count. To end
    any group sets it back, so one of this process alone is begun and ended.
    """
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    dist.destroy_process_group()


def _last_words(pipes: list[Any]) -> BaseException | None:
    """Wait for a child to say what ended it; a killed one says nothing."""
    while pipes and (ready := connection.wait(pipes, _LAST_WORDS_SECONDS)):
        for pipe in [pipe for pipe in pipes if pipe in ready]:
            with contextlib.suppress(EOFError):
                return _as_error(pipe.recv_bytes())
            pipes.remove(pipe)
    return None


def _as_words(error: BaseException) -> bytes:
    return json.dumps({"kind": type(error).__name__, "message": str(error)}).encode()


def _as_error(words: bytes) -> BaseException:
    """Return an error of ours or of Python as it was raised, any other one by its text."""
    told = json.loads(words)
    name, message = told["kind"], told["message"]
    kind = getattr(errors, name, getattr(builtins, name, None))
    if isinstance(kind, type) and issubclass(kind, BaseException):
        with contextlib.suppress(TypeError):  # a few of Python's are not made from a text alone
            return kind(message)
    return RuntimeError(f"{name}: {message}")


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _device_of(device: str, rank: int) -> str:
    return f"cuda:{rank}" if device == "cuda" else "cpu"


def _stay_on_this_machine() -> None:
    """Let gloo listen on the loopback interface only."""
    for _, name in socket.if_nameindex():
        if name in {"lo", "lo0"}:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
