"""What a ``tokenizer.json`` may ask for: ids that do not change, of a text that does not explode.

Its normalizers replace text by text, one after another, so five of a kilobyte each make 10^15
letters of one. Its template may put any number of ids before a text. And a BPE model with dropout
gives a text other ids each time. All of that is a few bytes in a file.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dskd_core.errors import ConfigError, shown

MAX_GROWTH = 1024
"""Letters that normalizers may make of one; those of published models make 18."""
MAX_IDS = 1024
"""Ids that a template may put around a text; published ones put three."""
_MAX_AFFIX = 64
_MAX_RULES = 256 << 10
"""Letters of all rules together, as JSON; published ones have a few thousand."""
_RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix")
_CHARSMAP = "precompiled_charsmap"


def check_rules(values: Mapping[str, Any], file: Path) -> None:
    """Check the rules of a ``tokenizer.json``: all but its vocabulary.

    Raises:
        ConfigError: if texts would get other ids each time, grow without limit or get too many ids.
    """
    model = values["model"]
    if model.get("dropout"):
        raise ConfigError(
            f"{file} has the dropout {shown(model['dropout'])}, so a text would get other ids each "
            "time; set it to null."
        )
    for key in _AFFIXES:
        if len(affix := model.get(key) or "") > _MAX_AFFIX:
            raise _refused(file, f"a {key} of {len(affix):,} letters")
    rules = {key: values.get(key) for key in _RULES}
    steps = list(_steps(rules))
    maps = sum(len(step.get(_CHARSMAP) or "") for step in steps)
    if (n_letters := len(json.dumps(rules)) - maps) > _MAX_RULES:
        raise _refused(file, f"rules of {n_letters:,} letters")
    growth = 1
    for step in _steps(values.get("normalizer")):
        growth *= _growth(step)
        if growth > MAX_GROWTH:
            raise _refused(file, f"normalizers that make more than {MAX_GROWTH:,} letters of one")
    for step in steps:
        if (n_ids := _template_ids(step)) > MAX_IDS:
            raise _refused(file, f"a template that puts {n_ids:,} ids around a text")


def _refused(file: Path, what: str) -> ConfigError:
    return ConfigError(f"{file} has {what}, as no tokenizer of a model has; save it again.")


def _steps(rules: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in some rules: a sequence's steps are among them."""
    waiting = [rules]
    while waiting:
        rule = waiting.pop()
        if isinstance(rule, dict):
            yield rule
            waiting += rule.values()
        elif isinstance(rule, list):
            waiting += rule


def _growth(step: Mapping[str, Any]) -> int:
    """Return how many letters a normalizer makes of one at most."""
    pattern, content = step.get("pattern"), step.get("content")
    if isinstance(content, str):
        literal = pattern.get("String") if isinstance(pattern, dict) else pattern
        n_matched = len(literal) if isinstance(literal, str) else 1  # an expression may match none
        return max(1, -(-len(content) // max(1, n_matched)))
    if isinstance(before := step.get("prepend"), str):
        return 1 + len(before)
    if isinstance(packed := step.get(_CHARSMAP), str):
        try:
            data = base64.b64decode(packed)
        except binascii.Error:
            return 1  # which the tokenizer's own reader refuses
        texts = data[4 + int.from_bytes(data[:4], "little") :]
        return max(1, *map(len, texts.split(b"\0")))
    return 1


def _template_ids(step: Mapping[str, Any]) -> int:
    """Return how many ids the larger of a template's two forms puts around its texts."""
    tokens = step.get("special_tokens")
    if not isinstance(tokens, dict):
        return 0
    n_ids = {
        name: len(token.get("ids") or ())
        for name, token in tokens.items()
        if isinstance(token, dict)
    }
    return max(
        sum(n_ids.get(name, 1) for name in _names(step.get(form))) for form in ("single", "pair")
    )


def _names(pieces: Any) -> Iterator[str]:
    for piece in pieces if isinstance(pieces, list) else ():
        special = piece.get("SpecialToken") if isinstance(piece, dict) else None
        if isinstance(special, dict) and isinstance(special.get("id"), str):
            yield special["id"]
