"""The view of a run in a terminal: drawn again and again in the same place, warnings above it."""

import logging
import os
import textwrap
import threading
from datetime import datetime
from typing import TextIO

from rich.console import ConsoleDimensions, RenderableType
from rich.live import Live
from rich.text import Text

from flows.tables import PlainConsole
from flows.view.board import Board
from flows.view.frame import frame, standing

_REFRESH_SECONDS = 0.5


class _Terminal(PlainConsole):
    """A console of a file that is a terminal, whatever the standard streams now are."""

    @property
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            return super().size
        return ConsoleDimensions(max(columns, 40), max(lines, 8))

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        """Leave it: the terminal knows."""


class LiveView:
    """Shows a board until it is stopped; the last state stays on the screen.

    The cursor stays visible, so a process that is killed leaves no terminal without one.

    Args:
        board: what is shown.
        terminal: where.
        log: the name of the file with all lines.
    """

    def __init__(self, board: Board, terminal: TextIO, log: str) -> None:
        self._board, self._log = board, log
        self._console = _Terminal(file=terminal, force_terminal=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            get_renderable=self._drawn,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._size = self._console.size
        self._thread = threading.Thread(target=self._refresh, name="live-view", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start(refresh=True)
        self._console.show_cursor(True)
        self._thread.start()

    def stop(self) -> None:
        """Draw once more and leave it there; a second call does nothing."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2)
        self._board.end()
        self._live.stop()

    def wrapped(self, line: str) -> str:
        """Break a line of the plan where the terminal ends; what follows stands under its value."""
        return textwrap.fill(line, self._console.width - 1, subsequent_indent=" " * 13)

    def print_above(self, text: Text) -> None:
        """Print a message above the view."""
        self._console.print(text, soft_wrap=True)

    def _refresh(self) -> None:
        while not self._stopping.wait(_REFRESH_SECONDS):
            if self._console.size != self._size:  # old lines may have been wrapped: begin anew
                self._size = self._console.size
                self._console.clear()
            self._live.refresh()

    def _drawn(self) -> RenderableType:
        try:
            rows, (width, height) = self._board.rows(), self._console.size
            line = standing(self._board)
            foot = [line, f"all lines: {self._log}"]
            is_unicode = self._console.encoding.startswith("utf")
            return frame(rows, foot, width=width, height=height - 1, is_unicode=is_unicode)
        except Exception as error:  # what only shows work must not end it
            return Text(f"The view cannot be drawn ({type(error).__name__}: {error}).")


class AboveView(logging.Handler):
    """Shows the first line of what is logged from warnings on above a view."""

    def __init__(self, view: LiveView) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            style = "yellow" if record.levelno < logging.ERROR else "red"
            at = datetime.fromtimestamp(record.created)
            message = record.getMessage().partition("\n")[0]
            text = Text(f"{at:%H:%M:%S} {record.levelname.lower()}: {message}", style=style)
            self._view.print_above(text)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Stop the view, too: a process that ends without cleaning up shuts down its logging."""
        self._view.stop()
        super().close()
