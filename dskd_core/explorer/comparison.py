"""Two dictionaries side by side: what each alone has, and which senses moved where."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.dictionary.difference import Change, Difference, match_senses
from dskd_core.dictionary.rows import RowReader
from dskd_core.errors import ArtifactError, DataError
from dskd_core.explorer.content import PATIENCE_SECONDS, page_of
from dskd_core.explorer.jobs import Job
from dskd_core.explorer.maps import Map, Point, fit, labelled
from dskd_core.explorer.opened import Owner
from dskd_core.explorer.pages import ServerLinks, count, number
from dskd_core.explorer.projection import principal_axes
from dskd_core.explorer.shelf import Shelf, created
from dskd_core.store.artifacts import Artifact

_N_FARTHEST = 30


@dataclass(frozen=True)
class Moves:
    """Senses in two dictionaries, on one map.

    Attributes:
        map: points of the earlier dictionary are in colour 0, of the later in colour 1.
        lines: from the earlier to the later place of matched senses: x, y, x, y.
        mses: of each matched pair, ||x - y||^2 / d.
    """

    map: Map
    lines: list[tuple[float, ...]]
    mses: list[float]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and where it leads."""

    text: Any
    href: str | None = None


class Compared:
    """Two dictionaries of a root that a page compares: by default the two newest."""

    def __init__(self, shelf: Shelf, before: str, after: str) -> None:
        self._shelf, self._opened = shelf, shelf.dictionary()
        self.artifacts = {a.fingerprint: a for a in shelf.store.of_stage("dictionary")}
        names = list(self.artifacts)
        for name in (before, after):
            if name and name not in self.artifacts:
                raise ArtifactError(
                    f"There is no dictionary {name} under this root; compare two of "
                    f"{', '.join(names)}."
                )
        self.is_possible = len(names) > 1
        if self.is_possible:
            self.before = self.artifacts[before or names[-2]]
            self.after = self.artifacts[after or names[-1]]

    def content(self, word: str, token: int | None) -> dict[str, Any]:
        """Return what the template of the comparison shows.

        Args:
            word: one whose senses are drawn in both; empty for a token, or those that moved most.
            token: a token whose senses are drawn.
        """
        content: dict[str, Any] = dict.fromkeys(("difference", "moves", "problem", "title", "job"))
        content |= {"word": word, "senses": [], "n_moved": 0, "before": "", "after": ""}
        content["dictionaries"] = [
            {"fingerprint": name, "created": created(a)} for name, a in self.artifacts.items()
        ]
        if not self.is_possible:
            return content
        content |= {"before": self.before.fingerprint, "after": self.after.fingerprint}
        found, content["job"] = self._difference()
        content["difference"] = found
        try:
            content |= self._moves_of(found, word, token)
        except DataError as error:
            content["problem"] = str(error)
        moved = _change(found, "senses moved") if found else None
        if found and moved and moved.table is not None:
            content["senses"] = self._cells(found, moved.table[:_N_FARTHEST])
            content["n_moved"] = moved.n
        return content

    def changes(self, kind: str, page: int) -> dict[str, Any]:
        """Return one page of all changes of a kind.

        Raises:
            DataError: if there is no such kind, or no such page.
        """
        if not self.is_possible:
            raise DataError("This root has one dictionary; build another, and compare them.")
        names = {"before": self.before.fingerprint, "after": self.after.fingerprint}
        content: dict[str, Any] = {"kind": kind, "page": page, "rows": [], "columns": []} | names
        found, content["job"] = self._difference()
        if found is None:
            return content | {"n": 0, "n_pages": 0, "first": 0}
        change = _change(found, kind)
        if change is None or change.table is None:
            kinds = [c.kind for c in found.changes if c.table is not None]
            raise DataError(f"Nothing is listed as {kind!r}; ask for {', '.join(kinds)}.")
        shown = page_of(change.table, page, kind)
        rows = self._cells(found, shown["shown"])
        columns = list(rows[0]) if rows else []
        return content | shown | {"n": change.n, "rows": rows, "columns": columns}

    def _difference(self) -> tuple[Difference | None, Job | None]:
        """Return what changed, or the work that looks for it."""
        job = self._shelf.difference(self.before, self.after)
        return (job.result(), None) if job.is_done(PATIENCE_SECONDS) else (None, job)

    def _moves_of(self, found: Difference | None, word: str, token: int | None) -> dict[str, Any]:
        """Draw the senses of a word or token in both; else those that moved farthest."""
        opened, artifacts = self._opened, (self.before, self.after)
        fingerprint = opened.artifact.fingerprint
        if word:
            known = opened.queries.known(word)
            tokens = opened.queries.tokens(known)
            if not tokens:
                raise DataError(
                    f"{known} is no single token, and composed senses move as their tokens' do; "
                    "compare the tokens that its page names."
                )
            token = max(tokens, key=lambda t: (opened.occurrences_of(t), -t))
        if token is not None:
            text = opened.text_of(token)
            return {"title": text, "moves": draw_token(artifacts, token, text, fingerprint)}
        moved = _change(found, "senses moved") if found else None
        if found is None or moved is None or moved.table is None or not moved.n:
            return {}
        farthest = moved.table[:_N_FARTHEST]
        return {"moves": draw_farthest(artifacts, farthest, found.text, fingerprint)}

    def _cells(self, found: Difference, table: pa.Table) -> list[dict[str, Cell]]:
        """Return rows as a page shows them, each cell under the heading of its column."""
        sides = {"before": self.before, "after": self.after}
        own = {side: RowReader(a, in_memory_bytes=0).own_offsets for side, a in sides.items()}
        names = {side: a.fingerprint for side, a in sides.items()}
        links = ServerLinks()

        def cell(name: str, row: dict[str, Any]) -> tuple[str, Cell]:
            value = row[name]
            if name == "token_id":
                return "token", Cell(found.text(value), links.to("compare", **names, token=value))
            if name.startswith("row_"):
                side = name.removeprefix("row_")
                text = f"{value - int(own[side][row['token_id']])} (row {value})"
                is_open = names[side] == self._opened.artifact.fingerprint
                return f"sense {side}", Cell(
                    text, links.to("sense", row=value) if is_open else None
                )
            if name.startswith("word"):
                return name.replace("_", " "), Cell(value, links.to("word", q=value))
            if name == "mse":
                return "MSE moved", Cell(number(value))
            if name in sides and "word_a" not in row:
                return f"senses {name}", Cell(count(value))
            return name, Cell("" if value is None else value)

        return [dict(cell(name, row) for name in row) for row in table.to_pylist()]


@dataclass(frozen=True)
class _Side:
    """Some senses of one of the two dictionaries: their rows, [n, d] and whose they are."""

    artifact: Artifact
    rows: NDArray[np.int64]
    senses: NDArray[np.float64]
    owners: list[Owner]


def draw_token(artifacts: tuple[Artifact, Artifact], token: int, text: str, opened: str) -> Moves:
    """Place the senses of a token in two dictionaries on one map (PCA of all of them).

    Args:
        artifacts: the earlier and the later dictionary.
        token: whose senses.
        text: what to call it.
        opened: the fingerprint of the dictionary that has pages to link to.

    Raises:
        DataError: if a dictionary has no senses of it, or their widths differ.
    """
    sides = []
    for artifact in artifacts:
        reader = RowReader(artifact, in_memory_bytes=0)
        own = reader.own_offsets
        start, stop = (int(own[token]), int(own[token + 1])) if token < len(own) - 1 else (0, 0)
        if start == stop:
            raise DataError(
                f"The dictionary {artifact.fingerprint} has no senses of {text!r}; "
                "choose a token that both have."
            )
        owners = [Owner(None, token, text, sense) for sense in range(stop - start)]
        senses = reader.slice(start, stop).astype(np.float64)
        sides.append(_Side(artifact, np.arange(start, stop), senses, owners))
    one, other = sides
    if one.senses.shape[1] != other.senses.shape[1]:
        raise DataError(
            f"The senses have {one.senses.shape[1]} and {other.senses.shape[1]} values; "
            "compare dictionaries of one teacher."
        )
    rows, others, mses = match_senses(one.senses, other.senses)
    return _draw((one, other), list(zip(rows, others, strict=True)), mses.tolist(), opened)


def draw_farthest(
    artifacts: tuple[Artifact, Artifact], moved: pa.Table, text: Callable[[int], str], opened: str
) -> Moves:
    """Place senses in two dictionaries on one map (PCA of all of them).

    Args:
        artifacts: the earlier and the later dictionary.
        moved: their token_id, row_before, row_after and mse.
        text: returns a token as it reads.
        opened: the fingerprint of the dictionary that has pages to link to.

    Raises:
        DataError: if a chunk is damaged.
    """
    tokens = moved["token_id"].to_pylist()
    sides = []
    for artifact, name in zip(artifacts, ("row_before", "row_after"), strict=True):
        reader, rows = RowReader(artifact, in_memory_bytes=0), moved[name].to_numpy()
        first = reader.own_offsets[tokens]
        owners = [
            Owner(None, token, text(token).strip() or "space", int(row - start))
            for token, row, start in zip(tokens, rows, first, strict=True)
        ]
        sides.append(_Side(artifact, rows, reader.take(rows).astype(np.float64), owners))
    matches = [(index, index) for index in range(len(tokens))]
    drawn = _draw((sides[0], sides[1]), matches, moved["mse"].to_pylist(), opened)
    named = labelled([replace(point, word=point.owner.text) for point in drawn.map.points])
    points = [
        replace(point, label=name.label and f"{name.label} {point.owner.sense}")
        for point, name in zip(drawn.map.points, named, strict=True)
    ]
    return replace(drawn, map=replace(drawn.map, points=points))


def _draw(
    sides: tuple[_Side, _Side], matches: list[tuple[int, int]], mses: list[float], opened: str
) -> Moves:
    axes, explained = principal_axes(np.concatenate([side.senses for side in sides]))
    places, n_before = fit(axes[:, :2]), len(sides[0].rows)
    points = []
    for colour, (name, side) in enumerate(zip(("before", "after"), sides, strict=True)):
        has_pages = side.artifact.fingerprint == opened
        for index, (row, owner) in enumerate(zip(side.rows.tolist(), side.owners, strict=True)):
            x, y = (float(value) for value in places[index + colour * n_before])
            points.append(Point.plain(row if has_pages else -1, owner, name, colour, x, y))
    lines = [
        tuple(round(float(v), 1) for v in (*places[i], *places[n_before + j])) for i, j in matches
    ]
    return Moves(Map(["before", "after"], points, explained), lines, mses)


def _change(found: Difference, kind: str) -> Change | None:
    return next((change for change in found.changes if change.kind == kind), None)
