"""Tokenizers that make texts explode, take for ever, or give other ids each time."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from dskd_core.decoder.faults import faults_told
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.decoder.tokenizer_rules import check_rules
from dskd_core.errors import ConfigError, DataError


def replacing(content: str, **pattern: str) -> dict:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "normalizers": list(steps)}


def template(n: int, ids: list[int]) -> dict:
    special = [{"SpecialToken": {"id": "<pad>", "type_id": 0}}] * n
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [*special, text],
        "pair": [text, text],
        "special_tokens": {"<pad>": {"id": "<pad>", "ids": ids, "tokens": ["<pad>"] * len(ids)}},
    }


def charsmap(*texts: bytes) -> dict:
    trie = b"\0" * 8
    data = len(trie).to_bytes(4, "little") + trie + b"\0".join(texts)
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"normalizer": replacing("a" * 2000, String="a")}, "more than 1,024 letters of one"),
        ({"normalizer": sequence(*[replacing("aa", String="a")] * 11)}, "letters of one"),
        ({"normalizer": sequence(*[replacing("a" * 40, Regex="")] * 2)}, "letters of one"),
        ({"normalizer": sequence(*[{"type": "Prepend", "prepend": "ab"}] * 7)}, "letters of one"),
        ({"normalizer": charsmap(b"ab", b"c" * 3000)}, "letters of one"),
        ({"post_processor": template(2000, [0])}, "puts 2,000 ids around a text"),
        ({"post_processor": template(2, [0] * 1000)}, "puts 2,000 ids around a text"),
        ({"pre_tokenizer": {"type": "Sequence", "x": ["y" * 100] * 3000}}, "rules of 3"),
        ({"model": {"dropout": 0.5}}, "the dropout 0.5, so a text would get other ids"),
        ({"model": {"continuing_subword_prefix": "#" * 100}}, "prefix of 100 letters"),
    ],
)
def test_rules_that_explode_or_change_are_refused(rules, told):
    with pytest.raises(ConfigError, match=told):
        check_rules({"model": {}} | rules, Path("tokenizer.json"))


@pytest.mark.parametrize(
    "rules",
    [
        {"normalizer": None, "model": {"dropout": None, "end_of_word_suffix": "</w>"}},
        {"normalizer": sequence({"type": "Prepend", "prepend": "_"}, replacing("_", String=" "))},
        {"normalizer": sequence(charsmap(b"x" * 33), replacing(" ", Regex=" {2,}"))},
        {"post_processor": template(3, [0])},
        {"normalizer": replacing("a" * 100, String="b" * 100)},
    ],
)
def test_rules_as_published_ones_are_taken(rules):
    check_rules({"model": {}} | rules, Path("tokenizer.json"))


def with_rules(miniature, folder: Path, **rules: object) -> Path:
    folder.mkdir()
    for path in Path(miniature.config.teacher.source).glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    said = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(said | rules))
    return folder


def test_a_tokenizer_that_gives_up_on_a_text_says_so(miniature, tmp_path):
    split = {"type": "Split", "pattern": {"Regex": "(a|a|aa)+$"}, "behavior": "Isolated"}
    of_bytes = {"add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    steps = [split | {"invert": False}, {"type": "ByteLevel"} | of_bytes]
    rules = {"type": "Sequence", "pretokenizers": steps}
    folder = with_rules(miniature, tmp_path / "m", pre_tokenizer=rules)
    tokenizer = load_tokenizer(folder)
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_texts([text])):
        with pytest.raises(DataError, match=r"cannot be tokenized.*take another teacher, or text"):
            encode("a" * 40 + "!")


@pytest.mark.parametrize(
    "error",
    [ImportError("needs x"), NameError("unk_id"), AssertionError(), OSError("no vocabulary here")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_class_of_a_tokenizer_raises_is_a_refusal(tmp_path, error):
    with (
        pytest.raises(ConfigError, match=r"^The tokenizer of m cannot be read"),
        faults_told("The tokenizer of m", ConfigError),
    ):
        raise error


def test_a_missing_package_is_cured_by_what_is_read_and_not_by_its_tokenizer():
    missing = ImportError("This model needs mamba_ssm, which is not installed")
    with (
        pytest.raises(ConfigError, match=r"installed'\); install that package, or take another m"),
        faults_told("The config.json of m", ConfigError),
    ):
        raise missing


def test_a_tokenizer_without_its_package_may_be_saved_in_another_form(
    miniature, monkeypatch, tmp_path
):
    def lacks(*_args, **_named):
        raise ImportError("needs sentencepiece")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lacks)
    with pytest.raises(ConfigError, match=r"install that package, or save the tokenizer as"):
        load_tokenizer(Path(miniature.config.teacher.source))


def test_a_disk_that_fails_is_no_fault_of_a_model():
    with pytest.raises(OSError, match="disk"), faults_told("A model", ConfigError):
        raise OSError(5, "the disk failed")


@pytest.mark.parametrize("name", ["RagTokenizer", "BigBirdTokenizer", "XGLMTokenizer"])
def test_a_class_that_does_not_go_with_the_files_is_refused_in_a_sentence(
    miniature, tmp_path, name
):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "m")
    stated = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(stated | {"tokenizer_class": name}))
    with pytest.raises(ConfigError, match=r"The tokenizer of .* cannot be read"):
        load_tokenizer(folder)


def test_a_tokenizer_that_its_library_refuses_is_refused_in_a_sentence(miniature, tmp_path):
    folder = with_rules(miniature, tmp_path / "m", normalizer={"type": "Nope"})
    with pytest.raises(ConfigError, match=r"The tokenizer of .* cannot be read \(.*copy it again"):
        load_tokenizer(folder)
