import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from dskd_core.config import StudentConfig
from dskd_core.embeddings.teacher import Teacher
from dskd_core.errors import ConfigError
from dskd_core.training.student import Shape, Tail, capturing, export

_COMMON = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": LlamaConfig(**_COMMON, tie_word_embeddings=False),
    "llama tied": LlamaConfig(**_COMMON, tie_word_embeddings=True),
    "mistral": MistralConfig(**_COMMON, sliding_window=6),
    "qwen2": Qwen2Config(**_COMMON),
    "qwen3": Qwen3Config(**_COMMON),
    "gemma": GemmaConfig(**_COMMON),
    "gemma3": Gemma3TextConfig(**_COMMON, sliding_window=5),
    "gpt2": GPT2Config(
        vocab_size=101,
        n_embd=32,
        n_layer=6,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
}
SHAPE = Shape(n_layers=4, entry=2)


def _teacher(family: str) -> Teacher:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return Teacher(model, 101)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tail_entered_with_h_equals_the_exported_checkpoint(family, tmp_path):
    teacher = _teacher(family)
    ids = torch.randint(3, 100, (2, 11))
    tail = Tail(teacher, SHAPE)
    with torch.no_grad():
        for parameter in tail.layers.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        with capturing(teacher.layers[SHAPE.entry]) as caught:
            teacher.states(ids)
        states = tail(caught[0])
        export(teacher, SHAPE, tail.layers.state_dict(), tmp_path)
        student = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        out = student(ids, output_hidden_states=True)
    torch.testing.assert_close(states, out.hidden_states[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states @ teacher.head.T, out.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama tied", "gpt2"])
def test_neither_training_nor_export_changes_the_teacher(family, tmp_path):
    teacher = _teacher(family)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    tail = Tail(teacher, SHAPE)
    with torch.no_grad():
        for parameter in tail.layers.parameters():
            parameter.fill_(1.0)
    export(teacher, SHAPE, tail.layers.state_dict(), tmp_path)
    for name, value in teacher.model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert len(teacher.layers) == 6
    assert teacher.model.config.num_hidden_layers == 6


def test_only_the_last_layers_train():
    tail = Tail(_teacher("llama"), SHAPE)
    trained = {n for n, p in tail.named_parameters() if p.requires_grad}
    assert trained
    assert len(tail.layers) == 2
    assert not any("norm.weight" in n and "layernorm" not in n for n in trained)
    assert not any("embed" in n for n in trained)


def test_half_of_the_teacher_s_layers_is_the_default():
    assert Shape.of(StudentConfig(), 32) == Shape(16, 14)
    assert Shape.of(StudentConfig(), 30) == Shape(15, 13)


@pytest.mark.parametrize(
    "config", [StudentConfig(n_layers=7), StudentConfig(n_layers=2, n_trainable_layers=3)]
)
def test_a_student_that_does_not_fit_is_refused(config):
    with pytest.raises(ConfigError, match="choose fewer"):
        Shape.of(config, 6)
