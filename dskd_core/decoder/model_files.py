"""What is read of a model's folder: a fixed list of files, all of them in the folder itself.

transformers reads whatever it finds beside a model and whatever the model's config names. So it
is never given the folder itself, but a view of it: a temporary folder of links to the files listed
here, with the JSON files written anew from the keys that may stand in them
(model_config.py). Code, pickles, adapters and everything unknown are not in it.
"""

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from dskd_core import strict_json
from dskd_core.decoder.model_config import (
    added_tokens,
    check_vocabulary,
    checked_config,
    checked_tokenizer_config,
)
from dskd_core.errors import ConfigError
from dskd_core.errors import shown as short

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = "model.safetensors"
INDEX_ENDING = ".safetensors.index.json"
INDEX = f"model{INDEX_ENDING}"
TEMPLATES = "additional_chat_templates"
VOCABULARIES = (
    TOKENIZER,
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tekken.json",
    "tiktoken.model",
    "source.spm",
    "prophetnet.tokenizer",
    "byte_maps.json",
)
"""Files that hold a vocabulary; a folder without any of them has no tokenizer."""

_MERGES = ("merges.txt", "bpe.codes", "target.spm", "emoji.json", "normalizer.json", "dict.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_ADDED_TOKENS = "added_tokens.json"
SMALL = (
    CONFIG,
    GENERATION,
    CHAT_TEMPLATE,
    _ADDED_TOKENS,
    *_TOKENIZER_SETTINGS,
    *VOCABULARIES,
    *_MERGES,
)
"""All that is read of a model besides its weights and its additional chat templates."""

_SHARD = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
CONFIG_BYTES = 4 << 20
"""Most that a config.json has."""

_JSON_BYTES = 64 << 20
_HEADER_BYTES = 100_000_000
"""Most that safetensors takes for a header."""
_VOCABULARY_BYTES = 512 << 20
_TEMPLATE_BYTES = 4 << 20


@contextmanager
def model_view(
    folder: Path, *, tokenizer: bool = False, weights: bool = False, code: bool | None = False
) -> Iterator[Path]:
    """Make the checked view of a model's folder that transformers may read, for as long as it does.

    ``code`` takes the Python files of a model whose code may run. Without them a model that needs
    them is refused, but None reads what else there is of it.

    Yields:
        A temporary folder of the same name.

    Raises:
        ConfigError: if a file lies elsewhere, is too large or is no file, or says what it may not.
    """
    if tokenizer:
        check_has_vocabulary(folder)
    files = files_of(folder, tokenizer=tokenizer, weights=weights, code=bool(code))
    written = {
        name: checked_json(name, path, folder / name, code=code) for name, path in files.items()
    }
    with tempfile.TemporaryDirectory(prefix="dskd-model-") as place:
        view = Path(place) / (folder.resolve().name or "model")
        view.mkdir()
        for name, content in written.items():
            (view / name).parent.mkdir(exist_ok=True)
            if content is None:
                (view / name).symlink_to(files[name])
            else:
                (view / name).write_text(json.dumps(content), "utf-8")
        yield view


@contextmanager
def gguf_view(path: Path) -> Iterator[Path]:
    """Make a view that holds a GGUF file and nothing that lies beside it.

    Yields:
        The file in a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="dskd-model-") as place:
        link = Path(place) / path.name
        link.symlink_to(path.resolve())
        yield link


def files_of(
    folder: Path, *, tokenizer: bool, weights: bool, code: bool = False
) -> dict[str, Path]:
    """Return the files that are read of a model, by their names in its folder.

    Weights are ``model.safetensors``, else the index and what it names; code is all Python files.

    Raises:
        ConfigError: if one of them lies elsewhere or is too large, or there are no weights.
    """
    names = list(SMALL if tokenizer else (CONFIG, GENERATION))
    if tokenizer:
        names += [f"{TEMPLATES}/{path.name}" for path in (folder / TEMPLATES).glob("*.jinja")]
    if weights:
        names += [] if (folder / WEIGHTS).exists() else [INDEX]
        names += [path.name for path in weight_files(folder)]
    if code:
        names += [path.name for path in folder.glob("*.py")]
    found = {
        name: inside(folder / name, folder)
        for name in sorted(names)
        if os.path.lexists(folder / name)
    }
    for name, path in found.items():
        if not name.endswith(".safetensors"):
            is_template = name.endswith(".jinja")
            _check_size(path, folder / name, _TEMPLATE_BYTES if is_template else _VOCABULARY_BYTES)
    return found


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads a model's weights from, and no others.

    Every index in the folder is checked, also one that is not used.

    Raises:
        ConfigError: if an index names what is no ``*.safetensors`` beside it, if one of them lies
            elsewhere or names a tensor twice, or if there is neither ``model.safetensors`` nor an
            index.
    """
    indices = sorted(folder.glob(f"*{INDEX_ENDING}"))
    indexed = {path.name: indexed_weights(path) for path in indices}
    names = [WEIGHTS] if os.path.lexists(folder / WEIGHTS) else indexed.get(INDEX, {}).values()
    weights = [folder / name for name in sorted(set(names))]
    for path in weights:
        _check_header(inside(path, folder), path)
    if weights:
        return weights
    raise ConfigError(
        f"{folder} has neither {WEIGHTS} nor {INDEX}; copy the whole checkpoint, or save it again "
        "with save_pretrained(...)."
    )


def _check_header(path: Path, shown: Path) -> None:
    """Refuse weights whose header has a key twice: which of two tensors is read is up to a library.

    What else may be wrong with a header is said when it is loaded.
    """
    with path.open("rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        header = file.read(n_bytes) if n_bytes <= _HEADER_BYTES else b""
    try:
        strict_json.loads(header)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return
    except ValueError as error:
        raise ConfigError(f"{shown} is damaged ({error}); copy it again.") from error


def indexed_weights(index: Path) -> dict[str, str]:
    """Return the file of every tensor, out of an index of weights.

    Raises:
        ConfigError: if it is none, or names anything but a ``*.safetensors`` beside it.
    """
    places, there = weight_map(index), {path.name for path in index.parent.glob("*.safetensors")}
    if strangers := [name for name in places.values() if name not in there]:
        raise _is_not_beside(index, strangers[0])
    return places


def weight_map(index: Path) -> dict[str, str]:
    """Return the file of every tensor, out of an index whose files may not be here yet.

    Raises:
        ConfigError: if it is none, or names what can be no ``*.safetensors`` beside it.
    """
    content = _read_json(inside(index, index.parent), index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise ConfigError(f"{index} is no index of weights; copy it again.")
    for name in places.values():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise _is_not_beside(index, name)
    return places


def _is_not_beside(index: Path, name: Any) -> ConfigError:
    return ConfigError(
        f"{index} names {short(name)}, which is no *.safetensors beside it; copy the whole "
        "checkpoint."
    )


def check_has_vocabulary(folder: Path) -> None:
    """Check that a folder holds a vocabulary.

    Raises:
        ConfigError: if it does not.
    """
    if not any((folder / name).exists() for name in VOCABULARIES):
        raise ConfigError(
            f"{folder} has no vocabulary of its own, neither {TOKENIZER} nor another file of one; "
            "save its tokenizer there with save_pretrained(...)."
        )


def check_links(folder: Path) -> None:
    """Check that no link in a folder, at whatever depth, leads out of it.

    Raises:
        ConfigError: if one does.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(place, name)).is_symlink():
                inside(path, folder, plain=False)


def inside(path: Path, folder: Path, *, plain: bool = True) -> Path:
    """Return where a file of a model's folder is, without links, if it lies in that folder.

    The files of a model in the hub's cache are links to ``blobs`` beside its ``snapshots``. With
    ``plain``, what is no plain file is refused, such as a pipe, which would be waited for.

    Raises:
        ConfigError: if it lies elsewhere.
    """
    home = folder.resolve()
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path} leads nowhere ({error}); copy the file anew.") from error
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(target.is_relative_to(place) for place in homes):
        raise ConfigError(
            f"{path} leads to {target}, out of the model's folder; put the file itself there."
        )
    if plain and not stat.S_ISREG(target.stat().st_mode):
        raise ConfigError(f"{path} is no plain file; put one there or take it out.")
    return target


def checked_json(name: str, path: Path, shown: Path, *, code: bool | None = False) -> Any:
    """Return the checked content of a model's JSON file; None for a file that is taken as it is.

    ``name`` says what may stand in it; messages name it as ``shown``. ``code`` keeps what names
    Python code, None leaves it out unasked.

    Raises:
        ConfigError: if it says what it may not.
    """
    if name in _TOKENIZER_SETTINGS:
        return checked_tokenizer_config(_read_json(path, shown), shown)
    if name in {CONFIG, GENERATION}:
        return checked_config(_read_json(path, shown, CONFIG_BYTES), shown, code=code)
    if name == _ADDED_TOKENS:
        return added_tokens(_read_json(path, shown), shown)
    if name == INDEX:
        return {"metadata": {}, "weight_map": indexed_weights(shown)}
    if name == TOKENIZER:
        found = path.stat()
        _check_tokenizer(path, shown, found.st_size, found.st_mtime_ns, found.st_ino)
    return None


@lru_cache(maxsize=32)
def _check_tokenizer(path: Path, shown: Path, *_identity: int) -> None:
    """Check a tokenizer.json once as long as it stays what it is: it has up to 30 MB."""
    check_vocabulary(_read_json(path, shown, _VOCABULARY_BYTES), shown)


def _check_size(path: Path, shown: Path, limit: int) -> None:
    if (n_bytes := path.stat().st_size) > limit:
        raise ConfigError(
            f"{shown} has {n_bytes} bytes, more than the {limit} of any such file; copy it again."
        )


def _read_json(path: Path, shown: Path, limit: int = _JSON_BYTES) -> Any:
    _check_size(path, shown, limit)
    try:
        return strict_json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        what = "is no index of weights" if shown.name.endswith(".index.json") else "is no JSON"
        raise ConfigError(f"{shown} {what} ({error}); copy it again.") from error
