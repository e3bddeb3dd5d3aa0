"""How ranks on several machines meet in the launcher's store: all are there, and they agree.

What they say to one another is JSON. Nothing is computed before the first has heard all others and
told each that work may begin, or why it may not.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import psutil
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from dskd_core.errors import ConfigError
from dskd_core.interruption import Interrupted
from dskd_core.training.ranks.agreement import (
    POLL_SECONDS,
    Facts,
    probed_by_others,
    read_probe,
)
from dskd_core.training.ranks.launched import Launched, own_address
from dskd_core.training.ranks.ranks import INTERFACES, LostRankError

MEETING_SECONDS = 300.0
CURE = "start all machines again, the last checkpoint is kept."
_DISCARD = 9
_WHY = 200
_STORE_SECONDS = 60


class LostMachineError(Interrupted):
    """A rank that this process did not start is gone: only a new start brings it back."""


def connect(place: Launched) -> Store:
    """Return the part of the launcher's store that belongs to a run."""
    seconds = timedelta(seconds=_STORE_SECONDS)
    client = TCPStore(place.host, place.port, is_master=False, timeout=seconds)
    return PrefixStore(f"dskd/{place.name}", client)


@contextlib.contextmanager
def reached(place: Launched) -> Iterator[None]:
    """Say in one sentence that the store is gone, or was never there."""
    try:
        yield
    except LostRankError:
        raise
    except RuntimeError as error:
        raise LostMachineError(
            f"The store at {place.host}:{place.port} is not reached "
            f"({str(error).splitlines()[0][:_WHY]}); {CURE}"
        ) from error


def awaited(store: Store, key: str, seconds: float) -> str:
    """Return the value of a key, waited for; empty if it does not come."""
    deadline = time.monotonic() + seconds
    while not store.check([key]):
        if time.monotonic() >= deadline:
            return ""
        time.sleep(POLL_SECONDS)
    return store.get(key).decode()


def beat(keys: Store, rank: int) -> None:
    """Say that a rank is alive: its key has another value than before."""
    keys.set(f"beat/{rank}", uuid.uuid4().hex)


def meet(store: Store, place: Launched, facts: Facts) -> str:
    """Meet all other ranks; return the name that their keys have in the store from now on.

    Raises:
        ConfigError: if they do not agree on what a student depends on.
        LostMachineError: if one of them does not come.
    """
    return _gather(store, place, facts) if place.rank == 0 else _arrive(store, place, facts)


def _gather(store: Store, place: Launched, facts: Facts) -> str:
    """Wait for all others and tell each that work may begin, or why it may not."""
    name = uuid.uuid4().hex
    keys, refusals = PrefixStore(name, store), []
    beat(keys, place.rank)
    with probed_by_others(facts.root, name):
        store.set("first", name)
        there = {}
        for rank in range(1, place.n_ranks):
            said = awaited(keys, f"here/{rank}", MEETING_SECONDS)
            if not said:
                raise _absent(f"Rank {rank} of {place.n_ranks}")
            there[rank] = json.loads(said)
    for rank, said in there.items():
        theirs = Facts(**said["facts"])
        refusals.append(facts.refusal_of(rank, theirs))
        if said["probe"] != name:
            refusals.append(
                f"Rank {rank} ({theirs.host}) does not find in {facts.root} what rank 0 "
                f"({facts.host}) just wrote there ({said['probe']}); set root_uri to storage "
                "that all machines share."
            )
    refusal = next(filter(None, refusals), "")
    for rank, said in there.items():
        answer = {"to": said["nonce"], "refusal": refusal}
        keys.set(f"begin/{rank}", json.dumps(answer))
    if refusal:
        raise ConfigError(refusal)
    return name


def _arrive(store: Store, place: Launched, facts: Facts) -> str:
    """Say that this rank is here, and wait to be told to begin.

    What an earlier start left in the store has the first rank's name of then, or answers to another
    nonce, and is passed over.
    """
    nonce, deadline = uuid.uuid4().hex, time.monotonic() + MEETING_SECONDS
    name, rank = "", place.rank
    while time.monotonic() < deadline:
        if not (first := awaited(store, "first", 1.0)):
            continue
        keys = PrefixStore(first, store)
        if name != first:
            name = first
            beat(keys, rank)
            said = {"nonce": nonce, "facts": vars(facts), "probe": read_probe(facts.root, name)}
            keys.set(f"here/{rank}", json.dumps(said))
        answer = json.loads(awaited(keys, f"begin/{rank}", 1.0) or "{}")
        if answer.get("to") == nonce:
            if answer["refusal"]:
                raise ConfigError(answer["refusal"])
            return name
    raise _absent(f"The first of {place.n_ranks} ranks")


def _absent(rank: str) -> LostMachineError:
    return LostMachineError(
        f"{rank} did not come within {MEETING_SECONDS:.0f} s; see what its machine says, then "
        f"{CURE}"
    )


def listen_towards(host: str) -> None:
    """Let gloo and nccl listen on the interface towards a host alone, unless the user named one.

    Raises:
        ConfigError: if it is not found.
    """
    if all(name in os.environ for name in INTERFACES):
        return
    try:
        own = own_address(host, _DISCARD)
    except OSError as error:
        raise ConfigError(
            f"The host {host!r} of the rendezvous is not found ({error}); correct --rdzv-endpoint."
        ) from error
    for name, addresses in psutil.net_if_addrs().items():
        if own in {one.address.partition("%")[0] for one in addresses}:
            for variable in INTERFACES:
                os.environ.setdefault(variable, name)
            return
    raise ConfigError(
        f"No interface of this machine has the address {own}, by which it reaches {host}; set "
        f"{' and '.join(INTERFACES)} to the interface the ranks exchange tensors on."
    )
