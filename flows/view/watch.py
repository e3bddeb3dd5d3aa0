"""What ``dskd run`` shows: what it will do, how it stands, and how long it took."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.text import Text

from dskd_core.config import PipelineConfig
from dskd_core.progress import clock_time
from flows.tables import console
from flows.view.board import Board
from flows.view.forecast import forecast, outcome
from flows.view.frame import running_line, standing
from flows.view.heartbeat import Heartbeat, Overheard
from flows.view.live_view import AboveView, LiveView
from flows.view.run_log import is_terminal, lines_to, new_log, quiet_bars
from flows.view.stages import stages_of, what_it_does
from tasks.listeners import listening

_log = logging.getLogger("dskd.watch")


class Watch:
    """A run that is watched.

    Attributes:
        board: how it stands.
        log: the file with its lines.
    """

    def __init__(
        self, board: Board, log: Path, seen_by: LiveView | Heartbeat, say: Callable[[str], None]
    ) -> None:
        self.board, self.log, self._say = board, log, say
        self._seen_by = seen_by
        self._handlers: list[logging.Handler] = []

    def hear_logs(self) -> None:
        """Show what is logged, too; call after Prefect is imported, which sets up logging anew."""
        root, seen_by = logging.getLogger(), self._seen_by
        if isinstance(seen_by, LiveView):
            self._handlers = [AboveView(seen_by)]  # all lines are in the log already
        else:
            written = logging.FileHandler(self.log, encoding="utf-8")
            written.setFormatter(next((h.formatter for h in root.handlers if h.formatter), None))
            self._handlers = [Overheard(seen_by), written]
        for handler in self._handlers:
            root.addHandler(handler)

    def estimate(self, config: PipelineConfig) -> None:
        """Say what the run computes on, and about how long it will take there."""
        self.board.note("measuring this machine")
        from dskd_core.decoder.precision import processor_on

        try:
            self._say(f"  {'computes':<10} on {processor_on(config.teacher.device)}")
        except Exception as error:  # the run itself says it better
            _log.warning("The processor is unknown (%s).", error)
        estimates, left_out = forecast(config)
        self.board.expect(estimates)
        if (seconds := self.board.estimated_seconds) is not None:
            self._say(f"  {'time':<10} about {clock_time(seconds)} on this machine")
        for sentence in left_out:
            self._say(f"  {'':<10} {sentence}")
        self.board.note("starting Prefect")

    def stop(self) -> None:
        """Show it no longer."""
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                handler.close()
        self._seen_by.stop()
        self.board.end()

    def outcome(self) -> str:
        """Hold what the run took against what was estimated."""
        return outcome(self.board.estimated_seconds, self.board.seconds, self.board.n_found)


@contextmanager
def watched(config: PipelineConfig, title: str) -> Iterator[Watch]:
    """Say what a run will do and show how it goes: one view in a terminal, lines elsewhere.

    Args:
        config: the settings of the run.
        title: what is run.

    Raises:
        ConfigError: if there is no place for the log.
    """
    quiet_bars()
    log = new_log(datetime.now())
    board = Board(stages_of(config))
    board.note("loading Python packages")
    plan = [f"dskd: {title}"]
    plan += [f"  {name:<10} {value}" for name, value in what_it_does(config)]
    plan.append(f"  {'all lines':<10} in {log}")
    with listening(board.hear):
        yield from (_with_view if is_terminal() else _with_lines)(board, log, plan)


def _with_view(board: Board, log: Path, plan: list[str]) -> Iterator[Watch]:
    try:
        with lines_to(log) as terminal:
            view = LiveView(board, terminal, str(log))

            def say(line: str) -> None:
                view.print_above(Text(view.wrapped(line)))
                print(line, flush=True)

            watch = Watch(board, log, view, say)
            for line in plan:
                say(line)
            view.start()
            try:
                yield watch
            finally:
                watch.stop()
    finally:
        _print(f"All lines of this run: {log}")


def _with_lines(board: Board, log: Path, plan: list[str]) -> Iterator[Watch]:
    def say(line: str) -> None:
        _print(line)
        heartbeat.heard()
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    heartbeat = Heartbeat(lambda: say(f"{standing(board)}; {running_line(board.rows())}"))
    watch = Watch(board, log, heartbeat, say)
    for line in plan:
        say(line)
    heartbeat.start()
    try:
        yield watch
    finally:
        watch.stop()
        _print(f"All lines of this run: {log}")


def _print(line: str) -> None:
    console.print(line, markup=False, highlight=False)
