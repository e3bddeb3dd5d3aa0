"""One picture of a run: its stages as rows, then the time, in the room that a terminal has."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dskd_core import interruption
from dskd_core.progress import clock_time
from flows.view.board import Board
from flows.view.stage_progress import Row, Status

_MARKS: dict[Status, tuple[str, str, str]] = {
    "to come": ("·", ".", "dim"),
    "running": ("▶", ">", "bold cyan"),
    "done": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "stopped": ("■", "#", "yellow"),
}
_NAME_COLUMNS = 17
_TIME_COLUMNS = 9
_LEFT_COLUMNS = 11
_GAPS = 6
_WIDE_ROOM = 60


def frame(
    rows: Sequence[Row],
    foot: Sequence[str],
    *,
    width: int,
    height: int,
    is_unicode: bool = True,
) -> Group:
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
    table.add_row("", "stage", "", "took", "left", style="dim")
    details = {row.name: _details(row, room, is_unicode=is_unicode) for row in rows}
    n_second = sum("\n" in text.plain for text in details.values())
    for row in collapsed(rows, height - len(foot) - 1 - n_second):
        mark, ascii_mark, style = _MARKS[row.status]
        table.add_row(
            Text(mark if is_unicode else ascii_mark, style=style),
            Text(row.name, style=style if row.status != "done" else ""),
            details.get(row.name) or _details(row, room, is_unicode=is_unicode),
            Text("" if row.seconds is None else clock_time(row.seconds)),
            Text(_left(row), style="dim" if row.status == "to come" else ""),
        )
    # What a terminal echoes after the last line, such as ^C, must not begin another.
    below = [Text(line[: width - 4], style="dim" if n else "bold") for n, line in enumerate(foot)]
    return Group(table, *below)


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
    if not row.left or row.status not in {"running", "to come"}:
        return ""
    return f"~ {clock_time(row.left)}"


def _details(row: Row, room: int, *, is_unicode: bool) -> Text:
    """Return what there is to say; of what runs on a second line, if one is not enough."""
    text = Text(no_wrap=True, overflow="ellipsis")
    first_room = room
    if row.share is not None:
        n_columns = 20 if room >= _WIDE_ROOM else 8
        text.append_text(_bar(row.share, n_columns, is_unicode=is_unicode)).append(" ")
        first_room = room - n_columns - 1
    n_said, said = fitting(row.details, first_room)
    text.append(said, style="dim" if row.status == "to come" else "")
    if row.status == "running" and (more := fitting(row.details[n_said:], room)[1]):
        text.append(f"\n{more}", style="dim")
    return text


def _bar(share: float, n_columns: int, *, is_unicode: bool) -> Text:
    full, empty = ("━", "─") if is_unicode else ("#", "-")
    n_full = int(share * n_columns)
    bar = Text(full * n_full, style="cyan")
    return bar.append(empty * (n_columns - n_full), style="dim")


def fitting(details: Sequence[str], room: int) -> tuple[int, str]:
    """Return as many of the details, the first ones, as fit, and their number.

    A first one that does not fit is cut.

    >>> fitting(["3 of 9", "kd seed 0", "ce 2.31"], 20)
    (2, '3 of 9, kd seed 0')
    """
    for n_said in range(len(details), 0, -1):
        said = ", ".join(details[:n_said])
        if len(said) <= room:
            return n_said, said
    return (1, f"{details[0][: max(room - 1, 0)]}…") if details else (0, "")


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
            left = f", {clock_time(row.left)} left" if row.left else ""
            said.append(f"{row.name} for {clock_time(row.seconds or 0.0)}{details}{left}")
    return "; ".join(said) or "between two stages"
