"""A teacher as a GGUF file: all of it is read, or it is refused."""

import json

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.planning.architecture import read_architecture
from dskd_core.store.artifacts import ArtifactStore

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _interleaved(weight, n_heads):
    """Rows as llama.cpp orders them for its rotation."""
    rows = weight.reshape(n_heads, 2, len(weight) // n_heads // 2, -1)
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(weight.shape))


def write_gguf(path, source, *, without="", extra=None, texts=None, **how):
    """Write the miniature's llama as a GGUF file; with ``split_max_tensors`` as several."""
    model = AutoModelForCausalLM.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(path, "llama", **how)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < 2 else 1 if i in by_id else 5 for i in range(len(tokens))])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    names = {"model.embed_tokens.weight": "token_embd.weight"}
    names["model.norm.weight"] = "output_norm.weight"
    for layer in range(config.num_hidden_layers):
        for theirs, ours in _NAMES.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{ours}.weight"
    for name, ours in names.items():
        weight = weights[name].float().numpy()
        if "q_proj" in name or "k_proj" in name:
            n_heads = config.num_attention_heads if "q_" in name else config.num_key_value_heads
            weight = _interleaved(weight, n_heads)
        if ours != without:
            writer.add_tensor(ours, weight)
    for name, weight in (extra or {}).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def prepare(path, root):
    config = TeacherConfig(source=str(path), dtype="float32", device="cpu")
    return prepare_teacher(ArtifactStore(str(root)), config), config


def test_a_whole_file_gives_the_weights_it_was_made_from(miniature, tmp_path):
    source = miniature.config.teacher.source
    path = write_gguf(
        tmp_path / "tiny.gguf", source, extra={"rope_freqs.weight": np.ones(4, np.float32)}
    )
    prepared, config = prepare(path, tmp_path / "root")
    teacher = load_teacher(prepared, config)
    expected = AutoModelForCausalLM.from_pretrained(source).state_dict()
    found = teacher.model.state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    theirs, ours = AutoTokenizer.from_pretrained(source), load_tokenizer(prepared.folder())
    assert (
        teacher.n_tokens == teacher.model.config.vocab_size
    )  # no <|endoftext|> of transformers' own
    assert ours.hf.eos_token == "<eos>"
    text = "the harbour was near, and kind."
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_of_a_split_model_is_refused_with_the_way_to_merge_it(miniature, tmp_path, number):
    write_gguf(tmp_path / "tiny.gguf", miniature.config.teacher.source, split_max_tensors=20)
    part = tmp_path / f"tiny-{number:05d}-of-00002.gguf"
    said = rf"part {number} of 2 of a split GGUF model.*llama-gguf-split --merge"
    with pytest.raises(ConfigError, match=said):
        prepare(part, tmp_path / "root")
    with pytest.raises(ConfigError, match=said):
        read_architecture(TeacherConfig(source=str(part)))
    renamed = part.rename(tmp_path / "whole.gguf")  # a header is believed, not a name
    with pytest.raises(ConfigError, match=said):
        prepare(renamed, tmp_path / "root")


def test_a_file_named_as_a_part_is_refused_even_if_its_header_does_not_say_so(miniature, tmp_path):
    path = write_gguf(tmp_path / "tiny-00001-of-00003.gguf", miniature.config.teacher.source)
    with pytest.raises(ConfigError, match="one of several parts"):
        prepare(path, tmp_path / "root")


@pytest.mark.parametrize("without", ["blk.2.ffn_up.weight", "output_norm.weight"])
def test_a_file_that_lacks_a_tensor_is_refused(miniature, tmp_path, without):
    path = write_gguf(tmp_path / "tiny.gguf", miniature.config.teacher.source, without=without)
    with pytest.raises(ArtifactError, match="lack 1 that LlamaForCausalLM needs"):
        prepare(path, tmp_path / "root")
    assert ArtifactStore(str(tmp_path / "root")).of_stage("teacher") == []


def test_a_tensor_that_would_be_left_out_is_refused(miniature, tmp_path):
    extra = {"blk.1.attn_q.bias": np.ones(32, np.float32)}
    path = write_gguf(tmp_path / "tiny.gguf", miniature.config.teacher.source, extra=extra)
    with pytest.raises(ArtifactError, match="some would be left out"):
        prepare(path, tmp_path / "root")


@pytest.mark.parametrize(
    "scaled",
    [
        {"extra": {"rope_freqs.weight": np.array([1, 1, 4, 8], np.float32)}},  # as Llama 3.1 has
        {"texts": {"llama.rope.scaling.type": "yarn"}},
    ],
)
def test_scaled_positions_which_transformers_does_not_read_are_refused(miniature, tmp_path, scaled):
    path = write_gguf(tmp_path / "tiny.gguf", miniature.config.teacher.source, **scaled)
    with pytest.raises(ArtifactError, match="scales its rotary positions"):
        prepare(path, tmp_path / "root")
