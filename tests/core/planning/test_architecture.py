import json

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from dskd_core.config import TeacherConfig
from dskd_core.errors import ConfigError
from dskd_core.planning import architecture
from dskd_core.planning.architecture import PUBLISHED, of_values, read_architecture

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
def test_parameters_are_those_of_the_model_that_transformers_builds(tied):
    values = VALUES | {"tie_word_embeddings": tied}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**values))
    found = of_values(values, "here")
    assert found.parameters() == sum(p.numel() for p in model.parameters())
    layer = model.model.layers[0]
    assert found.layer_parameters == sum(p.numel() for p in layer.parameters())


def test_flops_of_a_layer_are_two_a_weight_and_four_a_head_value_seen():
    found = of_values(VALUES, "here")
    matrices = 2 * 48 * 48 + 2 * 48 * 16 + 3 * 48 * 80
    assert found.layer_flops(context=10) == 2 * matrices + 4 * 48 * 10


def test_a_configuration_without_a_size_is_refused_by_its_name(tmp_path):
    values = {name: value for name, value in VALUES.items() if name != "vocab_size"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"states no vocab_size.*--config-json"):
        read_architecture(TeacherConfig(source=str(tmp_path)))


def test_a_config_json_stands_in_for_a_source_that_cannot_be_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(VALUES))
    found = read_architecture(TeacherConfig(source="nobody/nothing"), path)
    assert (found.hidden_size, found.head_size, found.n_vocabulary) == (48, 8, 100)


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
