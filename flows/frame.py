"""One picture of a run: its stages as rows, then the time, in the room that a terminal has."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dskd_core.progress import clock_time
from dskd_core.training import interruption
from flows.board import Board
from flows.stage_progress import Row, Status

_MARKS: dict[Status, tuple[str, str, str]] = {
    "to come": ("·", ".", "dim"),
    "running": ("▶", ">", "bold cyan"),
    "done": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "stopped": ("■", "#", "yellow"),
}
_NAME_COLUMNS = 17
_TIME_COLUMNS = 9
_LEFT_COLUMNS = 15
_GAPS = 1 + 4 * 1
_WIDE = 110


def frame(
    rows: Sequence[Row],
    foot: Sequence[str],
    *,
    width: int,
    height: int,
    is_unicode: bool = True,
) -> Table:
    """Draw the rows and the lines below them.

    Args:
        rows: one a stage, in order.
        foot: lines below; each is one line of the terminal.
        width: columns.
        height: lines; of more rows than fit, those done and those to come become one row each.
        is_unicode: the terminal shows more than ASCII.
    """
    table = Table.grid(padding=(0, 1, 0, 0))
    room = max(width - _NAME_COLUMNS - _TIME_COLUMNS - _LEFT_COLUMNS - _GAPS, 10)
    table.add_column(width=1)
    table.add_column(width=_NAME_COLUMNS, no_wrap=True)
    table.add_column(width=room, no_wrap=True)
    table.add_column(width=_TIME_COLUMNS, no_wrap=True, justify="right")
    table.add_column(width=_LEFT_COLUMNS, no_wrap=True, justify="right")
    for row in collapsed(rows, height - len(foot)):
        mark, ascii_mark, style = _MARKS[row.status]
        is_quiet = row.status == "to come"
        table.add_row(
            Text(mark if is_unicode else ascii_mark, style=style),
            Text(row.name, style=style if row.status != "done" else ""),
            _details(row, room, is_unicode=is_unicode),
            Text("" if row.seconds is None else clock_time(row.seconds)),
            Text(_left(row), style="dim" if is_quiet else ""),
        )
    outer = Table.grid()
    outer.add_column(width=width - 1, no_wrap=True, overflow="ellipsis")
    outer.add_row(table)
    for line in foot:
        outer.add_row(Text(line, style="bold" if line == foot[0] else "dim"))
    return outer


def collapsed(rows: Sequence[Row], n_lines: int) -> list[Row]:
    """Return at most ``n_lines`` rows: the first of those done are one row, then the last to come.

    What runs and what failed keeps its row.
    """
    kept = list(rows)
    done = [row for row in kept if row.status == "done"]
    if len(kept) > n_lines and len(done) > 1:
        n_merged = min(len(done), len(kept) - n_lines + 1)
        merged = done[:n_merged]
        seconds = sum(row.seconds or 0.0 for row in merged)
        names = ", ".join(row.name for row in merged)
        kept = [row for row in kept if row not in merged]
        kept.insert(0, Row(f"{n_merged} stages", "done", (names,), seconds=seconds))
    to_come = [row for row in kept if row.status == "to come"]
    if len(kept) > n_lines and len(to_come) > 1:
        n_merged = min(len(to_come), len(kept) - n_lines + 1)
        merged = to_come[-n_merged:]
        left = [row.left for row in merged if row.left is not None]
        names = ", ".join(row.name for row in merged)
        kept = [row for row in kept if row not in merged]
        kept.append(Row(f"{n_merged} more", "to come", (names,), left=sum(left) if left else None))
    return kept


def _left(row: Row) -> str:
    if row.left is None or row.status in {"done", "failed", "stopped"}:
        return ""
    return f"~ {clock_time(row.left)}" + (" left" if row.status == "running" else "")


def _details(row: Row, room: int, *, is_unicode: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    if row.share is not None:
        n_columns = 20 if room >= _WIDE - 45 else 10
        text.append_text(_bar(row.share, n_columns, is_unicode=is_unicode))
        text.append(" ")
        room -= n_columns + 1
    text.append(fitting(row.details, room), style="dim" if row.status == "to come" else "")
    return text


def _bar(share: float, n_columns: int, *, is_unicode: bool) -> Text:
    full, empty = ("━", "─") if is_unicode else ("#", "-")
    n_full = int(share * n_columns)
    bar = Text(full * n_full, style="cyan")
    return bar.append(empty * (n_columns - n_full), style="dim")


def fitting(details: Sequence[str], room: int) -> str:
    """Return as many of the details, the first ones, as fit; the first is cut if it must be.

    >>> fitting(["3 of 9", "kd seed 0", "ce 2.31"], 20)
    '3 of 9, kd seed 0'
    """
    said = ""
    for detail in details:
        longer = f"{said}, {detail}" if said else detail
        if len(longer) > room:
            break
        said = longer
    if said or not details:
        return said
    return details[0][: max(room - 1, 0)] + "…" if room > 1 else ""


def time_line(seconds: float, left: float | None, rows: Sequence[Row]) -> str:
    """Say how long a run has lasted and about how long it will go on.

    >>> time_line(75, 600, [])
    '1:15 min gone, about 10:00 min left of 11:15 min'
    >>> time_line(75, None, [Row("teacher", "done"), Row("corpus", "to come")])
    '1:15 min gone, 1 of 2 stages done'
    """
    gone = f"{clock_time(seconds)} gone"
    if left is None:
        n_done = sum(row.status == "done" for row in rows)
        return f"{gone}, {n_done} of {len(rows)} stages done"
    return f"{gone}, about {clock_time(left)} left of {clock_time(seconds + left)}"


def standing(board: Board) -> str:
    """Say how long a run has lasted and will go on, and whether it was told to end."""
    line = time_line(board.seconds, board.seconds_left(), board.rows())
    return f"{line}; told to end: saving what runs" if interruption.is_requested() else line


def running_line(rows: Sequence[Row]) -> str:
    """Say in one line what runs.

    >>> running_line([Row("teacher", "running", seconds=30.0)])
    'teacher for 30 s'
    """
    said = []
    for row in rows:
        if row.status == "running":
            details = f" ({', '.join(row.details[:3])})" if row.details else ""
            left = "" if row.left is None else f", {clock_time(row.left)} left"
            said.append(f"{row.name} for {clock_time(row.seconds or 0.0)}{details}{left}")
    return "; ".join(said) or "between two stages"
