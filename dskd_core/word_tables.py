"""Tables of words that ship inside the package: tab-separated, with comments."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources


def by_kind(package: str, name: str) -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return the rows of each kind, its first column, in the order of the file.

    Args:
        package: whose file it is.
        name: of the file; lines that begin with # are comments, the first other line its header.

    Returns:
        kind -> the other columns of each row, empty where a row is shorter.
    """
    text = resources.files(package).joinpath(name).read_text("utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    found: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in csv.DictReader(lines, delimiter="\t", restval=""):
        kind, *values = row.values()
        found[kind].append(tuple(values))
    return found
