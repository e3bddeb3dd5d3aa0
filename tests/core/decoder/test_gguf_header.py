import os
import struct

import pytest

from dskd_core.config import TeacherConfig
from dskd_core.decoder.gguf_header import read_header
from dskd_core.errors import ConfigError
from dskd_core.planning.architecture import read_architecture


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _uint(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", 4, value)


def _strings(key: str, values: list[str]) -> bytes:
    listed = b"".join(_string(value) for value in values)
    return _string(key) + struct.pack("<IIQ", 9, 8, len(values)) + listed


def _write(path, tensors: list[str]) -> None:
    values = [
        _string("general.architecture") + struct.pack("<I", 8) + _string("llama"),
        _uint("llama.embedding_length", 48),
        _uint("llama.block_count", 6),
        _uint("llama.attention.head_count", 6),
        _uint("llama.attention.head_count_kv", 2),
        _uint("llama.feed_forward_length", 80),
        _strings("tokenizer.ggml.tokens", ["a", "bc", "", "def"]),
        _string("some.floats") + struct.pack("<IIQ3f", 9, 6, 3, 1.0, 2.0, 3.0),
    ]
    places = range(0, 768 * len(tensors), 768)  # 192 values of four bytes each
    named = [
        _string(name) + struct.pack("<IQQIQ", 2, 48, 4, 0, place)
        for name, place in zip(tensors, places, strict=True)
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(named), len(values))
    path.write_bytes(head + b"".join(values) + b"".join(named) + bytes(768 * len(tensors) + 31))


def test_sizes_of_a_gguf_file_are_those_of_its_tensors(tmp_path):
    path = tmp_path / "small.gguf"
    _write(path, ["token_embd.weight", "blk.0.ffn_gate.weight", "blk.5.ffn_up.weight"])
    found = read_architecture(TeacherConfig(source=str(path)))
    assert (found.hidden_size, found.n_layers, found.attention_width) == (48, 6, 48)
    assert (found.intermediate_size, found.n_vocabulary, found.origin) == (80, 4, "small.gguf")
    assert [layer.parameters for layer in found.layers] == [192, 0, 0, 0, 0, 192]
    assert (found.parameters(), found.head_parameters) == (3 * 192, 192)


def test_a_gguf_file_with_an_output_matrix_has_a_head_of_its_own(tmp_path):
    path = tmp_path / "untied.gguf"
    _write(path, ["token_embd.weight", "output.weight", "rope_freqs.weight"])
    found = read_architecture(TeacherConfig(source=str(path)))
    assert (found.parameters(), found.head_parameters) == (2 * 192, 192)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"GGUF\x03\x00\x00\x00\x01"])
def test_a_file_that_is_no_gguf_or_breaks_off_is_refused_with_a_cure(tmp_path, content):
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"no readable GGUF file.*--config-json"):
        read_header(path)


def _head(n_tensors: int, n_values: int, *values: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_values) + b"".join(values)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_head(0, 10**12), "1,000,000,000,000 values"),
        (_head(10**12, 0), "1,000,000,000,000 tensors"),
        (_head(0, 1, _string("a") + struct.pack("<IQ", 8, 1 << 40)), "texts of 1,099,511,627,7"),
        (_head(0, 1, _string("a") + struct.pack("<IIQ", 9, 8, 1 << 40)), "arrays of 1,099,511,627"),
        (_head(1, 0, _string("t") + struct.pack("<I", 1 << 31)), "a tensor of 2147483648 dimens"),
    ],
)
def test_a_file_of_holes_that_counts_without_end_is_refused_at_once(tmp_path, content, told):
    path = tmp_path / "holes.gguf"
    path.write_bytes(content)
    os.truncate(path, 1 << 40)
    with pytest.raises(ConfigError, match=told):
        read_header(path)


def _tensor(name: str, offset: int) -> bytes:
    return _string(name) + struct.pack("<IQQIQ", 2, 48, 4, 0, offset)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_head(0, 2, _uint("a.b", 1), _uint("a.b", 2)), "it has 'a.b' twice"),
        (_head(2, 0, _tensor("t", 0), _tensor("t", 768)), "it has 't' twice"),
        (_head(2, 0, _tensor("t", 0), _tensor("u", 0)), "'u' and 't' are the same bytes"),
        (_head(1, 0, _tensor("t", 1 << 40)), "the values of 't' begin at 1,099,511,627,776"),
        (_head(1, 0, _tensor("t", 7)), "the values of 't' begin at 7"),
        (_head(0, 1, _uint("general.alignment", 0)), "general.alignment is 0, no power of two"),
        (_head(0, 1, _uint("general.alignment", 48)), "general.alignment is 48, no power of two"),
        (_head(0, 1, _string("a") + struct.pack("<IIQ", 9, 5, 1 << 40)), "it breaks off"),
        (_head(0, 1, _string("a") + struct.pack("<IQ", 8, 1 << 20)), "it breaks off"),
        (_head(0, 1, _string("a") + struct.pack("<II", 77, 0)), "77"),
    ],
)
def test_a_header_that_says_things_twice_or_leads_out_of_its_file_is_refused(
    tmp_path, content, told
):
    path = tmp_path / "forged.gguf"
    path.write_bytes(content + bytes(2000))
    with pytest.raises(ConfigError, match=told):
        read_header(path)


def test_sizes_beyond_any_model_are_refused(tmp_path):
    path = tmp_path / "deep.gguf"
    values = [
        _string("general.architecture") + struct.pack("<I", 8) + _string("llama"),
        _uint("llama.block_count", 10**9),
    ]
    path.write_bytes(_head(0, 2, *values))
    with pytest.raises(ConfigError, match="block_count 1000000000, and no model has more than 4"):
        read_header(path)
