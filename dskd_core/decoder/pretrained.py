"""A transformers folder is data, and is read as data: safetensors, a configuration, a tokenizer.

Weights in other files (``pytorch_model.bin``) are pickles, and unpickling runs what is written in
them. There is no setting that allows it: a model is converted once, by whoever trusts it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dskd_core.decoder.model_files import (
    CONFIG,
    INDEX,
    INDEX_ENDING,
    SMALL,
    TEMPLATES,
    WEIGHTS,
    check_links,
    files_of,
    indexed_weights,
    weight_files,
    weight_map,
)
from dskd_core.errors import ConfigError
from dskd_core.store import access

POINTER = "weights.json"
_SHOWN = 10
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_CURE = "load it where you trust it and save_pretrained(...) it, which writes safetensors"


def check_model_folder(folder: Path) -> list[Path]:
    """Return the files that a model's weights are loaded from, if all of it is data of its own.

    Raises:
        ConfigError: if it lacks config.json or safetensors, or is an adapter of another model; or
            if a file of it at any depth, or one its index names, lies elsewhere.
    """
    access.check_readable(str(folder), "teacher.source")
    for file in folder.iterdir():
        access.check_readable(str(file), "teacher.source")
    check_links(folder)
    check_names([file.name for file in folder.iterdir()], f"The teacher folder {folder}")
    weights = weight_files(folder)
    files_of(folder, tokenizer=True, weights=True)
    return weights


def check_index(folder: Path) -> None:
    """Check that every index of weights in a folder names files of the folder.

    Raises:
        ConfigError: if one names any other.
    """
    for index in sorted(folder.glob(f"*{INDEX_ENDING}")):
        indexed_weights(index)


def check_names(names: list[str], what: str) -> None:
    """Check by the names of its files that a model can be read as data.

    Raises:
        ConfigError: if there is no configuration or no safetensors, or an adapter in their place.
    """
    if "adapter_config.json" in names:
        raise ConfigError(
            f"{what} has adapter_config.json: it is an adapter, which would load another model; "
            "merge it into its model and save that."
        )
    if any(name.endswith(".safetensors") for name in names) and "config.json" in names:
        return
    if pickled := sorted(name for name in names if name.endswith(_PICKLES)):
        raise ConfigError(
            f"{what} has its weights as pickles ({pickled[0]}), which could run code, and lacks "
            f"config.json or *.safetensors; {_CURE}."
        )
    raise ConfigError(f"{what} lacks config.json or *.safetensors; {_CURE}.")


def most_positions(folder: Path) -> int | None:
    """Return how many tokens a model was made to read at once, as its config.json says.

    None where nothing bounds them: biases by distance (ALiBi), recurrences, and ``dynamic`` RoPE,
    which stretches itself. RoPE of other kinds computes beyond its bound without a word, and its
    states mean nothing there.
    """
    path = folder / CONFIG
    settings = json.loads(path.read_text("utf-8")) if path.exists() else {}
    text = settings.get("text_config")
    settings = settings | text if isinstance(text, dict) else settings
    scaling = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kinds = {scaling.get(n) for n in ("rope_type", "type")} if isinstance(scaling, dict) else set()
    if "dynamic" in kinds or settings.get("alibi"):
        return None
    stated = (settings.get(name) for name in ("max_position_embeddings", "n_positions"))
    return next((n for n in stated if isinstance(n, int) and n > 0), None)


def check_token_ids(vocabulary: Mapping[str, int], n_rows: int, what: str | Path) -> None:
    """Check that a tokenizer's ids run from 0 without holes, and that each has an embedding.

    Rows of the embeddings beyond the last id are padding.

    Raises:
        ConfigError: if a token has no embedding, or an id no token.
    """
    if not vocabulary:
        raise ConfigError(f"The tokenizer of {what} has no tokens; save it again.")
    last = max(vocabulary, key=vocabulary.__getitem__)
    if (largest := vocabulary[last]) >= n_rows:
        n_without = sum(number >= n_rows for number in vocabulary.values())
        raise ConfigError(
            f"{n_without} tokens of {what} have no embedding: the tokenizer gives {last!r} the id "
            f"{largest}, but the model has {n_rows} rows; resize the model with "
            f"resize_token_embeddings({largest + 1}) and save it, or take the tokens out."
        )
    if holes := sorted(set(range(largest + 1)) - set(vocabulary.values())):
        shown = ", ".join(map(str, holes[:_SHOWN])) + (", ..." if len(holes) > _SHOWN else "")
        raise ConfigError(
            f"The tokenizer of {what} has no token for {len(holes)} ids ({shown}) below its last, "
            f"{last!r} with {largest}; fill them with tokens that stand for nothing (<unused0>, "
            "...) in its tokenizer.json, or number its tokens without holes."
        )


def pointed_to(folder: Path) -> tuple[str, str | None] | None:
    """Return the folder or hub id, and the commit, where the weights of a teacher artifact are.

    None if they are in ``folder`` itself. What a record says is not believed but checked again.

    Raises:
        ConfigError: if it points to what this process may not read, or to no model.
    """
    pointer = folder / POINTER
    if not pointer.exists():
        check_index(folder)
        return None
    target: Any = json.loads(pointer.read_text("utf-8"))
    said = target if isinstance(target, dict) else {}
    source, revision = said.get("source"), said.get("revision")
    if not isinstance(source, str) or not isinstance(revision, str | None):
        raise ConfigError(f"{pointer} names no place; delete {folder} and run the stage again.")
    access.check_source(source, str(pointer))
    access.check_revision(revision)
    if Path(source).is_dir():
        check_model_folder(Path(source))
    return source, revision


def local_folder(source: str, revision: str | None, *, weights: bool, code: bool = False) -> Path:
    """Return where a model is on this machine: its folder, or what is fetched of it from the hub.

    Only files that are read of a model are fetched: no pickle, and Python code only if it may run.

    Raises:
        ConfigError: if the hub's model has no weights as safetensors.
    """
    if Path(source).is_dir():
        return Path(source)
    names = [*SMALL, INDEX, f"{TEMPLATES}/*.jinja", *(["*.py"] if code else [])]
    folder = _fetched(source, revision, names)
    index = folder / INDEX
    shards = sorted(set(weight_map(index).values())) if index.exists() else []
    if not weights:
        return folder
    _fetched(source, revision, [WEIGHTS])
    if not (folder / WEIGHTS).exists() and shards:
        _fetched(source, revision, shards)
    weight_files(folder)
    return folder


def _fetched(source: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, revision=revision, allow_patterns=names))
