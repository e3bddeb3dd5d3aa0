"""List the licence of every package in this environment: ``python infra/licences.py``.

A package's own metadata says it: as an SPDX expression, as classifiers, or as text, in this order.
Packages that say nothing, or only where to look, are listed with ``?`` and counted at the end.
"""

from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

UNKNOWN = "?"
LONGEST = 60
"""Characters of a licence's name; what is longer is its text, of which a line is shown."""


def licence_of(package: Distribution) -> str:
    """Return the licence that a package says it has, or ``?``."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [c.split(" :: ") for c in metadata.get_all("Classifier") or []]
    named = [c[-1] for c in classifiers if c[0] == "License" and c[-1] != "OSI Approved"]
    if named:
        return " and ".join(sorted(named))
    lines = [line.strip() for line in str(metadata.get("License") or "").splitlines()]
    text = next(filter(None, lines), UNKNOWN)
    return UNKNOWN if text.upper() in {"UNKNOWN", "NONE"} else text[:LONGEST]


def table(packages: Iterable[Distribution]) -> list[tuple[str, str, str]]:
    """Return name, version and licence of every package, each once, by name."""
    rows = {(p.metadata["Name"], p.version, licence_of(p)) for p in packages}
    return sorted(rows, key=lambda row: row[0].lower())


def main() -> None:
    """Print the table, and how many packages name no licence."""
    rows = table(distributions())
    for name, version, licence in rows:
        print(f"{name:32} {version:18} {licence}")
    unknown = [name for name, _, licence in rows if licence == UNKNOWN]
    print(f"\n{len(rows)} packages; {len(unknown)} name no licence: {', '.join(unknown) or 'none'}")


if __name__ == "__main__":
    main()
