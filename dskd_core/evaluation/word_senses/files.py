"""The files of a sense-tagged source: which are read, and for what.

In a folder the files whose name says train label the senses and set the thresholds; those that say
test are scored, or dev (val) where there is no test with labels, or all others.
"""

import re
from pathlib import Path

from dskd_core.config import TaggedSourceConfig
from dskd_core.errors import ConfigError
from dskd_core.evaluation.word_senses import wordnet
from dskd_core.evaluation.word_senses.items import Split
from dskd_core.store import access, places
from dskd_core.store.artifacts import fingerprint_of

CLASSES = "classes_map.txt"
_GOLD = re.compile(r"data(?=\.txt)")
_PARTS = (("train",), ("test",), ("dev", "val"))


def content_fingerprint(source: TaggedSourceConfig) -> str:
    """Return what names the content of a source: the hash of every file that is read."""
    hashes = {}
    for name, (path, _) in files_of(source).items():
        beside = [gold_of(path)] if source.kind in {"wic", "coarse_wsd"} else []
        if source.kind == "coarse_wsd":
            beside.append(path.with_name(CLASSES))
        hashes[name] = [places.sha256_of_file(p) for p in (path, *beside) if p.is_file()]
    return fingerprint_of(hashes)


def files_of(source: TaggedSourceConfig) -> dict[str, tuple[Path, Split]]:
    """Return the files of a source that are read: name below it -> path and split.

    Raises:
        ConfigError: if there are none.
    """
    if source.kind in wordnet.KINDS:
        return {name: (path, "test") for name, path in wordnet.files_of(source.uri).items()}
    access.check_readable(source.uri, "evaluation.tagged")
    place = Path(source.uri).expanduser()
    if place.is_file():
        _check_readable(place)
        return {place.name: (place, "test")}
    names = places.files_under(place) if place.is_dir() else []
    names = [name for name in names if _is_of(source.kind, place / name)]
    if not names:
        raise ConfigError(
            f"evaluation.tagged names {source.uri!r}, which is no file and no folder with files of "
            f"the kind {source.kind}; correct the path or the kind."
        )
    labelled = [[n for n in names if _says(n, words)] for words in _PARTS]
    train, *others = labelled
    rest = [n for n in names if not any(n in some for some in labelled)]
    scored = next((some for some in (*others, rest) if some), [])
    splits: list[tuple[str, Split]] = [(name, "train") for name in train]
    splits += [(name, "test") for name in scored]
    for name, _ in splits:
        _check_readable(place / name)
    return {name: (place / name, split) for name, split in splits}


def _check_readable(path: Path) -> None:
    """Refuse a file that is, or whose companion is, a link to where nothing may be read."""
    for file in (path, gold_of(path), path.with_name(CLASSES)):
        access.check_readable(str(file), "evaluation.tagged")


def _is_of(kind: str, path: Path) -> bool:
    name = path.name.lower()
    if kind in {"wic", "coarse_wsd"}:
        return bool(_GOLD.search(name)) and gold_of(path).is_file()
    return name.endswith((".tsv", ".txt", ".csv", ".jsonl"))


def _says(name: str, words: tuple[str, ...]) -> bool:
    """Say whether a file's name, or else its folder's, has one of the words."""
    stem = name.lower().rpartition("/")[2]
    known = any(word in stem for group in _PARTS for word in group)
    where = stem if known else name.lower()
    return any(re.search(rf"(?<![a-z]){word}", where) for word in words)


def gold_of(path: Path) -> Path:
    """Return the file of labels beside a file of data."""
    return path.with_name(_GOLD.sub("gold", path.name))
