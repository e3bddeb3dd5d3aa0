"""What the JSON files of a model may say: its config, and no name of a file or another model.

transformers hands every key of ``tokenizer_config.json`` and ``special_tokens_map.json`` to the
class of the tokenizer, and many of its classes open what a key names (``vocab``, ``merges``,
``gguf_file``, ``init_inputs``). Here the keys that a tokenizer needs are listed with the kind of
value each has. A key that can name a file is refused. What is neither is left out, and so reaches
nothing. ``config.json`` has no such list, since every family has keys of its own: there a key is
refused by its name, and a text by what it looks like.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from dskd_core.decoder.tokenizer_rules import check_rules
from dskd_core.errors import ConfigError, shown
from dskd_core.word_tables import by_kind

_KEYS = {
    kind: frozenset(key for (key,) in rows)
    for kind, rows in by_kind(__package__, "model_keys.tsv").items()
}
"""By kind; the comments of the file say what each is."""
_OPENED_ENDS = re.compile(
    r"_(?:files?|paths?|dirs?|folders?|vocab|vocabulary|merges|kwargs|uris?|urls?|repo|repo_id)$"
    r"|^(?:files?|paths?|dirs?|folders?|uris?|urls?|repo|repo_id|revision)$"
)
_TEXT = re.compile(r"[^/\\~\x00-\x1f\x7f]{0,64}")
_PATH = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|file:|.*(?:^|[/\\])\.\.(?:[/\\]|$)", re.DOTALL)
_IMPLEMENTATION = re.compile(r"[A-Za-z0-9_]*")
_CLASS = re.compile(r"(?!Auto)[A-Za-z]\w*(?:Tokenizer(?:Fast|Legacy)?|Backend)")
_WORDS = frozenset(["id2label", "label2id", "stop_strings"])
"""Of a model's config, the keys that are text of any form."""

_MOST_COUNT = 1 << 16
_MOST = {
    "layers": (
        4096,
        re.compile(r"(?:num|n)(?:_\w+)?_layers?|num_hidden_layers|n_layers?|(?:en|de)coder_layers"),
    ),
    "width": (
        1 << 20,
        re.compile(
            r"(?:\w+_)?(?:hidden_size|intermediate_size|embedding_size|proj_dim|ffn_dim|ffn_hidden_size"
            r"|head_dim|inner_dim|rank)|n_embd|n_inner|d_(?:model|ff|kv|inner|state)|dim|hidden_dim"
        ),
    ),
    "count": (
        _MOST_COUNT,
        re.compile(
            r"(?:\w+_)?(?:num|n)_(?:\w+_)?(?:heads?|experts?|groups?)|(?:num|n)_\w*experts\w*"
            r"|type_vocab_size|(?:\w+_)?(?:num|n)_(?!positions$|ctx$|embd$|inner$|words$"
            r"|(?:\w+_)?(?:embeddings?|tokens?|vocab\w*|positions|samples|params|parameters|floor)$)\w+"
            r"|(?:\w+_)?(?:layers|blocks|depths?|labels|ngrams?|repeats|flows|kernel_size)"
        ),
    ),
    "vocabulary": (1 << 24, re.compile(r"(?:\w+_)?vocab_size(?:_\w+)?")),
    "length": (
        1 << 30,
        re.compile(r"(?:\w+_)?max_position_embeddings|n_positions|n_ctx|(?:\w+_)?seq_len(?:gth)?"),
    ),
}
"""Most that a size of a model may be, by its keys: some twenty times the largest published model's
(of fewer than 200 layers, 53,248 wide, with 300,000 tokens and a context of 10 million)."""

_MOST_NUMBER = 1 << 128
_N_LEVELS = 32
_MAX_KEY = 256


def checked_tokenizer_config(values: Any, file: Path) -> dict[str, Any]:
    """Return what a tokenizer may be told, out of its ``tokenizer_config.json``.

    Also for ``special_tokens_map.json``, whose keys take the same way into the tokenizer.

    Returns:
        The listed keys alone. Keys that are neither listed nor refused are left out.

    Raises:
        ConfigError: if a key can name a file, or a listed one has a value of another kind.
    """
    kept: dict[str, Any] = {}
    for key, value in _object(values, file).items():
        if key in _KEYS["relic"]:
            continue
        if value is None:  # which a class has a default of its own for, if the key is absent
            kept |= {key: None} if _is_listed(key) else {}
        elif key == "auto_map":
            _check_native(values.get("tokenizer_class"), value, file)
        elif _is_allowed(key, value):
            kept[key] = value
        elif _is_listed(key) and not (key.endswith("_token") and _is_number(value)):
            raise ConfigError(
                f"{file} sets {key} to {shown(value)}, which is no value that a tokenizer takes "
                "there; correct it or take the key out."
            )
        elif _can_name_a_file(key, value):
            raise _names_a_file(key, value, file)
    return kept


def checked_config(values: Any, file: Path, *, code: bool | None = False) -> dict[str, Any]:
    """Return what a model may be told, out of its ``config.json`` or ``generation_config.json``.

    ``code`` keeps ``auto_map``, which names Python code of the model; None leaves it out even if
    the model needs it, where only its tokenizer is read.

    Returns:
        All of it but where the model once lay, and ``auto_map`` where transformers has the family.

    Raises:
        ConfigError: if a key names weights, a file or code, a text looks like a path, or a size is
            beyond that of any model.
    """
    config = dict(_object(values, file))
    auto_map = config.pop("auto_map", None)
    if auto_map and code is False and not _is_known_family(config.get("model_type")):
        raise _needs_code(auto_map, file)
    tokenizer_class = config.get("tokenizer_class")
    if tokenizer_class is not None and not _is_class(tokenizer_class):
        raise ConfigError(
            f"{file} sets tokenizer_class to {shown(tokenizer_class)}, which is no class of a "
            "tokenizer; correct it or take the key out."
        )
    _check_levels(config, file)
    for key, value in _pairs(config):
        if len(key) > _MAX_KEY:
            raise ConfigError(
                f"{file} has the key {shown(key)} of {len(key):,} letters, which is none of a "
                "model; take it out."
            )
        _check_sizes(key, value, file)
        if key in _KEYS["relic"] or key in _WORDS:
            continue
        if key.strip("_").startswith(("attn_implementation", "experts_implementation")):
            _check_implementation(key, value, file)
        elif ((key in _KEYS["opened"] or _OPENED_ENDS.search(key)) and _has_text(value)) or (
            isinstance(value, str) and _PATH.match(value)
        ):
            raise _names_a_file(key, value, file)
    kept: dict[str, Any] = _without_relics(config)
    return kept | {"auto_map": auto_map} if auto_map and code else kept


def added_tokens(values: Any, file: Path) -> dict[str, int]:
    """Return the tokens of an ``added_tokens.json`` with their ids.

    Raises:
        ConfigError: if it holds anything else.
    """
    for token, number in _object(values, file).items():
        if not _is_number(number):
            raise ConfigError(
                f"{file} gives {shown(token)} the id {shown(number)}, which is no number; "
                "correct it."
            )
    return dict(values)


def check_vocabulary(values: Any, file: Path) -> None:
    """Check that a ``tokenizer.json`` holds its vocabulary itself, and what else it asks for.

    transformers hands ``model.vocab`` and ``model.merges`` on as they are, and a text in their
    place is taken for the path of a file.

    Raises:
        ConfigError: if it does not, or its rules are refused (tokenizer_rules.py).
    """
    model = _object(values, file).get("model")
    if not isinstance(model, dict):
        raise ConfigError(f"{file} has no vocabulary; copy it again.")
    vocab, merges = model.get("vocab"), model.get("merges", [])
    for key, value, kinds in (("vocab", vocab, dict | list), ("merges", merges, list)):
        if not isinstance(value, kinds):
            raise ConfigError(
                f"{file} has {shown(value)} as its model.{key}, which is no list of tokens and "
                "could name a file; save the tokenizer again with save_pretrained(...)."
            )
    check_rules(values, file)


def _object(values: Any, file: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{file} is no JSON object but {shown(values)}; copy it again.")
    return values


def _is_listed(key: str) -> bool:
    return key in _KINDS or key.endswith("_token")


def _is_allowed(key: str, value: Any) -> bool:
    """Say whether a key is listed and its value of its kind."""
    return (key in _KINDS and _KINDS[key](value)) or (key.endswith("_token") and _is_token(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_COUNT


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(_TEXT.fullmatch(value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_class(value: Any) -> bool:
    return isinstance(value, str) and bool(_CLASS.fullmatch(value))


def _is_token(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return (
        isinstance(value, dict)
        and _KEYS["marker"].issuperset(value)
        and isinstance(value.get("content"), str)
        and all(isinstance(v, str | bool | int) for v in value.values())
    )


def _are_tokens(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_token(token) for token in value)
    return isinstance(value, dict) and all(
        name.endswith("_token") and _is_token(token) for name, token in value.items()
    )


def _is_template(value: Any) -> bool:
    if isinstance(value, list):
        return all(
            isinstance(named, dict)
            and set(named) == {"name", "template"}
            and all(isinstance(text, str) for text in named.values())
            for named in value
        )
    return isinstance(value, str)


def _are_numbered_tokens(value: Any) -> bool:
    return isinstance(value, dict) and all(
        number.isdecimal() and isinstance(token, dict) and _is_token(token)
        for number, token in value.items()
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_KEYS["flag"], _is_flag),
    **dict.fromkeys(_KEYS["number"], _is_number),
    **dict.fromkeys(_KEYS["count"], _is_count),
    **dict.fromkeys(_KEYS["text"], _is_text),
    **dict.fromkeys(_KEYS["texts"], _are_texts),
    **dict.fromkeys(_KEYS["tokens"], _are_tokens),
    "tokenizer_class": _is_class,
    "chat_template": _is_template,
    "added_tokens_decoder": _are_numbered_tokens,
}
"""What the value of each key of a tokenizer has to be; besides these, any ``*_token``."""


def _can_name_a_file(key: str, value: Any) -> bool:
    """Say whether a key that is not listed is refused, and not merely left out."""
    if key in _KEYS["opened"] or _OPENED_ENDS.search(key):
        return value not in ([], {}, "")
    return isinstance(value, str) and bool(_PATH.match(value))


def _check_implementation(key: str, value: Any, file: Path) -> None:
    """Refuse kernels of the hub, which are code: ``owner/name`` where ``sdpa`` is expected."""
    for text in _texts(value):
        if not _IMPLEMENTATION.fullmatch(text):
            raise ConfigError(
                f"{file} sets {key} to {shown(text)}, which would load code of the hub; "
                "take the key out."
            )


def _check_native(tokenizer_class: Any, auto_map: Any, file: Path) -> None:
    """Refuse code of a tokenizer, unless transformers has its class and needs none."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if auto_map and not (
        _is_class(tokenizer_class) and tokenizer_class_from_name(tokenizer_class) is not None
    ):
        raise ConfigError(
            f"{file} needs Python code of its own ({shown(auto_map)}), and tokenizers are read "
            "without any; load it where you trust it and save it as a tokenizer.json of the class "
            "PreTrainedTokenizerFast."
        )


def _is_known_family(model_type: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return isinstance(model_type, str) and model_type in CONFIG_MAPPING


def _check_sizes(key: str, value: Any, file: Path) -> None:
    """Refuse a size that a model would be built by without end, or out of memory."""
    for number in value if isinstance(value, list) else [value]:
        if not _is_number(number):
            continue
        if isinstance(number, float) and isnan(number):
            raise ConfigError(
                f"{file} sets {shown(key)} to {shown(number)}, which is no number; correct it, or "
                "copy the file again."
            )
        for what, (most, keys) in _MOST.items():
            if not number <= most and keys.fullmatch(key):
                raise ConfigError(
                    f"{file} sets {shown(key)} to {shown(number)}, more than the {most:,} of any "
                    f"model ({what}); correct it, or copy the file again."
                )
        if isinstance(number, int) and abs(number) > _MOST_NUMBER:
            raise ConfigError(
                f"{file} sets {shown(key)} to {shown(number)}, which is no number of a model; "
                "correct it, or copy the file again."
            )


def _check_levels(values: Any, file: Path) -> None:
    """Refuse what nests deeper than a config does, before a function calls itself so often."""
    level = [values]
    for _ in range(_N_LEVELS):
        members = (m.values() if isinstance(m, dict) else m for m in level)
        level = [v for inner in members for v in inner if isinstance(v, dict | list)]
        if not level:
            return
    raise ConfigError(f"{file} has more than {_N_LEVELS} levels; copy it again.")


def _needs_code(auto_map: Any, file: Path) -> ConfigError:
    return ConfigError(
        f"{file} needs Python code of its own ({shown(auto_map)}); read it, and set "
        "teacher.trust_remote_code if you trust it."
    )


def _names_a_file(key: str, value: Any, file: Path) -> ConfigError:
    return ConfigError(
        f"{file} sets {key} to {shown(value)}, which can name a file or another model to read; "
        "take the key out, and keep all that the model needs in its folder under the usual names."
    )


def _pairs(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, and every text of a list with the key of the list."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield name, value
            if name not in _KEYS["relic"] | _WORDS:
                yield from _pairs(value, name)
    elif isinstance(values, list):
        for value in values:
            if isinstance(value, str):
                yield key, value
            else:
                yield from _pairs(value, key)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for inner in value.values() for text in _texts(inner))
    elif isinstance(value, list):
        yield from (text for inner in value for text in _texts(inner))


def _has_text(value: Any) -> bool:
    return any(_texts(value))


def _without_relics(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_relics(v) for k, v in value.items() if k not in _KEYS["relic"]}
    return [_without_relics(v) for v in value] if isinstance(value, list) else value
