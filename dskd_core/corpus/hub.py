"""Rows of datasets of the Hugging Face hub: the hub and nothing else.

The library ``datasets`` takes the name of a dataset for that of a folder where one is here, for a
format (``text``) that reads the working folder, and for what an earlier run left in its cache; and
it fetches whatever addresses a dataset's card gives its files. So a name is made the hub's full
one, the card is checked before the library sees it, and what the library means to read must be
files of that dataset at that commit.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dskd_core.errors import ConfigError, DataError
from dskd_core.store import access

DATASET = access.DATASET
MAX_CARD_BYTES = 1 << 20
MAX_CARD_DEPTH = 50
_CARDS = ("README.md", ".huggingface.yaml")
_FULL_NAME = re.compile(r"(?!buckets/)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# A path below the dataset's root, perhaps with wildcards: no scheme, no chain, no climbing out.
_INSIDE = re.compile(r"(?!/| |(?:.*/)?\.\.(?:/|$))[^\x00-\x1f\\:]*")
_FORMATS = ("arrow", "csv", "json", "parquet", "text")


def dataset_commit(source: str, what: str) -> tuple[str, str]:
    """Return the full name of a dataset and the commit it stands at.

    Args:
        source: ``hf:NAME``, or ``hf:NAME@REVISION``, which pins one.
        what: the setting it comes from, for the message.

    Raises:
        ConfigError: if ``source`` is no name on the hub, or the package datasets is not there.
    """
    source = DATASET + source.removeprefix(DATASET)
    access.check_source(source, what)
    _datasets()
    import huggingface_hub

    name, _, revision = source.removeprefix(DATASET).partition("@")
    info = huggingface_hub.HfApi().dataset_info(name, revision=revision or None)
    if not _FULL_NAME.fullmatch(str(info.id)):
        raise ConfigError(
            f"{what} {source!r} names a dataset without an owner; give {DATASET}OWNER/NAME."
        )
    return str(info.id), str(info.sha)


def dataset_rows(
    name: str, commit: str, *, config: str | None, split: str
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split as plain values, streamed; images and sounds are not decoded.

    Args:
        name: the full name, as ``dataset_commit`` returns it.
        commit: the commit to read.
        config: which of the dataset's configurations, its default if None.
        split: such as ``train``.

    Raises:
        DataError: if its card or its files lead out of the dataset, or are in no format of rows.
    """
    datasets = _datasets()
    _check_files(name, commit)
    # With the address, a folder of that name is not looked at.
    builder = datasets.load_dataset_builder(f"hf://datasets/{name}", config, revision=commit)
    root = f"hf://datasets/{name}@{commit}/"
    files = [file for of_split in (builder.config.data_files or {}).values() for file in of_split]
    foreign = [file for file in files if not _is_below(file, root)]
    if foreign or not files or builder.hash != commit:
        elsewhere = foreign[0] if foreign else "a cache of an earlier run"
        raise DataError(
            f"{DATASET}{name} would be read from {elsewhere!r}, not from commit {commit} of "
            "the hub; download its files and give their folder."
        )
    if builder.name not in _FORMATS:
        raise DataError(
            f"{DATASET}{name} holds files of the kind {builder.name}; give a dataset of "
            f"{', '.join(_FORMATS)}."
        )
    rows = builder.as_streaming_dataset(split=split)
    # Decoding would open what a row names: a file of this machine, an address of its network.
    yield from rows.decode(False) if rows.features is not None else rows


def _check_files(name: str, commit: str) -> None:
    """Refuse a dataset whose card or file names lead out of it."""
    import huggingface_hub

    api = huggingface_hub.HfApi()
    info = api.dataset_info(name, revision=commit)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    for path in names:
        if "::" in path or not _INSIDE.fullmatch(path.replace(":", "")):
            raise _leads_out(name, "a file's name", path)
    for card in _CARDS:
        if card in names:
            path = api.hf_hub_download(name, card, repo_type="dataset", revision=commit)
            for place in _places_in(Path(path), name):
                if not _INSIDE.fullmatch(place):
                    raise _leads_out(name, card, place)


def _places_in(card: Path, name: str) -> Iterator[str]:
    """Yield every path, pattern or address that a card gives for data."""
    import huggingface_hub
    import yaml

    if card.stat().st_size > MAX_CARD_BYTES:
        raise DataError(
            f"{card.name} of {DATASET}{name} has {card.stat().st_size:,} bytes, more than "
            f"{MAX_CARD_BYTES:,}; download the dataset's files and give their folder."
        )
    text = card.read_bytes().decode("utf-8", errors="replace")
    try:
        if card.suffix == ".md":
            block = huggingface_hub.repocard.REGEX_YAML_BLOCK.search(text)
            text = block.group(2) if block else ""
        depth = 0
        for event in yaml.parse(text):  # one by one: the parser is quadratic in the depth
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_CARD_DEPTH or isinstance(event, yaml.AliasEvent):
                raise DataError(
                    f"{card.name} of {DATASET}{name} has YAML aliases, or more than "
                    f"{MAX_CARD_DEPTH} levels; download the dataset's files and give their folder."
                )
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(
            f"{card.name} of {DATASET}{name} is no YAML ({type(error).__name__}); download the "
            "dataset's files and give their folder."
        ) from error
    configs = values.get("configs") if isinstance(values, dict) else None
    for config in configs if isinstance(configs, list) else ():
        if isinstance(config, dict):
            yield from _texts_in([config.get("data_files"), config.get("data_dir")])


def _texts_in(values: list[Any]) -> Iterator[str]:
    """Yield every text in lists and the values of objects, however deep."""
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)


def _is_below(file: str, root: str) -> bool:
    return file.startswith(root) and "::" not in file and ".." not in file.split("/")


def _leads_out(name: str, where: str, place: str) -> DataError:
    return DataError(
        f"{DATASET}{name} has {place!r} in {where}, which leads out of the dataset; download the "
        "files and give their folder."
    )


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "A Hugging Face dataset needs the package datasets; run: pip install dskd[hub]"
        ) from error
    return datasets
