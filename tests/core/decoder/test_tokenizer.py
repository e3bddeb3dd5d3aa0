import json

import pytest
from tokenizers import Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.errors import ConfigError

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(*, bos=False, extra=(), special=()):
    """A byte-level tokenizer without merges: one token a byte, then <s>."""
    vocabulary = {c: i for i, c in enumerate([*ALPHABET, "<s>", *extra])}
    backend = Backend(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 256)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", additional_special_tokens=list(special)
    )


@pytest.mark.parametrize("text", ["a", " bank , the  bank .", "日本\n\n", "café 'tis"])
def test_text_survives_encoding_and_decoding_with_every_space(text):
    tokenizer = Tokenizer(byte_level(bos=True))
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_many_texts_have_the_ids_of_each_alone_whatever_the_tokenizer_s_file_says():
    hf = byte_level(bos=True, special=["<|im_start|>"])
    hf.backend_tokenizer.enable_truncation(4)
    hf.backend_tokenizer.enable_padding(length=9)
    texts = [" bank , the  bank .", "<|im_start|> x <s>", "", "日本"]
    tokenizer = Tokenizer(hf)
    markers = tokenizer.encode_batch(texts)
    assert tokenizer.encode_texts(texts) == [tokenizer.encode(text) for text in texts]
    assert [len(ids) for ids in markers] == [19, 5, 0, 6]


def test_the_prefix_is_what_the_model_expects_before_text_and_not_in_encoded_text():
    assert Tokenizer(byte_level(bos=True)).prefix == [256]
    assert Tokenizer(byte_level(bos=False)).prefix == []
    assert 256 not in Tokenizer(byte_level(bos=True)).encode("a")


def test_special_ids_are_no_text():
    tokenizer = Tokenizer(byte_level(special=["<|end|>"]))
    assert tokenizer.special_ids == {256, 257}
    assert tokenizer.n_tokens == 258


def test_the_fingerprint_changes_with_the_vocabulary_and_survives_saving(tmp_path):
    one = Tokenizer(byte_level())
    assert one.fingerprint == Tokenizer(byte_level()).fingerprint
    assert one.fingerprint != Tokenizer(byte_level(extra=["ab"])).fingerprint
    assert one.fingerprint != Tokenizer(byte_level(special=["<|end|>"])).fingerprint
    byte_level().save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == one.fingerprint


def saved(folder, *, settings, pre_tokenizer, model=None):
    """Write a tokenizer whose class of transformers knows other rules than its file has."""
    letters = [*ALPHABET, "<s>"]
    vocabulary = {c: i for i, c in enumerate([*letters, "12", "ab"])}
    backend = Backend(model or models.BPE(vocabulary, [("1", "2"), ("a", "b")]))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.save(str(folder / "tokenizer.json"))
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    settings = dict.fromkeys(names, "<s>") | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return backend


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GPTNeoXTokenizerFast", "CodeGenTokenizer"])
def test_text_is_cut_by_the_rules_of_the_file_and_not_of_the_class(tmp_path, name):
    apart = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    rules = pre_tokenizers.Sequence([apart, pre_tokenizers.ByteLevel(False, use_regex=False)])
    settings = {"tokenizer_class": name, "model_max_length": 77, "chat_template": "{{ 1 }}"}
    saved(tmp_path, settings=settings, pre_tokenizer=rules)
    tokenizer = load_tokenizer(tmp_path)
    names = tokenizer.hf.convert_ids_to_tokens(tokenizer.encode("ab12"))
    assert names == ["ab", "1", "2"]  # the class knows of no digits, and joins 12
    assert (tokenizer.hf.model_max_length, tokenizer.hf.chat_template) == (77, "{{ 1 }}")
    assert (tokenizer.hf.eos_token, tokenizer.special_ids) == ("<s>", {256})
    tokenizer.hf.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    again = load_tokenizer(tmp_path / "again")
    assert again.fingerprint == tokenizer.fingerprint


def test_a_tokenizer_whose_two_files_contradict_each_other_is_refused(tmp_path):
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}
    saved(tmp_path, settings=settings, pre_tokenizer=pre_tokenizers.ByteLevel(False))
    with pytest.raises(ConfigError, match=r"add_prefix_space False, but .* to True; load the"):
        load_tokenizer(tmp_path)
    del settings["add_prefix_space"]  # of which the class has another default than the file
    saved(tmp_path, settings=settings, pre_tokenizer=pre_tokenizers.ByteLevel(True))
    assert load_tokenizer(tmp_path).decode(load_tokenizer(tmp_path).encode("ab")) == " ab"


def test_ids_after_a_text_are_its_suffix_and_no_part_of_it():
    hf = byte_level(extra=["</s>"])
    hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    tokenizer = Tokenizer(hf)
    assert (tokenizer.prefix, tokenizer.suffix) == ([256], [257])
    assert Tokenizer(byte_level(bos=True)).suffix == []


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"), 1),
        (models.BPE({"a": 0, "?": 1}, [], unk_token="?"), 1),
        (models.Unigram([("a", -1.0), ("<unk>", 0.0)], unk_id=1), 1),
    ],
)
def test_what_stands_for_unknown_text_is_no_text_though_no_setting_names_it(model, unknown):
    tokenizer = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=Backend(model)))
    assert tokenizer.encode("é") == [unknown]
    assert tokenizer.special_ids == {unknown}


@pytest.mark.parametrize(
    "alphabet", [ALPHABET[:128], list("abcdefghijklmnopqrstuvwxyz")], ids=["bytes", "letters"]
)
def test_a_tokenizer_that_drops_unknown_letters_is_refused(tmp_path, alphabet):
    vocabulary = {c: i for i, c in enumerate([*alphabet, "<s>"])}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    rules = pre_tokenizers.ByteLevel(False)
    saved(
        tmp_path,
        settings=settings,
        pre_tokenizer=rules,
        model=models.BPE(vocabulary, []),
    )
    with pytest.raises(
        ConfigError, match=r"leaves out letters .*日.*; give its model an unk_token"
    ):
        load_tokenizer(tmp_path)
