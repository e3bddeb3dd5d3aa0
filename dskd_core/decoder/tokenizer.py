"""The teacher's tokenizer: which ids are text, what they read as, what a window starts with."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dskd_core.decoder.faults import faults_told
from dskd_core.decoder.model_files import TOKENIZER, gguf_view, model_view
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.store.artifacts import Artifact, fingerprint_of

_WITHOUT_PACKAGE = (
    "install that package, or save the tokenizer as tokenizer.json, or take another model"
)
_LETTERS = "éßжא日한ก\U00010380"
_RULES = ("normalizer", "pre_tokenizer", "model", "decoder")
_KEPT = ("model_max_length", "padding_side", "clean_up_tokenization_spaces")
_FLAGS = (
    ("pre_tokenizer", "ByteLevel", "add_prefix_space", "add_prefix_space"),
    ("normalizer", "BertNormalizer", "lowercase", "do_lower_case"),
    ("normalizer", "BertNormalizer", "strip_accents", "strip_accents"),
    ("normalizer", "BertNormalizer", "handle_chinese_chars", "tokenize_chinese_chars"),
)
"""Steps of a tokenizer.json and what tokenizer_config.json calls their settings."""


@dataclass(frozen=True)
class Tokenizer:
    """A Hugging Face tokenizer with the few questions dskd asks of it."""

    hf: Any

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text`` alone: no BOS, no EOS; markers in it are plain text."""
        with self.giving_up_told():
            ids = self.hf(
                text, add_special_tokens=False, split_special_tokens=True, verbose=False
            ).input_ids
        return list(ids)

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what :meth:`encode` gives of each text; on all cores where the tokenizer can."""
        found = self._encode_fast(texts, split_special_tokens=True)
        return [self.encode(text) for text in texts] if found is None else found

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text: no BOS, no EOS, but markers become special tokens."""
        found = self._encode_fast(texts, split_special_tokens=False)
        if found is None:
            return [self.hf.encode(text, add_special_tokens=False) for text in texts]
        return found

    def giving_up_told(self) -> AbstractContextManager[None]:
        """Raise a DataError where the tokenizer gives up on a text: it raises no ``Exception``."""
        return faults_told(
            f"A text cannot be tokenized: the tokenizer of {self.hf.name_or_path}",
            DataError,
            verb="used",
            cure="its expressions take too long on such a text: take another teacher, or text",
        )

    def _encode_fast(
        self, texts: Sequence[str], *, split_special_tokens: bool
    ) -> list[list[int]] | None:
        """Ask the tokenizer behind a fast one, which takes half the time; None if there is none.

        It keeps what was asked of it last, and what its file says of truncation and padding, which
        transformers sets anew in every call; so it is all set here.
        """
        if (backend := getattr(self.hf, "backend_tokenizer", None)) is None:
            return None
        backend.encode_special_tokens = split_special_tokens
        backend.no_truncation()
        backend.no_padding()
        with self.giving_up_told():
            found = backend.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def decode(self, ids: list[int]) -> str:
        """Return the text of ``ids`` exactly, spaces kept."""
        return str(self.hf.decode(ids, clean_up_tokenization_spaces=False))

    @cached_property
    def prefix(self) -> list[int]:
        """Ids the model expects before every text (BOS for Llama and Mistral, none for GPT-2)."""
        with self.giving_up_told():
            with_special = list(self.hf("a").input_ids)
        plain = self.encode("a")
        return with_special[: with_special.index(plain[0])] if plain[0] in with_special else []

    @cached_property
    def suffix(self) -> list[int]:
        """Ids the tokenizer adds after every text (EOS, if any); no model is given them."""
        before = [*self.prefix, *self.encode("a")]
        with_special = list(self.hf("a").input_ids)
        return with_special[len(before) :] if with_special[: len(before)] == before else []

    @cached_property
    def n_tokens(self) -> int:
        """Ids run from 0 to ``n_tokens`` - 1; a model may have more rows (padding)."""
        return len(self.hf)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no text: BOS, EOS, padding, chat templates, unknown, other added tokens."""
        added = set(self.hf.get_added_vocab().values())
        return frozenset(added | set(self.hf.all_special_ids) | self._unknown_ids())

    def _unknown_ids(self) -> set[int]:
        """Return the id of all that is in no vocabulary, which settings need not name."""
        if (backend := getattr(self.hf, "backend_tokenizer", None)) is None:
            return set()
        model = backend.model
        if type(model).__name__ == "Unigram":
            number = json.loads(model.__getstate__()).get("unk_id")
        else:
            name = getattr(model, "unk_token", None)
            number = None if name is None else backend.token_to_id(name)
        return set() if number is None else {number}

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any text could get other ids: vocabulary, merges, normaliser, prefix."""
        backend = getattr(self.hf, "backend_tokenizer", None)
        rules = backend.to_str() if backend is not None else sorted(self.hf.get_vocab().items())
        return fingerprint_of([rules, sorted(self.special_ids), self.prefix])


def check_same_tokenizer(made: Artifact, theirs: str, user: Artifact, ours: str) -> None:
    """Refuse an artifact whose token ids mean something else to what would use it.

    Args:
        made: what is to be used.
        theirs: the fingerprint of its tokenizer.
        user: what would use it: a model, or what is joined with it.
        ours: the fingerprint of that one's tokenizer.

    Raises:
        ArtifactError: naming both.
    """
    if theirs != ours:
        source = user.record.report.get("source")
        named = f"{source} ({user.fingerprint})" if source else user.fingerprint
        raise ArtifactError(
            f"The tokenizer of the {made.record.stage} {made.fingerprint} is {theirs}, but that of "
            f"the {user.record.stage} {named} is {ours}; build both for the same teacher."
        )


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a transformers folder, from a vocabulary that lies in it.

    Raises:
        ConfigError: if there is none for the tokenizer's class, or if the folder's settings name
            files or say what no tokenizer is told; if its files contradict each other, or it leaves
            out letters.
    """
    with model_view(folder, tokenizer=True, code=None) as view:
        with faults_told(
            f"The tokenizer of {folder}", ConfigError, without_package=_WITHOUT_PACKAGE
        ):
            found = _load(view)
            names = {TOKENIZER, *type(found.hf).vocab_files_names.values()}
            if not any((view / name).exists() for name in names if name):
                raise ConfigError(
                    f"{folder} has none of the files that a {type(found.hf).__name__} reads "
                    f"({', '.join(sorted(map(str, names)))}); save its tokenizer there with "
                    "save_pretrained(...)."
                )
            found.hf.name_or_path = str(folder)
            _check_lossless(found, folder)
        return found


def _check_lossless(tokenizer: Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer that leaves out what it does not know: naïve would be read as nave."""
    spelled = {letter: tokenizer.encode(letter) for letter in _LETTERS}
    # Of a byte without a token the others of its letter are left, which read as U+FFFD.
    if lost := [x for x, ids in spelled.items() if not ids or "\ufffd" in tokenizer.decode(ids)]:
        raise ConfigError(
            f"The tokenizer of {folder} leaves out letters that it does not know, without a token "
            f"in their place ({' '.join(lost)}); give its model an unk_token, byte_fallback or all "
            "256 byte tokens."
        )


def load_gguf_tokenizer(path: Path) -> Tokenizer:
    """Load the tokenizer that a GGUF file holds; what lies beside the file is not read."""
    with gguf_view(path) as view:
        with faults_told(f"The tokenizer of {path}", ConfigError):
            found = _load(view.parent, gguf_file=view.name)
        found.hf.name_or_path = str(path)
        return found


def _load(view: Path, **of_gguf: str) -> Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    hf = AutoTokenizer.from_pretrained(
        str(view), local_files_only=True, trust_remote_code=False, **of_gguf
    )
    file = view / TOKENIZER
    return Tokenizer(hf if of_gguf or not file.exists() else _as_its_file_says(hf, file))


def _as_its_file_says(hf: Any, file: Path) -> Any:
    """Return a tokenizer that cuts text by the rules of its ``tokenizer.json``.

    Many classes of transformers take the vocabulary of that file alone, and cut text by rules of
    their own: of a ``GPT2Tokenizer`` whose file keeps digits apart, digits would be joined.

    Raises:
        ConfigError: if ``tokenizer_config.json`` contradicts the file.
    """
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    if (backend := getattr(hf, "backend_tokenizer", None)) is None:
        return hf
    theirs, own = json.loads(backend.to_str()), json.loads(Backend.from_file(str(file)).to_str())
    stated = file.with_name("tokenizer_config.json")
    _check_agreement(json.loads(stated.read_text("utf-8")) if stated.exists() else {}, own, file)
    if _rules(theirs) == _rules(own):
        return hf
    content = theirs | {part: own[part] for part in _RULES}
    settings = {name: hf.init_kwargs[name] for name in _KEPT if name in hf.init_kwargs}
    return PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(content)),
        chat_template=hf.chat_template,
        **settings,
        **hf.special_tokens_map,
    )


def _rules(content: dict[str, Any]) -> Any:
    """Return what decides the ids of a text, and how they read; offsets are never asked for."""
    return _without("trim_offsets", {part: content[part] for part in _RULES})


def _without(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(name, member) for key, member in value.items() if key != name}
    return [_without(name, member) for member in value] if isinstance(value, list) else value


def _check_agreement(settings: dict[str, Any], content: dict[str, Any], file: Path) -> None:
    for part, kind, name, flag in _FLAGS:
        said = {p[name] for p in _of_kind(kind, content[part]) if isinstance(p.get(name), bool)}
        asked = settings.get(flag)
        if isinstance(asked, bool) and said and asked not in said:
            raise ConfigError(
                f"{file.name} of {file.parent.name} has {name} {said.pop()}, but its "
                f"tokenizer_config.json sets {flag} to {asked}; load the tokenizer as it should "
                "be, look at its tokens and save it again with save_pretrained(...)."
            )


def _of_kind(kind: str, value: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of a kind in a normaliser or pre-tokenizer, at whatever depth."""
    if isinstance(value, dict):
        if value.get("type") == kind:
            yield value
        value = list(value.values())
    for member in value if isinstance(value, list) else ():
        yield from _of_kind(kind, member)
