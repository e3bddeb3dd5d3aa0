"""A transformers folder is data, and is read as data: safetensors, a configuration, a tokenizer.

Weights in other files (``pytorch_model.bin``) are pickles, and unpickling runs what is written in
them. There is no setting that allows it: a model is converted once, by whoever trusts it.
"""

import json
from pathlib import Path
from typing import Any

from dskd_core import access
from dskd_core.errors import ConfigError

POINTER = "weights.json"
INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_CURE = "load it where you trust it and save_pretrained(...) it, which writes safetensors"


def check_model_folder(folder: Path) -> list[Path]:
    """Return the weight files of a folder, if all it consists of is data that may be read here.

    Raises:
        ConfigError: if it lacks config.json or safetensors, or is an adapter of another model; or
            if a file of it, or one its index names, lies elsewhere.
    """
    access.check_readable(str(folder), "teacher.source")
    for file in folder.iterdir():
        access.check_readable(str(file), "teacher.source")
    check_names([file.name for file in folder.iterdir()], f"The teacher folder {folder}")
    check_index(folder)
    return sorted(folder.glob("*.safetensors"))


def check_index(folder: Path) -> None:
    """Check that the index of a folder's weights, if it has one, names files of the folder.

    Raises:
        ConfigError: if it names any other.
    """
    index = folder / INDEX
    if not index.exists():
        return
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{index} is no index of weights ({error!r}); copy it again.") from error
    weights = {path.name for path in folder.glob("*.safetensors")}
    if strangers := [name for name in names if name not in weights]:
        raise ConfigError(
            f"{index} names {strangers[0]!r}, which is no *.safetensors beside it; "
            "copy the whole checkpoint."
        )


def check_names(names: list[str], what: str) -> None:
    """Check by the names of its files that a model can be read as data.

    Args:
        names: of the files of a folder or hub repository.
        what: begins the message.

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
    target: dict[str, Any] = json.loads(pointer.read_text("utf-8"))
    source, revision = target.get("source"), target.get("revision")
    if not isinstance(source, str) or not isinstance(revision, str | None):
        raise ConfigError(f"{pointer} names no place; delete {folder} and run the stage again.")
    access.check_source(source, str(pointer))
    access.check_revision(revision)
    if Path(source).is_dir():
        check_model_folder(Path(source))
    return source, revision
