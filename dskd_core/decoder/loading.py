"""The one place where weights are loaded: a model has every tensor it needs, or is refused.

transformers fills what a checkpoint lacks with random numbers, leaves out what it does not know,
and says so in a warning alone. Here both are errors, for a teacher, a student, a model that is only
scored, and a GGUF file.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch

from dskd_core.decoder.faults import CONFIG_FAULTS, cure_of
from dskd_core.decoder.gguf_header import Header, read_header
from dskd_core.decoder.model_files import CONFIG, INDEX, weight_map
from dskd_core.errors import ArtifactError, DskdError, listed, says_no_memory
from dskd_core.errors import shown as short

_LIKELY = 20
_FLOATS = frozenset(["F64", "F32", "F16", "BF16"])
_MASKS = frozenset(["bias", "masked_bias", "position_ids", "token_type_ids"])
"""Buffers that old checkpoints hold as integers, and that no model reads any more."""

_WRAPPERS = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
    "_forward_module.": "Lightning",
    "base_model.model.": "PEFT",
    "module.": "DistributedDataParallel",
}
_ADAPTER = re.compile(r"\.(lora_\w+|base_layer|modules_to_save)\.")
_BESIDE = re.compile(
    r"^(model\.)?(vision\w*|visual|image\w*|audio\w*|speech\w*|multi_modal_projector|mm_projector|"
    r"mtp\w*|v_head|value_head|score)\."
)
"""Modules that stand beside a language model and are no part of it."""

_MOST_TIMES, _SPARE_VALUES = 2, 1 << 28
"""A model may be made of so many times the values that are stored of it, and of as many besides
as take a gigabyte."""
_ROPE = "rope_freqs.weight"
_TIED_IN_GGUF = frozenset(["falcon", "bloom"])


def load_model(
    view: Path, shown: str | Path, *, dtype: torch.dtype, code: bool = False, gguf: str = ""
) -> Any:
    """Load a causal language model whose weights are all there.

    ``gguf`` names the GGUF file in the view, if it is one; ``code`` lets the model's own Python
    run.

    Returns:
        The transformers model, its configuration saying of tied embeddings what is so.

    Raises:
        ArtifactError: if a tensor that the model needs is missing or has another shape, if one is
            left over, if weights are quantised or not finite, or if a file is damaged.
    """
    with weight_faults_told(shown):
        if not gguf:
            check_not_quantised(view, shown)
            _check_shards(view, shown)
        if not code:
            _check_fits(view, shown, gguf)
        model, info = _load(view, dtype, code, gguf)
    _check_complete(model, info, shown)
    if gguf:
        _check_gguf(model, view / gguf, shown)
    else:
        _check_dtypes(model, view, shown)
    _check_finite(model, shown)
    _say_if_untied(model)
    return model


def _load(view: Path, dtype: torch.dtype, code: bool, gguf: str) -> tuple[Any, dict[str, Any]]:
    """Return what transformers makes of a folder, and what it says of the tensors there."""
    from transformers import AutoModelForCausalLM, GgufConfig

    options: dict[str, Any] = {"use_safetensors": True}
    if gguf:
        options = {"gguf_file": gguf, "quantization_config": GgufConfig(dequantize=True)}
    model, info = AutoModelForCausalLM.from_pretrained(
        str(view),
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=code,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused by name, once it is loaded
        **options,
    )
    return model, info


@contextmanager
def weight_faults_told(shown: str | Path) -> Iterator[None]:
    """Say in one sentence why nothing can be loaded of the weights of a model.

    Args:
        shown: where the model is, for messages.

    Raises:
        ArtifactError: for what safetensors or transformers raise of damage or contradictions.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ArtifactError(
            f"The weights of {shown} are damaged ({error}); copy the whole checkpoint again."
        ) from error
    except CONFIG_FAULTS as error:
        if isinstance(error, DskdError) or says_no_memory(str(error)):
            raise
        if "conversion of the weights" not in str(error):
            raise ArtifactError(
                f"transformers makes no model of the config.json of {shown} "
                f"({short(' '.join(str(error).split()))}); "
                f"{cure_of(error, 'copy the whole checkpoint')}."
            ) from error
        raise ArtifactError(
            f"The weights of {shown} cannot be put together as its config.json says, so tensors "
            "are missing or of other shapes (of one expert, perhaps); copy the whole checkpoint, "
            "or save it again with save_pretrained(...)."
        ) from error


def _n_stored(view: Path, gguf: str) -> int:
    """Return how many values the weights of a model have, by the headers of its files."""
    from safetensors import safe_open

    if gguf:
        return sum(map(prod, read_header(view / gguf).tensors.values()))
    n_values = 0
    for path in view.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            n_values += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return n_values


def _check_fits(view: Path, shown: str | Path, gguf: str) -> None:
    """Refuse a configuration of far more weights than there are, before they are made.

    transformers makes those that a checkpoint lacks, and tables of sines by the longest context.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    named = {"gguf_file": gguf} if gguf else {}
    config = AutoConfig.from_pretrained(
        str(view), local_files_only=True, trust_remote_code=False, **named
    )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except CONFIG_FAULTS:
        return  # said when it is loaded
    n_values = sum(value.numel() for value in (*model.parameters(), *model.buffers()))
    n_stored = _n_stored(view, gguf)
    if n_values > _MOST_TIMES * n_stored + _SPARE_VALUES:
        raise ArtifactError(
            f"The config.json of {shown} is of a model of {n_values:,} values, but its weights "
            f"have {n_stored:,}; copy the whole checkpoint with the config.json it was saved with."
        )


def check_not_quantised(view: Path, shown: str | Path) -> None:
    """Check by its config that a model's weights are plain numbers.

    Raises:
        ArtifactError: if they are quantised.
    """
    config = json.loads((view / CONFIG).read_text("utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in ("quantization_config", "compression_config"):
            if found := part.get(key):
                method = found.get("quant_method", key) if isinstance(found, dict) else found
                raise _is_quantised(shown, f"its config.json says {method}")


def _check_shards(view: Path, shown: str | Path) -> None:
    """Refuse a tensor that lies in two files with other values: which is read is up to their order.

    An index gives each tensor one file, but transformers reads all that is in the files it names.
    """
    from safetensors import safe_open

    if not (view / INDEX).exists():
        return
    places = weight_map(view / INDEX)
    found = []
    for file_name in sorted(set(places.values())):
        with safe_open(view / file_name, framework="pt") as file:
            strangers = [name for name in file.keys() if places.get(name, file_name) != file_name]  # noqa: SIM118
            for owner in sorted({places[name] for name in strangers}):
                names = [name for name in strangers if places[name] == owner]
                with safe_open(view / owner, framework="pt") as other:
                    others = _differing(file, other, names)
                found += [f"{name} of {file_name}, which belongs to {owner}" for name in others]
    if found:
        raise ArtifactError(
            f"The files of {shown} hold {len(found)} tensors that their index gives another file, "
            f"with other values ({_named(found)}); take them out of the files they are left over "
            "in, or write the checkpoint again without them."
        )


def _differing(file: Any, other: Any, names: list[str]) -> list[str]:
    """Return the tensors of one open file that another lacks or has with other values."""
    held = set(other.keys())
    return [
        name
        for name in names
        if name not in held or not torch.equal(file.get_tensor(name), other.get_tensor(name))
    ]


def _is_quantised(shown: str | Path, how: str) -> ArtifactError:
    return ArtifactError(
        f"The weights of {shown} are quantised ({how}), which is not supported; take the model as "
        "it was before, or dequantise it and save that with save_pretrained(...)."
    )


def _check_complete(model: Any, info: dict[str, Any], shown: str | Path) -> None:
    """Refuse what is missing, of another shape, or left over within the language model."""
    missing, mismatched = set(info["missing_keys"]), set(info["mismatched_keys"])
    own = {name for name, _ in model.named_children()}
    unexpected = {
        name
        for name in info["unexpected_keys"]
        if not (found := _BESIDE.match(name)) or found[2] in own
    }
    if not (missing or mismatched or unexpected):
        return
    shapes = [f"{name} is {list(there)}, not {list(here)}" for name, there, here in mismatched]
    said = [
        f"{what} ({_named(names)})"
        for what, names in (
            (f"lack {len(missing)} that {type(model).__name__} needs", missing),
            (f"have {len(mismatched)} of another shape", shapes),
            (f"have {len(unexpected)} that it does not know", unexpected),
        )
        if names
    ]
    raise ArtifactError(
        f"The tensors of {shown} are not those of its config.json: they {' and '.join(said)}; "
        f"{_cure(missing, unexpected)}."
    )


def _named(names: Collection[str]) -> str:
    return listed(sorted(names))


def _cure(missing: set[str], unexpected: set[str]) -> str:
    """Say what the names of tensors make likely."""
    if any(_ADAPTER.search(name) for name in unexpected):
        return "an adapter is in it: merge it (merge_and_unload()) and save that"
    for wrapper, adder in _WRAPPERS.items():
        if missing & {name.replace(wrapper, "") for name in unexpected if wrapper in name}:
            return (
                f"their names hold {wrapper!r}, which {adder} puts there: save the model inside it "
                "with save_pretrained(...), or take it out of the names"
            )
    others = sorted(unexpected)
    for name in sorted(missing)[:_LIKELY]:  # one tells it, and there may be 10^5 of both
        for other in others:
            if other.endswith(f".{name}"):
                prefix = other.removesuffix(name)
                return f"their names begin with {prefix!r}: take it off and save them again"
            if name.endswith(f".{other}"):
                prefix = name.removesuffix(other)
                return f"their names lack {prefix!r} in front: put it there and save them again"
    return (
        "copy the whole checkpoint with the config.json it was saved with, or save it again with "
        "save_pretrained(...)"
    )


def _check_dtypes(model: Any, view: Path, shown: str | Path) -> None:
    """Refuse weights that are stored as integers or in 8 bits, without what scales them."""
    from safetensors import safe_open

    integers = {name for name, value in model.state_dict().items() if not value.is_floating_point()}
    found = []
    for path in sorted(view.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                if name in integers or name.rpartition(".")[2] in _MASKS or _BESIDE.match(name):
                    continue
                dtype = file.get_slice(name).get_dtype()
                found += [] if dtype in _FLOATS else [f"{name} is {dtype}"]
    if found:
        raise _is_quantised(shown, _named(found))


def _check_finite(model: Any, shown: str | Path) -> None:
    """Refuse weights that are no numbers, or that a narrower precision cannot hold."""
    found = [
        name
        for name, value in model.named_parameters()
        if value.is_floating_point() and value.numel() and not all(map(isfinite, _range(value)))
    ]
    if found:
        dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
        raise ArtifactError(
            f"{len(found)} tensors of {shown} have values that are not finite in {dtype} "
            f"({_named(found)}); copy the checkpoint again, or set teacher.dtype to float32 if "
            "they are too large for it."
        )


def _range(value: torch.Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(value.detach())  # one pass, no copy; a nan is passed on
    return float(low), float(high)


def _say_if_untied(model: Any) -> None:
    """Make the configuration say so where a checkpoint's head is not its embeddings.

    transformers loads both and does not tie them. But whoever made a model from that configuration,
    as a student is, would tie them and lose the head.
    """
    output, inner = model.get_output_embeddings(), model.get_input_embeddings()
    if output is None or inner is None or output.weight is inner.weight:
        return
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def _check_gguf(model: Any, file: Path, shown: str | Path) -> None:
    """Refuse a GGUF file of which transformers has left out tensors, or how it scales positions."""
    header = read_header(file)
    _check_positions(header, file, shown)
    values = {value.data_ptr(): value.numel() for value in model.state_dict().values()}
    n_model = sum(values.values())
    read = {name: prod(shape) for name, shape in header.tensors.items() if name != _ROPE}
    if header.values.get("general.architecture") in _TIED_IN_GGUF:
        read.pop("output.weight", None)
    if sum(read.values()) != n_model:
        raise ArtifactError(
            f"The tensors of {shown} have {sum(read.values())} values, but "
            f"{type(model).__name__} has {n_model}, so some would be left out; give the teacher "
            "as the transformers folder that the file was made from."
        )


def _check_positions(header: Header, file: Path, shown: str | Path) -> None:
    scaled = header.text("rope.scaling.type") not in {None, "none"}
    if not scaled and _ROPE in header.tensors:
        import gguf

        factors = [t.data for t in gguf.GGUFReader(file).tensors if t.name == _ROPE]
        scaled = any(bool((values != 1.0).any()) for values in factors)
    if scaled:
        raise ArtifactError(
            f"{shown} scales its rotary positions ({_ROPE} or rope.scaling), which transformers "
            "does not read of a GGUF file; give the teacher as the transformers folder that the "
            "file was made from."
        )
