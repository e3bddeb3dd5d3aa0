import json
import os

import pytest

from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import decoder_layers
from dskd_core.errors import ConfigError
from dskd_core.planning import architecture
from dskd_core.planning.architecture import PUBLISHED, count, read_architecture
from tests.families import FAMILIES, tiny_model

VALUES = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_has_the_weights_of_its_matrices_and_norms(tied):
    found = count(VALUES | {"tie_word_embeddings": tied}, "here")
    matrices = 2 * 48 * 48 + 2 * 48 * 16 + 3 * 48 * 80
    assert [layer.parameters for layer in found.layers] == [matrices + 2 * 48] * 6
    assert found.parameters() == 6 * (matrices + 96) + (1 if tied else 2) * 100 * 48 + 48
    assert found.parameters([0, 3]) == 2 * (matrices + 96) + (1 if tied else 2) * 100 * 48 + 48
    assert found.layer_flops([1, 2], context=10) == 2 * (2 * matrices + 4 * 48 * 10)


PUBLISHED_SIZES = {
    "Mixtral-8x7B": (
        46_702_792_704,
        {
            "model_type": "mixtral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "vocab_size": 32000,
        },
    ),
    "Llama-3-8B": (8_030_261_248, PUBLISHED["meta-llama/Meta-Llama-3-8B-Instruct"]),
    "SmolLM2-135M": (
        134_515_008,
        {
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49152,
            "tie_word_embeddings": True,
        },
    ),
    "Qwen1.5-MoE-A2.7B": (
        14_315_784_192,
        {
            "model_type": "qwen2_moe",
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "vocab_size": 151936,
        },
    ),
    "GPT-2": (
        124_439_808,
        {
            "model_type": "gpt2",
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_positions": 1024,
            "vocab_size": 50257,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_published_models_have_their_published_number_of_weights(name):
    n_parameters, values = PUBLISHED_SIZES[name]
    assert count(values, name).parameters() == n_parameters


def test_of_experts_a_token_is_multiplied_with_those_chosen_for_it():
    """Mixtral, two of eight: attention and router, the head, and a quarter of the experts."""
    found = count(PUBLISHED_SIZES["Mixtral-8x7B"][1], "here")
    attention, expert = 2 * 4096 * 4096 + 2 * 4096 * 1024, 3 * 4096 * 14336
    assert found.layers[0].active == attention + 8 * 4096 + 2 * expert
    active = sum(layer.active for layer in found.layers) + found.head_parameters
    assert active == 32 * (attention + 8 * 4096 + 2 * expert) + 32000 * 4096


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_weights_that_transformers_makes(family, tmp_path):
    model = tiny_model(family, on="meta")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    try:
        found = read_architecture(TeacherConfig(source=str(tmp_path)))
    except ConfigError:
        with pytest.raises(ConfigError, match="no list of decoder layers"):
            decoder_layers(model)
        return
    assert found.parameters() == sum(p.numel() for p in model.parameters())
    assert found.n_layers == len(decoder_layers(model))
    experts = [n for n, _ in decoder_layers(model).named_parameters() if "experts." in n]
    whole = sum(p.numel() for p in decoder_layers(model).parameters() if p.dim() > 1)
    assert (sum(layer.active for layer in found.layers) < whole) == bool(experts)


def test_a_family_that_transformers_does_not_know_is_refused():
    with pytest.raises(ConfigError, match=r"model_type 'ours'.*does not know.*--config-json"):
        count(VALUES | {"model_type": "ours"}, "here")


def test_a_configuration_that_contradicts_itself_is_refused():
    with pytest.raises(ConfigError, match=r"makes no causal language model of here"):
        count(VALUES | {"layer_types": ["full_attention"], "model_type": "qwen3"}, "here")


def test_a_configuration_without_a_size_is_refused_by_its_name(tmp_path):
    values = {name: value for name, value in VALUES.items() if name != "vocab_size"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"states no vocab_size.*--config-json"):
        read_architecture(TeacherConfig(source=str(tmp_path)))


def test_a_config_json_of_holes_or_a_pipe_is_refused_unread(tmp_path):
    source = TeacherConfig(source=str(tmp_path))
    path = tmp_path / "config.json"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(ConfigError, match=r"more than the 4,194,304 bytes"):
        read_architecture(source)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no plain file"):
        read_architecture(source)


def test_a_config_json_stands_in_for_a_source_that_cannot_be_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(VALUES))
    found = read_architecture(TeacherConfig(source="nobody/nothing"), path)
    assert (found.hidden_size, found.attention_width, found.n_vocabulary) == (48, 48, 100)


@pytest.fixture
def silent_hub(monkeypatch):
    def fetch(config):
        raise OSError("Name or service not known")

    monkeypatch.setattr(architecture, "_fetch", fetch)


def test_models_of_our_parameter_files_have_sizes_without_the_hub_and_say_so(silent_hub):
    for name in PUBLISHED:
        found = read_architecture(TeacherConfig(source=name))
        assert found.hidden_size == 4096
        assert "the hub did not answer" in found.origin


def test_another_model_that_the_hub_does_not_show_is_refused_with_a_cure(silent_hub):
    with pytest.raises(ConfigError, match=r"nobody/nothing.*--config-json"):
        read_architecture(TeacherConfig(source="nobody/nothing"))
