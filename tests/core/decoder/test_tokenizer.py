import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer

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
