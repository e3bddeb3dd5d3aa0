"""Two dictionaries side by side: how one token's senses moved."""

from dataclasses import dataclass

import numpy as np

from dskd_core.dictionary.difference import match_senses
from dskd_core.dictionary.rows import RowReader
from dskd_core.errors import DataError
from dskd_core.explorer.maps import Map, Point, fit, project
from dskd_core.explorer.opened import Owner
from dskd_core.store.artifacts import Artifact


@dataclass(frozen=True)
class Moves:
    """The senses of a token in two dictionaries, on one map.

    Attributes:
        map: ``chosen`` points are of the earlier dictionary, colour 0, the others of the later.
        lines: of matched senses, the places of both: x, y, x, y.
        mses: of each matched pair, ||x - y||^2 / d.
    """

    map: Map
    lines: list[tuple[float, float, float, float]]
    mses: list[float]


def draw_moves(before: Artifact, after: Artifact, token: int, text: str) -> Moves:
    """Place the senses of a token in both dictionaries on one map (PCA of all of them).

    Raises:
        DataError: if a dictionary has no senses of it, or their widths differ.
    """
    senses = []
    for artifact in (before, after):
        reader = RowReader(artifact, in_memory_bytes=0)
        own = reader.own_offsets
        start, stop = (int(own[token]), int(own[token + 1])) if token < len(own) - 1 else (0, 0)
        if start == stop:
            raise DataError(
                f"The dictionary {artifact.fingerprint} has no senses of {text!r}; "
                "choose a token that both have."
            )
        senses.append((start, reader.slice(start, stop).astype(np.float64)))
    (first, one), (other_first, other) = senses
    if one.shape[1] != other.shape[1]:
        raise DataError(
            f"The senses have {one.shape[1]} and {other.shape[1]} values; "
            "compare dictionaries of one teacher."
        )
    flat, explained = project(np.concatenate([one, other]), "pca")
    places = fit(flat)
    points = []
    for colour, (start, name, rows) in enumerate(
        [(first, "before", len(one)), (other_first, "after", len(other))]
    ):
        for sense in range(rows):
            x, y = places[sense + colour * len(one)]
            owner = Owner(None, token, text, sense)
            points.append(Point.plain(start + sense, owner, name, colour, float(x), float(y)))
    rows_one, rows_other, mses = match_senses(one, other)
    lines = [
        tuple(round(float(v), 1) for v in (*places[i], *places[len(one) + j]))
        for i, j in zip(rows_one, rows_other, strict=True)
    ]
    return Moves(Map(["before", "after"], points, explained), lines, mses.tolist())  # type: ignore[arg-type]
