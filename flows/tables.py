"""What the commands print: tables of places, students, plans, problems and changes."""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dskd_core.control_characters import visible
from tasks.stage_uris import StageUris


class PlainConsole(Console):
    """A console on which foreign text steers nothing: its control characters are written out."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of what is printed; those that rich makes to steer stay."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, returns=True), style, control)


console = PlainConsole(soft_wrap=True)
if not console.is_terminal:
    console.width = 140


def print_rows(rows: Sequence[dict[str, Any]], title: str = "") -> None:
    """Print rows of equal keys as a table."""
    if not rows:
        return
    names = (escape(visible(str(name))) for name in rows[0])
    table = Table(*names, title=Text(visible(title)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    console.print(table)


class PrintedProgress:
    """Prints how far one part is: on one line of a terminal, elsewhere a line now and then.

    Args:
        seconds: between two lines that no terminal shows.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds, self._last = seconds, monotonic()

    def __call__(self, n_done: int, n_total: int, unit: str, **_: float) -> None:
        """Print it, where it is time."""
        is_over = n_done >= n_total
        if console.is_terminal:
            console.print(f"{n_done:,} of {n_total:,} {unit}", end="\n" if is_over else "\r")
        elif is_over or monotonic() - self._last > self._seconds:
            console.print(f"{n_done:,} of {n_total:,} {unit}", markup=False, highlight=False)
            self._last = monotonic()


def print_places(made: StageUris) -> None:
    """Print where the artifacts of a run lie, and their sizes."""
    from dskd_core.progress import in_bytes
    from dskd_core.store.artifacts import ArtifactStore

    root = str(made.report).rsplit("/", 2)[0]
    rows = []
    for stage, several in made.listed().items():
        size = in_bytes(sum(_bytes_with_shards(ArtifactStore(root), uri) for uri in several))
        place = several[0].removeprefix(f"{root}/")
        if len(several) > 1:
            place = f"{place.partition('/')[0]}/ ({len(several)} of them)"
        rows.append({"stage": stage, "size": size, "place": place})
    print_rows(rows, f"Artifacts under {root}")


def print_comparison(report_uri: str) -> None:
    """Print how teacher and students compare."""
    from dskd_core.store.artifacts import ArtifactStore

    report = ArtifactStore.open(report_uri).record.report
    if arms := report.get("table"):
        # One column an arm: a person compares along a line.
        subject, *measures = arms[0]
        names = (escape(visible(str(row[subject]))) for row in arms)
        table = Table(escape(subject), *names, title="Teacher and students")
        for name in measures:
            table.add_row(Text(name), *(Text(cell(row.get(name))) for row in arms))
        console.print(table)
    print_rows(report.get("comparison") or [], "Paired differences")
    print_continuations(report.get("continuations") or [])
    console.print(f"The whole report: {report_uri}/report.html", markup=False)


def print_continuations(rows: Sequence[dict[str, Any]]) -> None:
    """Print the beginnings of held-out documents, and what each model writes after them."""
    document = None
    for row in rows:
        if row["document"] != document:
            document = row["document"]
            console.print("\n[bold]Continued[/bold]", end=": ")
            console.print(_on_one_line(row["beginning"]), markup=False, highlight=False)
        told = _on_one_line(row["continuation"]) or "(ends here)"
        console.print(f"  {row['writer']}: {told}", markup=False, highlight=False)


def _on_one_line(text: str) -> str:
    """Return foreign text without line breaks and control characters, which a terminal obeys."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())


def cell(value: Any) -> str:
    """Write one value of a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else visible(str(value))


def _bytes_with_shards(store: Any, uri: str) -> int:
    artifact = store.open(uri)
    whole = [artifact, *store.shards_of(artifact)]
    return int(sum(one.record.n_bytes for one in whole))
