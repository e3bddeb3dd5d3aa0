"""Tiny tokenizers of the three families, each with the words the tests speak of."""

from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
CHUNKS = ["bank", "light", "fault", "less", "un", "kind"]


def _merged(tokens: list[str], wanted: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return tokens and merges that build every wanted token letter by letter."""
    tokens, merges = list(tokens), []
    for word in wanted:
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    return tokens, merges


def byte_level() -> PreTrainedTokenizerFast:
    """GPT-2's way, and tiktoken's: the space is part of the token."""
    wanted = [s + w for w in CHUNKS for s in ("Ġ", "")] + ["ĠBank", "BANK", "Light", "Ġis"]
    tokens, merges = _merged(BYTES, wanted)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def sentencepiece() -> PreTrainedTokenizerFast:
    """Llama-2's way: a dummy prefix, ▁ for spaces, and byte tokens for the rest."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyzABIKLN"]
    wanted = [s + w for w in CHUNKS for s in ("▁", "")] + ["▁Bank", "BANK", "Light", "▁is"]
    tokens, merges = _merged(letters, wanted)
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    names = ["<unk>", "<s>", "</s>", *byte_tokens, *tokens]
    vocabulary = {token: i for i, token in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def tiktoken_style() -> PreTrainedTokenizerFast:
    """Llama-3's way: byte-level, words cut by a regular expression, whole words not merged."""
    wanted = [s + w for w in CHUNKS for s in ("Ġ", "")] + ["ĠBank", "BANK", "Light", "Ġis"]
    tokens, merges = _merged(BYTES, wanted)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_0|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    )


MAKERS = {
    "byte_level": byte_level,
    "sentencepiece": sentencepiece,
    "tiktoken_style": tiktoken_style,
}


@pytest.fixture(params=sorted(MAKERS))
def folder(request, tmp_path) -> Path:
    """A folder with one of the tokenizers, saved as transformers does."""
    target = tmp_path / "tokenizer"
    MAKERS[request.param]().save_pretrained(str(target))
    return target
