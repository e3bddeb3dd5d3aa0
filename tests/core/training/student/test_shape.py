import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
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
from dskd_core.decoder.compilation import Compiled, CompiledLayers, run_compiled
from dskd_core.decoder.decoder import Decoder, decoder_layers
from dskd_core.errors import ConfigError
from dskd_core.training.student import export as export_module
from dskd_core.training.student.export import export, read_layers, write_untrained
from dskd_core.training.student.shape import (
    Shape,
    copy_tail,
)
from dskd_core.training.student.tail import Span, Tail, capturing
from tests.families import tiny_model

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
_FEW = {"num_hidden_layers": 4, "intermediate_size": 32, "num_experts_per_tok": 2}
EXPERTS = {
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 16},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16},
    "olmoe": {"num_experts": 4},
    "granitemoe": {"num_local_experts": 4},
    "phimoe": {"num_local_experts": 4},
    "deepseek_v3": {
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 16,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "gpt_oss": {"num_local_experts": 4},
}
"""Families whose experts have other names on disk than in memory, or none of their own."""

SHAPE = Shape((0, 1, 2, 3), entry=2)


def _teacher(family: str) -> Decoder:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return Decoder(model, 101)


def _untrained(teacher: Decoder, shape: Shape, folder) -> Decoder:
    write_untrained(teacher, shape.layers, folder)
    return Decoder(AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False), 101)


@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (0, 1, 4, 5), (0, 2, 3, 5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_tail_entered_with_h_equals_the_exported_checkpoint(family, layers, tmp_path):
    teacher, shape = _teacher(family), Shape(layers, entry=2)
    start = _untrained(teacher, shape, tmp_path / "untrained")
    ids = torch.randint(3, 100, (2, 11))
    tail = Tail(start, shape.entry)
    with torch.no_grad():
        for parameter in tail.layers.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        with capturing(teacher.layers[shape.shared]) as caught:
            teacher.states(ids)
        entering = caught[0]
        if shape.shared < shape.entry:
            entering = Span(start, shape.shared, shape.entry).before_norm(entering)
        states = tail(entering)
        export(start, shape.entry, tail.layers.state_dict(), tmp_path / "trained")
        student = AutoModelForCausalLM.from_pretrained(tmp_path / "trained").eval()
        out = student(ids, output_hidden_states=True)
    torch.testing.assert_close(states, out.hidden_states[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states @ teacher.head.T, out.logits, atol=1e-4, rtol=1e-4)


def test_layers_in_bfloat16_run_by_themselves_to_the_last_bit_at_far_positions():
    """Frequencies of positions that are rounded with the weights are other positions."""
    model = tiny_model("llama", dtype=torch.bfloat16, max_position_embeddings=512)
    student, ids = Decoder(model, 96), torch.arange(400)[None] % 90
    with (
        torch.no_grad(),
        capturing(student.layers[2]) as first,
        capturing(student.layers[5]) as last,
    ):
        states = student.states(ids)
    assert torch.equal(Span(student, 2, 5).before_norm(first[0]), last[0])
    assert torch.equal(Span(student, 2, 8)(first[0]), states)


@pytest.mark.parametrize("family", ["llama tied", "gemma3", "gpt2"])
def test_frozen_layers_between_trained_ones_stay_and_a_trained_norm_is_exported(family, tmp_path):
    teacher, shape = _teacher(family), Shape((0, 1, 2, 4, 5), 1, frozen=(2, 3), trains_norm=True)
    start = _untrained(teacher, shape, tmp_path / "untrained")
    tail, ids = copy_tail(start, shape), torch.randint(3, 100, (2, 11))
    assert {name.split(".")[0] for name in tail.trained()} == {"0", "3", "norm"}
    with torch.no_grad():
        for parameter in tail.trained().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
        export(start, shape.entry, tail.weights(), tmp_path / "trained")
        student = AutoModelForCausalLM.from_pretrained(tmp_path / "trained").eval()
        with capturing(start.layers[1]) as caught:
            start.states(ids)
        expected = student(ids, output_hidden_states=True).hidden_states[-1]
        again = copy_tail(start, shape)
        read = read_layers(tmp_path / "trained", first=1, frozen=shape.frozen, norm=True)
        again.load(read)
        for one in (tail, again):
            torch.testing.assert_close(one(caught[0]), expected, atol=1e-5, rtol=1e-5)
    assert set(read) == set(tail.weights())
    before = start.model.state_dict()
    differing = {
        name for name, value in student.state_dict().items() if (value != before[name]).any()
    }
    prefix = export_module.layers_prefix(student)
    norm = {"gpt2": "transformer.ln_f."}.get(family, "model.norm.")
    assert {name.removeprefix(prefix).split(".")[0] for name in differing if prefix in name} == {
        "1",
        "4",
    }
    assert all(name.startswith((f"{prefix}1.", f"{prefix}4.", norm)) for name in differing)
    assert any(name.startswith(norm) for name in differing)


def test_the_norm_of_a_family_with_code_of_its_own_is_read_by_its_name(tmp_path):
    ones = torch.ones(2)
    names = ("model.layers.0.norm.weight", "model.layers.1.norm.weight", "model.norm.weight")
    stored = {name: number * ones for number, name in enumerate(names)}
    save_file(stored | {"model.embed_norm.weight": ones}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "ours", "auto_map": {"A": "b.C"}}')
    found = read_layers(tmp_path, first=0, frozen=[1], norm=True)
    assert {name: float(value[0]) for name, value in found.items()} == {
        "0.norm.weight": 0.0,
        "norm.weight": 2.0,
    }


@pytest.mark.parametrize("family", [*FAMILIES, *EXPERTS])
def test_a_student_s_layers_are_read_as_they_were_saved(family, tmp_path):
    """Mixtral's experts lie one by one under ``block_sparse_moe.experts.3.w1``."""
    torch.manual_seed(0)
    config = FAMILIES.get(family) or AutoConfig.for_model(
        family, **(_COMMON | _FEW | EXPERTS[family])
    )
    saved = AutoModelForCausalLM.from_config(config)
    saved.save_pretrained(tmp_path)
    found = read_layers(tmp_path, first=2)
    expected = decoder_layers(saved)[2:].state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_of_a_family_whose_names_agree_only_the_layers_are_read(family, tmp_path, monkeypatch):
    _teacher(family).model.save_pretrained(tmp_path)
    monkeypatch.setattr(export_module, "load_model", None)
    assert read_layers(tmp_path, first=5)


def test_layers_of_a_family_with_code_of_its_own_are_read_by_their_numbers(tmp_path):
    ones = torch.ones(2)
    save_file(
        {"model.layers.0.a": ones, "x.layers.3.mlp.b": 2 * ones, "lm_head.weight": 3 * ones},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text('{"model_type": "ours", "auto_map": {"A": "b.C"}}')
    found = read_layers(tmp_path, first=3)
    assert {name: float(value[0]) for name, value in found.items()} == {"0.mlp.b": 2}


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_a_trained_student_with_experts_scores_as_its_checkpoint_does(family, tmp_path):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **(_COMMON | _FEW | EXPERTS[family]))
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    start = _untrained(Decoder(model, 101), Shape((0, 3), entry=1), tmp_path / "untrained")
    tail = Tail(start, 1)
    with torch.no_grad():
        for parameter in tail.layers.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        export(start, 1, tail.layers.state_dict(), tmp_path / "trained")
        again = Tail(start, 1)
        again.layers.load_state_dict(read_layers(tmp_path / "trained", first=1))
        ids = torch.randint(3, 100, (2, 9))
        with capturing(start.layers[1]) as caught:
            start.states(ids)
        student = AutoModelForCausalLM.from_pretrained(tmp_path / "trained").eval()
        expected = student(ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(again(caught[0]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama tied", "gpt2"])
def test_the_untrained_student_is_the_chosen_layers_of_the_teacher(family, tmp_path):
    teacher = _teacher(family)
    start = _untrained(teacher, Shape((0, 3, 5), entry=1), tmp_path)
    for mine, theirs in ((0, 0), (1, 3), (2, 5)):
        expected = teacher.layers[theirs].state_dict()
        for name, value in start.layers[mine].state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    torch.testing.assert_close(start.head, teacher.head, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["llama tied", "gpt2"])
def test_neither_training_nor_export_changes_the_student_as_it_was(family, tmp_path):
    teacher = _teacher(family)
    start = _untrained(teacher, SHAPE, tmp_path / "untrained")
    before = {name: value.clone() for name, value in start.model.state_dict().items()}
    tail = Tail(start, SHAPE.entry)
    with torch.no_grad():
        for parameter in tail.layers.parameters():
            parameter.fill_(1.0)
    export(start, SHAPE.entry, tail.layers.state_dict(), tmp_path / "trained")
    for name, value in start.model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert len(teacher.layers) == 6
    assert teacher.model.config.num_hidden_layers == 6


def test_only_the_last_layers_train(tmp_path):
    tail = Tail(_untrained(_teacher("llama"), SHAPE, tmp_path), SHAPE.entry)
    trained = {n for n, p in tail.named_parameters() if p.requires_grad}
    assert trained
    assert len(tail.layers) == 2
    assert not any("norm.weight" in n and "layernorm" not in n for n in trained)
    assert not any("embed" in n for n in trained)


@pytest.mark.parametrize(
    ("layers", "shared"),
    [((0, 1, 2, 3), 2), ((0, 1, 4, 5), 2), ((0, 2, 3, 5), 1), ((1, 2, 3, 4), 0)],
)
def test_the_shared_prefix_is_the_longest_that_is_the_teacher_s_and_does_not_train(layers, shared):
    assert Shape(layers, entry=2).shared == shared


def test_layers_may_be_the_first_and_the_last_spaced_or_listed():
    def layers(config: StudentConfig) -> tuple[int, ...]:
        return Shape.from_config(config, 6).layers

    assert layers(StudentConfig(layers="first_last")) == (0, 4, 5)
    assert layers(StudentConfig(layers="spaced")) == (0, 2, 5)
    assert layers(StudentConfig(layers=(0, 3, 4, 5))) == (0, 3, 4, 5)
    with pytest.raises(ConfigError, match="names layer 6, but the teacher's last is 5"):
        layers(StudentConfig(layers=(0, 6)))


def test_layers_beside_the_cut_or_listed_ones_train_instead_of_the_last():
    def trained(**config) -> tuple[int, ...]:
        return Shape.from_config(StudentConfig(**config), 30).trained

    fifteen = {"n_layers": 15, "layers": "first_last"}
    assert trained(**fifteen) == (13, 14)
    assert trained(**fifteen, trainable_layers="beside_cut") == (11, 12, 13, 14)
    assert trained(**fifteen, trainable_layers=(5, 12, 13, 14)) == (5, 12, 13, 14)
    assert trained(layers=(0, 5, 20, 21, 22), trainable_layers="beside_cut") == (0, 1, 3, 4)
    assert trained(layers=(0, 9, 10), trainable_layers="beside_cut") == (0, 1, 2)
    listed = StudentConfig(**fifteen, trainable_layers=(5, 12, 14), train_final_norm=True)
    shape = Shape.from_config(listed, 30)
    assert (shape.entry, shape.frozen, shape.shared, shape.trains_norm) == (
        5,
        (6, 7, 8, 9, 10, 11, 13),
        5,
        True,
    )


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"trainable_layers": "beside_cut"}, r"finds no gap in the layers \[0, 1, 2\].*first_last"),
        ({"trainable_layers": (1, 3)}, r"names layer 3, but the student's last is 2; choose"),
    ],
)
def test_trainable_layers_that_are_not_there_are_refused(config, told):
    with pytest.raises(ConfigError, match=told):
        Shape.from_config(StudentConfig(**config), 6)


def test_a_bridge_leads_to_the_layer_behind_the_widest_gap_if_one_before_it_trains():
    assert Shape((0, 1, 2, 10, 11), entry=2).behind_gap == 3
    for shape, told in (
        (Shape((0, 1, 2), entry=1), "skip none in between"),
        (Shape((0, 1, 10, 11), entry=2), "train only behind their widest gap"),
    ):
        with pytest.raises(ConfigError, match=rf"{told}; set student\.layers first_last"):
            _ = shape.behind_gap


def test_a_start_is_fitted_in_the_last_layer_before_the_gap_if_that_trains():
    assert Shape((0, 1, 2, 10, 11), entry=2).fitted == 2
    with pytest.raises(ConfigError, match="layer 2, the last before its gap, does not train"):
        _ = Shape((0, 1, 2, 10, 11), entry=1, frozen=(2,)).fitted


def test_a_norm_without_weights_does_not_train():
    teacher = _teacher("llama")
    teacher.model.model.norm = torch.nn.Identity()
    with pytest.raises(ConfigError, match="no final norm with weights; set it to false"):
        Tail(teacher, 2, trains_norm=True)


def test_half_of_the_teacher_s_layers_is_the_default():
    assert Shape.from_config(StudentConfig(), 32) == Shape(tuple(range(16)), 14)
    assert Shape.from_config(StudentConfig(), 30) == Shape(tuple(range(15)), 13)


@pytest.mark.parametrize(
    "config", [StudentConfig(n_layers=7), StudentConfig(n_layers=2, n_trainable_layers=3)]
)
def test_a_student_that_does_not_fit_is_refused(config):
    with pytest.raises(ConfigError, match="choose fewer"):
        Shape.from_config(config, 6)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler here")
def test_layers_of_several_families_run_compiled_in_one_process(monkeypatch):
    monkeypatch.setattr(Compiled, "failed", set())
    for family in ("llama", "qwen3", "gemma3", "gpt2"):
        teacher, ids = _teacher(family), torch.randint(0, 101, (3, 16))
        entering = torch.randn(3, 16, teacher.head.shape[1])
        tail = Tail(teacher, 2)
        for layers, run in (
            (tail.layers, lambda tail=tail, entering=entering: tail(entering)),
            (teacher.layers, lambda teacher=teacher, ids=ids: teacher.states(ids)),
        ):
            with run_compiled(CompiledLayers(layers, 16), ids):
                found = run()
            torch.testing.assert_close(found, run(), rtol=1e-3, atol=1e-3)
    assert not Compiled.failed
