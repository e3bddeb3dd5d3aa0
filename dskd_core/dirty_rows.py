"""What reading meets and goes on from: counted by code, with the first places of each code."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass
class DirtyRows:
    """Rows that are left out or mended, of one kind of source.

    Attributes:
        counts: by code, one of ``codes``, which have their meanings.
        places: the first ``max_places`` of each.
    """

    codes: ClassVar[dict[str, str]]
    max_places: ClassVar[int] = 20

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def note(self, code: str, place: str, n: int = 1) -> None:
        """Count ``code`` ``n`` times at ``place``; the first places are kept."""
        if code not in self.codes:
            raise KeyError(code)
        self.counts[code] += n
        places = self.places.setdefault(code, [])
        if len(places) < self.max_places:
            places.append(place)

    def counted(self, codes: Iterable[str]) -> dict[str, int]:
        """Return the counts of some codes, in their order, without those that were not met."""
        return {code: self.counts[code] for code in codes if self.counts[code]}

    def sorted_places(self) -> dict[str, list[str]]:
        """Return the places, codes sorted."""
        return dict(sorted(self.places.items()))
