"""How one stage stands: what it told, how fast it is, and how long it will go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dskd_core.progress import in_words, rate_text
from flows.view.stages import Stage
from tasks.listeners import Begun, Ended, Event, Planned, Progressed

Status = Literal["to come", "running", "done", "failed", "stopped"]
_MEASURES = ("ce", "loss")
"""Shown before all others."""


@dataclass(frozen=True)
class Row:
    """What a view shows of a stage.

    Attributes:
        name: of the stage.
        status: where it stands.
        details: what there is to say, the most telling first.
        share: how much of it is done, 0 to 1; None where that is unknown.
        seconds: how long it has run; None if it has not.
        left: seconds it will still take; None where that is unknown.
    """

    name: str
    status: Status
    details: tuple[str, ...] = ()
    share: float | None = None
    seconds: float | None = None
    left: float | None = None


@dataclass
class Running:
    """A shard, a student or a whole stage that runs, and the last it told."""

    title: str
    is_shard: bool
    began: float
    told: Progressed | None = None
    first: tuple[float, int] = (0.0, 0)
    last: float = 0.0

    def hear(self, event: Progressed, now: float) -> None:
        """Note how far it is; another unit or total is another piece of work with its own rate."""
        before = self.told
        is_new = before is None or (before.unit, before.n_total) != (event.unit, event.n_total)
        if is_new or (before and event.n_done < before.n_done):
            self.first = now, event.n_done
        self.told, self.last = event, now

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.told.n_done / max(self.told.n_total, 1) if self.told else 0.0

    @property
    def is_measured(self) -> bool:
        """It told of more than that it began: of several units."""
        return self.told is not None and self.told.n_total > 1

    @property
    def rate(self) -> float | None:
        """Units a second since it began here: what an earlier run did is not counted."""
        n_done = self.told.n_done - self.first[1] if self.told else 0
        seconds = self.last - self.first[0]
        return n_done / seconds if n_done > 0 and seconds > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """Return how long it will go on at this rate."""
        if self.told is None or not self.rate:
            return None
        return max((self.told.n_total - self.told.n_done) / self.rate - (now - self.last), 0.0)

    def details(self) -> list[str]:
        """Say how far it is, the most telling first."""
        if self.told is None or not self.is_measured:
            return []
        measures, unit, rate = self.told.measures, self.told.unit, self.rate
        said = [f"{self.told.n_done:,} of {self.told.n_total:,} {unit}"]
        rates = [rate_text(rate)] if rate else []
        if unit == "bytes":
            said = [f"{self.told.n_done / 1e6:,.1f} of {self.told.n_total / 1e6:,.1f} MB"]
            rates = [f"{rate / 1e6:,.1f} MB/s"] if rate else []
        names = [name for name in _MEASURES if name in measures]
        said += [*(f"{name} {measures[name]:.4g}" for name in names), *rates]
        rest = [name for name in measures if name not in names]
        return said + [f"{in_words(name)} {measures[name]:.4g}" for name in rest]


@dataclass
class StageProgress:
    """How one stage stands.

    Attributes:
        stage: which.
        estimate: seconds it is expected to take, if anybody knows.
        doing: what it does, where no task tells it.
    """

    stage: Stage
    estimate: float | None
    doing: str = ""
    _status: Status = "to come"
    _began: float | None = None
    _ended: float | None = None
    _running: dict[str, Running] = field(default_factory=dict)
    _failed: dict[str, None] = field(default_factory=dict)
    _n_planned: int = 0
    _n_plans: int = 0
    _n_shards: int = 0
    _n_found_shards: int = 0
    _n_ended: dict[str, int] = field(default_factory=lambda: {"found": 0, "made": 0})
    _made_seconds: list[float] = field(default_factory=list)
    _counts: Mapping[str, int] = field(default_factory=dict)

    def begin(self, now: float) -> None:
        """Note that it runs."""
        self._began = now if self._began is None else self._began
        self._status, self._ended = "running", None

    def finish(self, now: float) -> None:
        """Note that it is done, if it runs."""
        if self._status == "running":
            self._status, self._ended = "done", now

    def stop(self, now: float) -> None:
        """Note that it does not go on, if it runs."""
        if self._status == "running":
            self._status, self._ended = "stopped", now

    def hear(self, event: Event, now: float) -> None:
        """Take in what one of its tasks tells."""
        if isinstance(event, Planned):
            self._n_planned += event.n_tasks
            self._n_plans += 1
        elif isinstance(event, Begun):
            self.begin(now)
            self._failed.pop(event.title, None)  # it is tried again
            self._running[event.title] = Running(event.title, event.is_shard, now)
        elif isinstance(event, Progressed):
            if event.title in self._running:
                self._running[event.title].hear(event, now)
        else:
            self._hear_end(event, now)

    def _hear_end(self, event: Ended, now: float) -> None:
        self._running.pop(event.title, None)
        if event.outcome == "stopped":
            self._status, self._ended = "stopped", now
            return
        if event.outcome == "failed":
            self._failed[event.title] = None
        if self._failed and not self._running:
            self._status, self._ended = "failed", now
        if event.outcome == "failed":
            return
        if event.outcome == "made" and (event.is_shard or not self.stage.is_sharded):
            self._made_seconds.append(event.seconds)
        if event.is_shard:
            self._n_shards += 1
            self._n_found_shards += event.outcome == "found"
            return
        self._n_ended[event.outcome] += 1
        self._counts = event.counts
        if self._n_wholes_ended >= self._n_wholes and not self._running:
            self.finish(now)

    @property
    def is_over(self) -> bool:
        """It ended, well or not."""
        return self._status in {"done", "failed", "stopped"}

    @property
    def is_found(self) -> bool:
        """It is done, and nothing had to be made."""
        is_done = self._status == "done" and self._n_ended["found"] > 0
        return is_done and not self._n_ended["made"]

    def compared(self) -> tuple[float, float] | None:
        """Return the seconds it took and those estimated, where it was made from beginning to end.

        A stage of which shards were found says nothing about how fast this machine is.
        """
        n_found = self._n_ended["found"] + self._n_found_shards
        if self._status != "done" or n_found or not self.estimate:
            return None
        return self._seconds(self._ended or 0.0) or 0.0, self.estimate

    @property
    def _n_wholes(self) -> int:
        return (
            self.stage.n_tasks
            if self.stage.is_sharded
            else max(self._n_planned, self.stage.n_tasks)
        )

    @property
    def _n_wholes_ended(self) -> int:
        return sum(self._n_ended.values())

    def _tasks(self) -> tuple[int, int]:
        """Return how many tasks are done, and how many there are: shards, if it has them."""
        if self.stage.is_sharded and self._n_plans:
            # Models are asked one after the other: those to come have as many shards as the others.
            n_tasks = round(self._n_planned / self._n_plans * self.stage.n_tasks)
            return min(self._n_shards, n_tasks), n_tasks
        return min(self._n_wholes_ended, self._n_wholes), self._n_wholes

    def _seconds(self, now: float) -> float | None:
        if self._began is None:
            return None
        return (now if self._ended is None else self._ended) - self._began

    def seconds_left(self, now: float, scale: float) -> float | None:
        """Return how long it will go on: by its own rate once it has one, else by the estimate.

        Args:
            now: of the clock.
            scale: how much longer than estimated other stages took.
        """
        if self.is_over:
            return 0.0
        expected = None if self.estimate is None else self.estimate * scale
        if self._status != "running":
            return expected
        measured = self._measured_left(now)
        if measured is not None or expected is None:
            return measured
        return max(expected - (self._seconds(now) or 0.0), 0.0)

    def _measured_left(self, now: float) -> float | None:
        n_done, n_tasks = self._tasks()
        if self._is_collecting:
            return None
        running = self._running.values()
        n_to_come = max(n_tasks - n_done - len(running), 0)
        each = sum(self._made_seconds) / len(self._made_seconds) if self._made_seconds else None
        left = 0.0
        for part in running:
            own = part.seconds_left(now)
            if own is None:
                if each is None:
                    return None
                own = max(each - (now - part.began), 0.0)
            each = now - part.began + own if each is None else each
            left = max(left, own)
        if n_to_come and each is None:
            return None
        return left + n_to_come * (each or 0.0)

    @property
    def _is_collecting(self) -> bool:
        return self.stage.is_sharded and any(not r.is_shard for r in self._running.values())

    def row(self, now: float, scale: float) -> Row:
        """Return what a view shows of it."""
        return Row(
            self.stage.name,
            self._status,
            tuple(self._details()),
            self._share() if self._status in {"running", "stopped", "failed"} else None,
            self._seconds(now),
            self.seconds_left(now, scale),
        )

    def _share(self) -> float | None:
        n_done, n_tasks = self._tasks()
        if n_tasks == 1 and not any(r.is_measured for r in self._running.values()):
            return None
        shares = sum(r.share for r in self._running.values() if not self._is_collecting)
        return min((n_done + shares) / max(n_tasks, 1), 1.0)

    def _details(self) -> list[str]:
        if self._status == "to come":
            _, n_tasks = self._tasks()
            return [f"{n_tasks}"] if n_tasks > 1 else []
        if self._status == "done":
            return [*self._outcomes(), *self._counted()]
        said = [f"failed: {', '.join(self._failed)}"] if self._failed else []
        said += [self.doing] if self.doing else []
        n_done, n_tasks = self._tasks()
        if n_tasks > 1:
            n_now = min(n_done + len(self._running), n_tasks)
            said.append(f"{'shard ' if self.stage.is_sharded else ''}{n_now} of {n_tasks}")
        if self._is_collecting:
            said[:1] = ["collecting its shards"]
        for part in self._running.values():
            if not self.stage.is_sharded and n_tasks > 1:
                said.append(self._short(part.title))
            said += part.details()
        return said

    def _short(self, title: str) -> str:
        """Return a title without the name of its stage: ``kd seed 0``."""
        first, _, rest = title.partition(" ")
        return (
            rest
            if rest and first in {self.stage.name, self.stage.name.removesuffix("s")}
            else title
        )

    def _outcomes(self) -> list[str]:
        counted = {outcome: n for outcome, n in self._n_ended.items() if n}
        if sum(counted.values()) <= 1:
            return list(counted)
        return [f"{n} {outcome}" for outcome, n in counted.items()]

    def _counted(self) -> list[str]:
        if self._n_wholes_ended > 1:  # the counts of the last of several say nothing about them all
            return []
        return [f"{count:,} {in_words(name)}" for name, count in self._counts.items() if count]
