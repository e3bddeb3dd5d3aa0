"""Which licences let a dictionary be passed on to everybody, and which pairs are under others."""

import re
from dataclasses import dataclass

from dskd_core.dictionary.card import provenance
from dskd_core.dictionary.queries import Sources
from dskd_core.relations import PAIRS
from dskd_core.relations.filters import NON_COMMERCIAL
from dskd_core.store.artifacts import Artifact, ArtifactStore

_FREE = re.compile(
    r"public domain|cc0|cc[ -]by([ -]\d(\.\d)?)?$|wordnet|mit\b|apache|bsd|isc\b|unlicen[cs]e"
    r"|pddl|odc[ -]by",
    re.IGNORECASE,
)
_KINDS = (
    ("no commercial use", NON_COMMERCIAL),
    ("no derivatives", re.compile(r"\bND\b|no-?deriv", re.IGNORECASE)),
    (
        "share-alike",
        re.compile(r"\bSA\b|share-?alike|gfdl|\bA?L?GPL|odbl|copyleft", re.IGNORECASE),
    ),
)


def obstacle(licence: str) -> str:
    """Say why a licence does not let everybody have a dictionary as they like; empty if it does.

    A licence whose name is not known to do so is an obstacle.

    >>> [obstacle(name) for name in ("CC BY 4.0", "CC BY-NC-SA 4.0", "CC BY-SA 3.0", "unstated")]
    ['', 'no commercial use', 'share-alike', 'not known']
    """
    for kind, pattern in _KINDS:
        if pattern.search(licence):
            return kind
    return "" if _FREE.match(licence.strip()) else "not known"


@dataclass(frozen=True)
class Refused:
    """A licence that keeps a dictionary from being passed on.

    Attributes:
        licence: its name.
        obstacle: why, see :func:`obstacle`.
        sources: kinds and files of the lexicon under it.
        n_pairs: pairs that carry it, alone or beside others.
    """

    licence: str
    obstacle: str
    sources: tuple[str, ...]
    n_pairs: int

    def __str__(self) -> str:
        """Return it in words."""
        named = ", ".join(self.sources) or "its rows"
        return f"{self.licence} ({self.obstacle}) of {named}, {self.n_pairs:,} pairs"


def refused_licences(store: ArtifactStore, dictionary: Artifact) -> list[Refused]:
    """Return the obstacles among the licences of the pairs that a dictionary was made from."""
    made_from = Sources(store, dictionary)
    found = made_from.relations.query(
        "SELECT licence, count(*) AS n FROM (SELECT unnest(licences) AS licence FROM pairs) "
        "GROUP BY ALL ORDER BY n DESC, licence",
        pairs=PAIRS,
    ).to_pylist()
    sources = provenance(store, made_from.words)
    return [
        Refused(
            row["licence"],
            why,
            tuple(f"{s['kind']} ({s['file']})" for s in sources if s["licence"] == row["licence"]),
            row["n"],
        )
        for row in found
        if (why := obstacle(row["licence"]))
    ]
