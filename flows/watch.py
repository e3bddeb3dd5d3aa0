"""What ``dskd run`` shows: what it will do, how it stands, and how long it took."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dskd_core.config import PipelineConfig
from dskd_core.progress import clock_time
from flows.board import Board
from flows.forecast import forecast, outcome
from flows.frame import running_line, time_line
from flows.heartbeat import Heartbeat, Overheard
from flows.live_view import AboveView, LiveView
from flows.run_log import is_terminal, lines_to, new_log, quiet_bars
from flows.stages import stages_of, what_it_does
from flows.tables import console
from tasks.listeners import listening


class Watch:
    """A run that is watched.

    Attributes:
        board: how it stands.
        log: the file with its lines; None where they are on the screen.
    """

    def __init__(self, board: Board, log: Path | None, seen_by: LiveView | Heartbeat) -> None:
        self.board, self.log = board, log
        self._seen_by = seen_by
        self._handler: logging.Handler | None = None

    def hear_logs(self) -> None:
        """Show what is logged, too; call after Prefect is imported, which sets up logging anew."""
        seen_by = self._seen_by
        self._handler = AboveView(seen_by) if isinstance(seen_by, LiveView) else Overheard(seen_by)
        logging.getLogger().addHandler(self._handler)

    def stop(self) -> None:
        """Show it no longer."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
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
        ConfigError: if there is a terminal and no place for the log.
    """
    quiet_bars()
    log = new_log(datetime.now()) if is_terminal() else None
    stages = stages_of(config)
    _print_plan(config, title, log)
    board = Board(stages, forecast(config))
    expected = board.estimated_seconds
    about = "" if expected is None else f", about {clock_time(expected)} on this machine"
    _print(f"{len(stages) - 1} stages{about}; starting Prefect")
    with listening(board.hear):
        if log is None:
            yield from _with_lines(board)
        else:
            yield from _with_view(board, log)


def _with_view(board: Board, log: Path) -> Iterator[Watch]:
    try:
        with lines_to(log) as terminal:
            view = LiveView(board, terminal, str(log))
            watch = Watch(board, log, view)
            view.start()
            try:
                yield watch
            finally:
                watch.stop()
    finally:
        _print(f"All lines of this run: {log}")


def _with_lines(board: Board) -> Iterator[Watch]:
    heartbeat = Heartbeat(lambda: _print(_heartbeat_line(board)))
    watch = Watch(board, None, heartbeat)
    heartbeat.start()
    try:
        yield watch
    finally:
        watch.stop()


def _heartbeat_line(board: Board) -> str:
    rows = board.rows()
    return f"{time_line(board.seconds, board.seconds_left(), rows)}; {running_line(rows)}"


def _print_plan(config: PipelineConfig, title: str, log: Path | None) -> None:
    _print(f"dskd: {title}")
    for name, value in what_it_does(config):
        _print(f"  {name:<10} {value}")
    if log is not None:
        _print(f"  {'all lines':<10} in {log}")


def _print(line: str) -> None:
    console.print(line, markup=False, highlight=False)
