"""The teacher's tokenizer: which ids are text, what they read as, what a window starts with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dskd_core.decoder.model_files import TOKENIZER, gguf_view, model_view
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.store.artifacts import Artifact, fingerprint_of


@dataclass(frozen=True)
class Tokenizer:
    """A Hugging Face tokenizer with the few questions dskd asks of it."""

    hf: Any

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text`` alone: no BOS, no EOS; markers in it are plain text."""
        ids = self.hf(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        return list(ids)

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what :meth:`encode` gives of each text; on all cores where the tokenizer can."""
        if (backend := self._backend(split_special_tokens=True)) is None:
            return [self.encode(text) for text in texts]
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text: no BOS, no EOS, but markers become special tokens."""
        if (backend := self._backend(split_special_tokens=False)) is None:
            return [self.hf.encode(text, add_special_tokens=False) for text in texts]
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _backend(self, *, split_special_tokens: bool) -> Any:
        """Return the tokenizer behind a fast one, which takes half the time without offsets.

        It keeps what was asked of it last, and what its file says of truncation and padding, which
        transformers sets anew in every call; so it is all set here.
        """
        if (backend := getattr(self.hf, "backend_tokenizer", None)) is not None:
            backend.encode_special_tokens = split_special_tokens
            backend.no_truncation()
            backend.no_padding()
        return backend

    def decode(self, ids: list[int]) -> str:
        """Return the text of ``ids`` exactly, spaces kept."""
        return str(self.hf.decode(ids, clean_up_tokenization_spaces=False))

    @cached_property
    def prefix(self) -> list[int]:
        """Ids the model expects before every text (BOS for Llama and Mistral, none for GPT-2)."""
        with_special = list(self.hf("a").input_ids)
        plain = self.encode("a")
        return with_special[: with_special.index(plain[0])] if plain[0] in with_special else []

    @cached_property
    def n_tokens(self) -> int:
        """Ids run from 0 to ``n_tokens`` - 1; a model may have more rows (padding)."""
        return len(self.hf)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no text: BOS, EOS, padding, chat templates and every other added token."""
        added = set(self.hf.get_added_vocab().values())
        return frozenset(added | set(self.hf.all_special_ids))

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
            files or say what no tokenizer is told.
    """
    with model_view(folder, tokenizer=True, code=None) as view:
        found = _load(view)
        names = {TOKENIZER, *type(found.hf).vocab_files_names.values()}
        if not any((view / name).exists() for name in names if name):
            raise ConfigError(
                f"{folder} has none of the files that a {type(found.hf).__name__} reads "
                f"({', '.join(sorted(map(str, names)))}); save its tokenizer there with "
                "save_pretrained(...)."
            )
        found.hf.name_or_path = str(folder)
        return found


def load_gguf_tokenizer(path: Path) -> Tokenizer:
    """Load the tokenizer that a GGUF file holds; what lies beside the file is not read."""
    with gguf_view(path) as view:
        found = _load(view.parent, gguf_file=view.name)
        found.hf.name_or_path = str(path)
        return found


def _load(view: Path, **of_gguf: str) -> Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    return Tokenizer(
        AutoTokenizer.from_pretrained(
            str(view), local_files_only=True, trust_remote_code=False, **of_gguf
        )
    )
