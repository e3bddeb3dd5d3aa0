"""What torch's elastic launcher says of a process it started: its rank, and where the others are.

Read from the environment, and without torch: whoever wants to know need not wait for its import.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from dskd_core.errors import ConfigError

ENDPOINT = "DSKD_RENDEZVOUS"
"""HOST:PORT of the store of ``dskd torchrun``; its processes find it in their environment."""


@dataclass(frozen=True)
class Launched:
    """One of the processes that the launcher started on all machines.

    Attributes:
        rank: among all; 0 runs the flow.
        n_ranks: on all machines together.
        local_rank: among those of this machine; the number of its GPU.
        n_local: on this machine.
        host, port: of the store where all of them meet.
        name: of the run, as the launcher was told it.
    """

    rank: int
    n_ranks: int
    local_rank: int
    n_local: int
    host: str
    port: int
    name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Launched | None":
        """Return what the environment says; None where no launcher started this process.

        Raises:
            ConfigError: if it says nothing of a store that is shared.

        >>> names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        >>> said = dict(zip(names, "3412")) | {"TORCHELASTIC_RUN_ID": "dskd"}
        >>> said |= {"DSKD_RENDEZVOUS": "10.0.0.1:29400"}
        >>> Launched.from_environment(said).host
        '10.0.0.1'
        """
        if "TORCHELASTIC_RUN_ID" not in environment:
            return None
        endpoint = environment.get(ENDPOINT, "")
        if not endpoint and environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            endpoint = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        if not (place := host_and_port(endpoint)):
            raise ConfigError(
                f"This process was started by torch's elastic launcher without a store to meet at "
                f"({ENDPOINT} is {endpoint!r}); start it with dskd torchrun."
            )
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, n_ranks, local_rank, n_local = (int(environment[name]) for name in names)
        name = environment["TORCHELASTIC_RUN_ID"]
        return cls(rank, n_ranks, local_rank, n_local, *place, name)

    def check(self, n_ranks: int) -> None:
        """Refuse settings of another number of ranks than were started.

        Raises:
            ConfigError: if there are.
        """
        if n_ranks != self.n_ranks:
            raise ConfigError(
                f"training.n_ranks {n_ranks} is not what was started: {self.n_ranks} processes on "
                f"all machines together; set it to {self.n_ranks}, or start {n_ranks}."
            )


def host_and_port(endpoint: str) -> tuple[str, int] | None:
    """Return what HOST:PORT says; None where it is none.

    >>> host_and_port("[fd00::1]:29400"), host_and_port("10.0.0.1")
    (('fd00::1', 29400), None)
    """
    host, _, port = endpoint.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def own_address(host: str, port: int) -> str:
    """Return the address by which this machine reaches a host, to which nothing is sent.

    Raises:
        OSError: if the host has no address.
    """
    (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as towards:
        towards.connect(address)
        return str(towards.getsockname()[0])


@cache
def launched() -> Launched | None:
    """Return what this process was started as; None where no launcher did."""
    return Launched.from_environment(os.environ)


def ranks_here(n_ranks: int) -> int:
    """Return how many of so many ranks share the memory and the processors of this machine."""
    place = launched()
    return place.n_local if place else n_ranks
