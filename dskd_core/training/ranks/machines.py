"""Ranks on several machines, started by torch's elastic launcher and not as children.

Rank 0 runs the flow as it would alone. The others wait, and take their share of each student it
tells them of. Once all have met (meeting.py), they go on talking through the launcher's store:
which student is next, what went wrong. Tensors go from rank to rank (ranks.py).

Whoever is silent for a minute ends the others: a machine that lost its power closes no connection.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.distributed.distributed_c10d import PrefixStore, Store

from dskd_core import errors, interruption
from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import torch_device
from dskd_core.errors import DskdError
from dskd_core.interruption import Interrupted
from dskd_core.threads import usable_processors
from dskd_core.training.ranks.agreement import POLL_SECONDS, Facts
from dskd_core.training.ranks.launched import Launched
from dskd_core.training.ranks.meeting import (
    CURE,
    LostMachineError,
    awaited,
    beat,
    connect,
    listen_towards,
    meet,
    reached,
)
from dskd_core.training.ranks.ranks import LostRankError, Ranks, check_ranks, group

SILENT_SECONDS = 60.0
_BEAT_SECONDS = 5.0
_STUCK_SECONDS = 30.0
_LAST_WORDS_SECONDS = 20.0
_ASKED = 143
Work = Callable[[Ranks, dict[str, Any]], None]


class Group:
    """This process among those that the launcher started, once all of them have met.

    Attributes:
        place: which of them it is.
        lost: why no other student can be trained by them; empty while one can.
    """

    def __init__(self, place: Launched, config: PipelineConfig) -> None:
        """Meet the others.

        Raises:
            ConfigError: if they do not agree on what a student depends on.
            LostMachineError: if one of them does not come, or the store is not reached.
        """
        check_ranks(config.training.n_ranks, torch_device(config.teacher.device).type)
        listen_towards(place.host)
        share = max(1, usable_processors() // place.n_local)
        torch.set_num_threads(min(torch.get_num_threads(), share))
        self.place, self.lost = place, ""
        self._number, self._is_training, self._is_over = 0, False, threading.Event()
        facts = Facts.from_config(config)
        with reached(place):
            store = connect(place)
            self._name = meet(store, place, facts)
        self._keys = PrefixStore(self._name, store)
        threading.Thread(target=self._watch, name="dskd-watch", daemon=True).start()

    @contextlib.contextmanager
    def leading(self, order: dict[str, Any], device: str) -> Iterator[Ranks]:
        """Run the block as rank 0 of a student while the others follow an order.

        Raises:
            LostMachineError: if a rank is gone, now or before; the error that another rank ended
                with is raised instead, if there is one.
        """
        if self.lost:
            raise LostMachineError(self.lost)
        self._number += 1
        self._keys.set(f"order/{self._number}", json.dumps(order | {"device": device}))
        try:
            with self._at(self._number, device) as ranks:
                yield ranks
        except LostRankError as error:
            if said := awaited(self._keys, f"words/{self._number}", _LAST_WORDS_SECONDS):
                raise _error_from(json.loads(said)) from error
            self.lost = f"{self} lost another rank; {CURE}"
            raise LostMachineError(self.lost) from error
        except Interrupted as error:
            self.lost = str(error)  # whoever was asked to stop takes no other student
            raise

    def follow(self, work: Work) -> int:
        """Take this rank's share of every student that the first one orders.

        Returns:
            The exit code of this process: that of the first one, or 143 if this one was asked to
            stop.
        """
        with reached(self.place):
            while not interruption.is_requested():
                if said := awaited(self._keys, "end", 0.0):
                    return self._end(json.loads(said))
                if said := awaited(self._keys, f"order/{self._number + 1}", POLL_SECONDS):
                    self._number += 1
                    self._obey(json.loads(said), work)
        return _ASKED

    def _obey(self, order: dict[str, Any], work: Work) -> None:
        try:
            with self._at(self._number, order["device"]) as ranks:
                work(ranks, order)
        except LostRankError:
            _say(f"{self} lost another rank.")  # the first one knows by itself, or is lost
        except Interrupted as error:
            _say(f"{self}: {error}")
        except Exception as error:
            told = {"type": type(error).__name__, "text": str(error)}
            self._keys.set(f"words/{self._number}", json.dumps(told))

    def end(self, code: int) -> None:
        """Tell the others, as the first rank, that there is no other student, and stop watching."""
        self._is_over.set()
        with contextlib.suppress(RuntimeError):  # the store is gone, and they with it
            self._keys.set("end", json.dumps({"code": code, "why": self.lost}))

    def _end(self, said: dict[str, Any]) -> int:
        self._is_over.set()
        if said["code"]:
            why = said["why"] or f"it ended with exit code {said['code']}"
            _say(f"{self} ends with the first one: {why}")
        return int(said["code"])

    @contextlib.contextmanager
    def _at(self, number: int, device: str) -> Iterator[Ranks]:
        """Meet the others for one student; say if this rank leaves it before its end."""
        name = f"cuda:{self.place.local_rank}" if device == "cuda" else device
        ranks = Ranks(self.place.rank, self.place.n_ranks, name)
        self._is_training = True
        try:
            with group(ranks, PrefixStore(f"student/{number}", self._keys)):
                yield ranks
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                self._keys.set(f"left/{number}", f"{ranks}: {error}")
            raise
        finally:
            self._is_training = False

    def _watch(self) -> None:
        """End this process where it would wait in vain: torch waits half an hour, or for ever."""
        parent, heard, first_left = os.getppid(), dict[int, tuple[bytes, float]](), 0.0
        try:
            keys = PrefixStore(self._name, connect(self.place))
            while not self._is_over.wait(_BEAT_SECONDS):
                if os.getppid() != parent:
                    self._leave(f"the launcher of this machine is gone; {CURE}")
                beat(keys, self.place.rank)
                if silent := self._silent(keys, heard):
                    self._leave(f"rank {silent[0]} is silent for {SILENT_SECONDS:.0f} s; {CURE}")
                why = awaited(keys, f"left/{self._number}", 0.0) or awaited(keys, "end", 0.0)
                first_left = first_left or time.monotonic() if self._is_training and why else 0.0
                if first_left and time.monotonic() - first_left > _STUCK_SECONDS:
                    self._leave(f"the others have left the student that it waits in ({why}).")
        except RuntimeError:
            if not self._is_over.is_set():
                self._leave(f"the store at {self.place.host}:{self.place.port} is gone; {CURE}")

    def _silent(self, keys: Store, heard: dict[int, tuple[bytes, float]]) -> list[int]:
        """Return those that have not changed their key for too long: all hear the first rank.

        The first hears all others. Clocks of other machines are not asked.
        """
        watched = range(1, self.place.n_ranks) if self.place.rank == 0 else range(1)
        if not watched:
            return []
        now, beats = time.monotonic(), keys.multi_get([f"beat/{rank}" for rank in watched])
        for rank, value in zip(watched, beats, strict=True):
            if rank not in heard or heard[rank][0] != value:
                heard[rank] = value, now
        return [rank for rank in watched if now - heard[rank][1] > SILENT_SECONDS]

    def _leave(self, why: str) -> None:
        _say(f"{self} ends: {why}")
        if self.place.rank == 0:
            self.lost = why
            self.end(1)
        os._exit(1)

    def __str__(self) -> str:
        return f"Rank {self.place.rank} of {self.place.n_ranks} ({socket.gethostname()})"


_led: list[Group] = []


def met() -> Group | None:
    """Return the group this process leads; None where no launcher started it."""
    return _led[-1] if _led else None


@contextlib.contextmanager
def leading(place: Launched, config: PipelineConfig) -> Iterator[None]:
    """Meet the other ranks, and let students that the block trains be trained by all of them.

    Raises:
        ConfigError: if the ranks do not agree on what a student depends on.
        LostMachineError: if one of them does not come.
    """
    code = 1
    _led.append(Group(place, config))
    try:
        yield
        code = 0
    finally:
        _led.pop().end(code)


def _error_from(said: dict[str, str]) -> Exception:
    """Return what ended another rank: one of our refusals, or its text."""
    kind = getattr(errors, said["type"], None)
    if isinstance(kind, type) and issubclass(kind, DskdError):
        return kind(said["text"])
    return RuntimeError(f"{said['type']}: {said['text']}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
