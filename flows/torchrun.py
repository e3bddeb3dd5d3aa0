"""``dskd torchrun``: the processes of one run on several machines, by torch's elastic launcher.

The launcher is torchrun's own, and so are the names of the options. Different is where it listens.
torch's stores listen on all interfaces, and whoever reaches one runs code as the launcher, which
unpickles what it finds there. Here one store listens, on the address of ``--rdzv-endpoint`` alone:
loopback, if none is named.
"""

import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist
import typer
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dskd_core import interruption
from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.training.ranks.launched import ENDPOINT, Launched, host_and_port, own_address

_BACKEND = "dskd"
_STORE_SECONDS = 60
_LAST_WORDS_SECONDS = 3.0
_BACKLOG = 2048


@dataclass(frozen=True)
class Launch:
    """How many processes a run has, and where they meet: torchrun's options of these names."""

    nnodes: int
    nproc_per_node: int
    rdzv_endpoint: str
    rdzv_id: str
    max_restarts: int
    rdzv_timeout: int

    def address(self) -> tuple[str, int]:
        """Return host and port of the endpoint.

        Raises:
            ConfigError: if it has none.

        >>> Launch(2, 8, "[fd00::1]:29400", "dskd", 0, 600).address()
        ('fd00::1', 29400)
        """
        found = host_and_port(self.rdzv_endpoint)
        if not found or not 0 < found[1] < 1 << 16:
            raise ConfigError(
                f"--rdzv-endpoint {self.rdzv_endpoint!r} is no HOST:PORT; write it as "
                "10.0.0.1:29400."
            )
        return found


def launch(settings: Launch, command: Sequence[str], config: PipelineConfig) -> int:
    """Start this machine's processes and wait for them; return the exit code.

    Args:
        settings: how many, and where they meet.
        command: what Python runs in each: ``-m flows.cli run PARAMETERS``.
        config: what they will read.

    Raises:
        ConfigError: if the settings ask for another number of ranks, or no machine can be met.
    """
    n_ranks = settings.nnodes * settings.nproc_per_node
    if config.training.n_ranks != n_ranks:
        raise ConfigError(
            f"--nnodes {settings.nnodes} times --nproc-per-node {settings.nproc_per_node} are "
            f"{n_ranks} processes, and training.n_ranks is {config.training.n_ranks}; set it to "
            f"{n_ranks}."
        )
    address = settings.address()
    os.environ[ENDPOINT] = settings.rdzv_endpoint
    # Else the launcher makes a second store for its processes, which listens on all interfaces.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    rendezvous_handler_registry.register(_BACKEND, _handler)
    launcher = elastic_launch(
        LaunchConfig(
            min_nodes=settings.nnodes,
            max_nodes=settings.nnodes,
            nproc_per_node=settings.nproc_per_node,
            run_id=settings.rdzv_id,
            rdzv_backend=_BACKEND,
            rdzv_endpoint=settings.rdzv_endpoint,
            rdzv_configs={"join_timeout": settings.rdzv_timeout},
            max_restarts=settings.max_restarts,
            local_addr=own_address(*address),
        ),
        sys.executable,
    )
    try:
        launcher(*command)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        _say(f"Rank {rank} on this machine ended first, with {_end(failure.exitcode)}: see above.")
        time.sleep(_LAST_WORDS_SECONDS)  # while others read here why
        return 1
    except SignalException as error:
        return 128 + error.sigval.value
    except RendezvousError as error:
        raise ConfigError(
            f"The {settings.nnodes} machines of {settings.rdzv_id!r} did not meet at "
            f"{settings.rdzv_endpoint} ({type(error).__name__}: {_reason(error)}); start the same "
            "command on all of them."
        ) from error
    return 0


def join(place: Launched, config: PipelineConfig, run: Callable[[], None]) -> None:
    """Meet the other processes: the first one runs the flow, the others train beside it.

    Raises:
        ConfigError: if they do not agree on what a student depends on, or a cluster is to run
            the tasks.
    """
    from dskd_core.store.access import check_settings
    from dskd_core.training.loop.loop import be_ordered_rank
    from dskd_core.training.ranks.machines import Group, leading
    from dskd_core.training.ranks.meeting import LostMachineError

    check_settings(config)
    if (runner := os.environ.get("DSKD_RUNNER", "threads")) != "threads":
        raise ConfigError(
            f"DSKD_RUNNER={runner!r} sends tasks to a cluster, and dskd torchrun trains where it "
            "was started; unset it."
        )
    try:
        if place.rank == 0:
            with leading(place, config):
                run()
            return
        with interruption.on_sigterm():
            code = Group(place, config).follow(be_ordered_rank)
    except LostMachineError as error:
        _say(str(error))
        code = 1
    sys.stdout.flush()
    raise typer.Exit(code)


class _Backend(C10dRendezvousBackend):
    @property
    def name(self) -> str:
        return _BACKEND


def _handler(parameters: RendezvousParameters) -> RendezvousHandler:
    """Return a rendezvous whose store listens on one address, hosted by whoever has it first."""
    place = host_and_port(parameters.endpoint)
    assert place is not None  # launch() has checked it
    seconds = timedelta(seconds=_STORE_SECONDS)
    listening = _listening(*place)
    store = dist.TCPStore(
        *(*place, None, listening is not None, seconds),
        wait_for_workers=False,
        master_listen_fd=listening,
    )
    return create_handler(store, _Backend(store, parameters.run_id), parameters)


def _listening(host: str, port: int) -> int | None:
    """Return a socket that listens there; None if that is another machine, or process, or taken.

    Raises:
        ConfigError: if the host has no address.
    """
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"The host {host!r} of --rdzv-endpoint is not found ({error}); correct it."
        ) from error
    with socket.socket(family, kind) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(_BACKLOG)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
                return None
            raise
        return made.detach()


def _end(code: int) -> str:
    """Say how a process ended.

    >>> _end(-9), _end(2)
    ('SIGKILL', 'exit code 2')
    """
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error).splitlines()[0] if str(error) else "no answer"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
