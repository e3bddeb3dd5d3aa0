"""Checkpoints whose tensors are not those of the model they say they are."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import load_decoder, quiet_transformers
from dskd_core.decoder.loading import load_model
from dskd_core.decoder.model_files import weight_files
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.evaluation.models import context_tokens
from dskd_core.training.student.export import read_layers, write_untrained

_SIZES = {
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@pytest.fixture
def folder(tmp_path):
    """A random llama of two layers with a head of its own."""
    torch.manual_seed(0)
    config = LlamaConfig(**_SIZES, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(folder, dtype=torch.float32):
    with quiet_transformers():
        return load_model(folder, folder, dtype=dtype)


def edit(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, dtype=torch.float32):
    with pytest.raises(ArtifactError) as caught:
        load(folder, dtype)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return str(caught.value)


def test_a_whole_checkpoint_is_loaded_as_it_is_in_the_file(folder):
    model, file = load(folder), load_file(folder / "model.safetensors")
    assert set(model.state_dict()) == set(file)
    for name, value in model.state_dict().items():
        assert torch.equal(value, file[name]), name


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("_orig_mod.", "'_orig_mod.', which torch.compile puts there"),
        ("module.", "'module.', which DistributedDataParallel puts there"),
        ("base_model.model.", "'base_model.model.', which PEFT puts there"),
        ("student.", "begin with 'student.': take it off"),
    ],
)
def test_names_with_a_prefix_are_refused_with_the_prefix(folder, prefix, said):
    edit(folder, lambda tensors: {prefix + name: value for name, value in tensors.items()})
    message = refused(folder)
    assert "lack 21 that LlamaForCausalLM needs (lm_head.weight, model.embed_tokens" in message
    assert "and 11 more) and have 21 that it does not know" in message
    assert said in message
    assert message.endswith(".")


def test_a_wrapper_inside_of_the_names_is_known_too(folder):
    edit(folder, lambda t: {n.replace(".mlp.", "._orig_mod.mlp."): v for n, v in t.items()})
    assert "torch.compile" in refused(folder)


def test_an_adapter_among_the_weights_is_refused(folder):
    name = "model.layers.0.self_attn.q_proj.lora_A.default.weight"
    edit(folder, lambda tensors: tensors | {name: torch.ones(2, 16)})
    assert "merge it" in refused(folder)


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight"]
)
def test_one_tensor_that_is_missing_is_refused_by_name(folder, name):
    edit(folder, lambda tensors: {n: value for n, value in tensors.items() if n != name})
    assert f"they lack 1 that LlamaForCausalLM needs ({name}); copy the whole" in refused(folder)


def test_embeddings_that_are_tied_may_be_stored_under_either_name(folder):
    configure(folder, tie_word_embeddings=True)
    whole = load_file(folder / "model.safetensors")
    for absent, present in (
        ("lm_head.weight", "model.embed_tokens.weight"),
        ("model.embed_tokens.weight", "lm_head.weight"),
    ):
        edit(folder, lambda _, absent=absent: {n: v for n, v in whole.items() if n != absent})
        model = load(folder)
        assert torch.equal(model.lm_head.weight, whole[present])
        assert model.lm_head.weight is model.model.embed_tokens.weight
    edit(
        folder, lambda _: {n: v for n, v in whole.items() if "lm_head" not in n and "emb" not in n}
    )
    assert "lm_head.weight, model.embed_tokens.weight" in refused(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",  # as with attention_bias: false in the config
        "model.layers.2.mlp.up_proj.weight",  # of a third layer
        "model.layers.0.self_attn.q_norm.weight",
        "lm_head.bias",
        "model.embed_positions.weight",
    ],
)
def test_what_the_model_would_leave_out_is_refused(folder, name):
    edit(folder, lambda tensors: tensors | {name: torch.ones(16)})
    assert f"have 1 that it does not know ({name})" in refused(folder)


def test_what_stands_beside_the_language_model_may_stay_there(folder):
    beside = ("vision_tower.blocks.0.weight", "mtp.layers.0.weight", "v_head.summary.weight")
    saved = load_file(folder / "model.safetensors")
    edit(folder, lambda tensors: tensors | {name: torch.ones(2) for name in beside})
    loaded = load(folder).state_dict()
    assert set(loaded) == set(saved)
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_another_shape_is_refused_with_both(folder):
    edit(folder, lambda tensors: tensors | {"lm_head.weight": torch.ones(26, 16)})
    assert "1 of another shape (lm_head.weight is [26, 16], not [24, 16])" in refused(folder)


def test_fewer_layers_in_the_config_than_in_the_file_are_refused(folder):
    configure(folder, num_hidden_layers=1)
    assert "have 9 that it does not know (model.layers.1." in refused(folder)


@pytest.mark.parametrize(
    "said",
    [
        {"hidden_size": 1 << 17, "vocab_size": 1 << 24},
        {"intermediate_size": 1 << 20, "hidden_size": 1 << 14},
    ],
)
def test_a_model_of_more_than_its_weights_is_refused_before_it_is_made(folder, said, monkeypatch):
    made = []
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: made.append(1))
    configure(folder, **said)
    assert "values, but its weights have" in refused(folder)
    assert not made


@pytest.mark.parametrize(
    "said",
    [{"num_attention_heads": -4}, {"hidden_act": "__import__"}, {"hidden_size": "8"}],
    ids=str,
)
def test_settings_that_make_no_model_are_refused_in_a_sentence(folder, said):
    configure(folder, **said)
    assert "transformers makes no model of the config.json of" in refused(folder)


def test_a_model_without_its_package_is_not_to_be_copied_again(folder, monkeypatch):
    def lacks(*_args, **_named):
        raise ImportError("needs mamba_ssm")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lacks)
    told = refused(folder)
    assert "needs mamba_ssm" in told
    assert told.endswith("install that package, or take another model.")


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.int32])
def test_weights_without_what_scales_them_are_refused(folder, dtype):
    name = "model.layers.0.mlp.up_proj.weight"
    edit(folder, lambda tensors: tensors | {name: tensors[name].to(dtype)})
    assert f"quantised ({name} is " in refused(folder)


@pytest.mark.parametrize("method", ["fp8", "gptq", "bitsandbytes", "mxfp4", "compressed-tensors"])
def test_a_quantised_checkpoint_is_refused_by_its_method(folder, method):
    configure(folder, quantization_config={"quant_method": method})
    assert f"quantised (its config.json says {method}), which is not supported" in refused(folder)


def test_weights_that_are_no_numbers_or_too_large_for_the_precision_are_refused(folder):
    name = "model.layers.0.mlp.up_proj.weight"

    def enlarge(tensors):
        tensors[name][3, 3] = 1e6
        return tensors

    edit(folder, enlarge)
    load(folder)
    assert f"not finite in float16 ({name})" in refused(folder, torch.float16)
    edit(folder, lambda tensors: tensors | {name: tensors[name] * float("nan")})
    assert f"not finite in float32 ({name})" in refused(folder)


def test_a_file_that_breaks_off_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    assert "damaged" in refused(folder)


def test_a_header_that_names_a_tensor_twice_is_refused(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    n_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_bytes])
    name = "model.layers.0.self_attn.q_proj.weight"
    other = json.dumps({name: header[name.replace("q_proj", "o_proj")]})
    twice = (other[:-1] + ", " + json.dumps(header)[1:]).encode()
    path.write_bytes(len(twice).to_bytes(8, "little") + twice + content[8 + n_bytes :])
    with pytest.raises(ConfigError, match=f"is damaged .it has the key '{name}' twice"):
        weight_files(folder)


@pytest.mark.parametrize(
    "change",
    [{"num_attention_heads": 0}, {"rope_parameters": 5}, {"dtype": "float99"}, {"id2label": 5}],
)
def test_whoever_reads_a_configuration_says_in_a_sentence_that_it_makes_no_model(folder, change):
    configure(folder, **change)
    with pytest.raises(ConfigError, match=r"The config\.json of .* cannot be read"):
        context_tokens(folder)
    with pytest.raises(ArtifactError, match=r"makes no model of the config\.json of .*model"):
        read_layers(folder, first=0)


def test_layers_of_a_file_that_breaks_off_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="damaged"):
        read_layers(folder, first=0)


def test_a_shard_that_the_index_leaves_out_is_missed(folder):
    model = load(folder)
    model.save_pretrained(folder, max_shard_size="4KB")
    (folder / "model.safetensors").unlink()
    assert torch.equal(load(folder).lm_head.weight, model.lm_head.weight)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    first = sorted(set(index["weight_map"].values()))[0]
    kept = {name: file for name, file in index["weight_map"].items() if file != first}
    index["weight_map"] = kept
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    gone = set(model.state_dict()) - set(kept)
    message = refused(folder)
    assert f"lack {len(gone)} that" in message
    assert all(name in message for name in sorted(gone)[:10])


@pytest.mark.parametrize("keeper", [0, 1])
def test_a_tensor_left_over_in_another_shard_than_its_own_is_refused(folder, keeper):
    own, name = load_file(folder / "model.safetensors"), "model.norm.weight"
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    (folder / "model.safetensors").unlink()
    places = {n: shards[keeper if n == name else n.startswith("model.layers.1")] for n in own}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": places})
    )

    def write(left_over):
        for shard in shards:
            tensors = {n: own[n] for n, place in places.items() if place == shard}
            save_file({name: left_over} | tensors, folder / shard, metadata={"format": "pt"})

    write(own[name].clone())
    assert torch.equal(load(folder).model.norm.weight, own[name])
    write(own[name] + 1)
    other, mine = shards[1 - keeper], shards[keeper]
    assert f"{name} of {other}, which belongs to {mine}" in refused(folder)


def test_a_head_that_is_not_the_embeddings_reaches_the_student_whatever_the_config_says(
    folder, tmp_path
):
    from dskd_core.decoder.decoder import Decoder

    configure(folder, tie_word_embeddings=True)
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    model = load(folder)
    assert torch.equal(model.lm_head.weight, head)
    (tmp_path / "student").mkdir()
    write_untrained(Decoder(model, 24), (0,), tmp_path / "student")
    assert torch.equal(load(tmp_path / "student").lm_head.weight, head)


@pytest.fixture
def experts(tmp_path):
    """A random Mixtral, whose experts are stored one by one and held as one tensor."""
    config = MixtralConfig(**_SIZES, num_local_experts=4, num_experts_per_tok=2)
    MixtralForCausalLM(config).save_pretrained(tmp_path / "experts")
    return tmp_path / "experts"


def test_experts_under_their_names_on_disk_are_loaded(experts):
    model, file = load(experts), load_file(experts / "model.safetensors")
    down = model.model.layers[1].mlp.experts.down_proj
    assert torch.equal(down[3], file["model.layers.1.block_sparse_moe.experts.3.w2.weight"])


@pytest.mark.parametrize("ending", ["experts.3.w1.weight", "experts.2.w2.weight", "experts.3."])
def test_an_expert_that_lacks_a_matrix_is_refused(experts, ending):
    edit(experts, lambda t: {n: v for n, v in t.items() if not ("layers.1" in n and ending in n)})
    assert "copy the whole checkpoint" in refused(experts)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}),
        ("gpt_neox", {}),
        ("bloom", {"n_layer": 2, "n_head": 4}),
        ("opt", {"word_embed_proj_dim": 16, "ffn_dim": 24}),
        ("gemma3_text", {}),
        ("qwen2_moe", {"num_experts": 4, "moe_intermediate_size": 8}),
        ("qwen3_moe", {"num_experts": 4, "moe_intermediate_size": 8}),
        ("olmoe", {"num_experts": 4}),
        ("granitemoe", {"num_local_experts": 4}),
        ("phi3", {}),
        ("cohere", {}),
        ("mpt", {"d_model": 16, "n_layers": 2, "n_heads": 4}),
    ],
)
def test_what_a_family_saves_is_loaded_without_a_false_alarm(family, changes, tmp_path):
    config = AutoConfig.for_model(family, **(_SIZES | changes))
    saved = AutoModelForCausalLM.from_config(config)
    saved.save_pretrained(tmp_path)
    found = load(tmp_path).state_dict()
    for name, value in saved.state_dict().items():
        assert torch.equal(found[name], value), name


def test_a_teacher_a_student_and_a_scored_model_are_refused_alike(miniature, tmp_path):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "model")
    edit(folder, lambda tensors: {f"_orig_mod.{name}": v for name, v in tensors.items()})
    with pytest.raises(ArtifactError, match=r"torch\.compile"):
        load_decoder(folder, TeacherConfig(dtype="float32", device="cpu"))
