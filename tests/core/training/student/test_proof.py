import pytest
import torch

from dskd_core.decoder.decoder import Decoder
from dskd_core.errors import ConfigError
from dskd_core.training.student import tail as tail_module
from dskd_core.training.student.export import write_untrained
from dskd_core.training.student.layer_settings import config_of_layers
from dskd_core.training.student.proof import check_layers
from dskd_core.training.student.shape import Shape
from tests.families import FAMILIES, N_TOKENS, tiny_config, tiny_model

CHOICES = {
    "first half": (0, 1, 2, 3),
    "first_last": (0, 1, 2, 6, 7),
    "alternating": (0, 2, 5, 7),
}


def _check(model, layers):
    shape = Shape(layers, entry=len(layers) - 2)
    check_layers(Decoder(model, N_TOKENS), shape.layers, shape.entry, shape.shared)


def _outputs(model, ids, given=None):
    """Return what enters and leaves every layer, each given a state of one's own if there is."""
    entered, left, hooks = [], [], []
    for number, layer in enumerate(Decoder(model, N_TOKENS).layers):

        def before(module, args, kwargs, number=number):
            state = given[number] if given else (args[0] if args else kwargs["hidden_states"])
            entered.append(state.clone())
            return (
                ((state.clone(), *args[1:]), kwargs)
                if args
                else (
                    args,
                    kwargs | {"hidden_states": state.clone()},
                )
            )

        def after(module, args, out):
            left.append((out[0] if isinstance(out, tuple) else out).clone())

        hooks += [
            layer.register_forward_pre_hook(before, with_kwargs=True),
            layer.register_forward_hook(after),
        ]
    with torch.no_grad():
        model(ids, use_cache=False)  # a cache of a student without attention has no length
    for hook in hooks:
        hook.remove()
    return entered, left


def _assert_layers_are_the_teacher_s(model, layers, folder):
    """Write the student, read it as anyone would, and run both on other text."""
    write_untrained(Decoder(model, N_TOKENS), layers, folder)
    student = type(model).from_pretrained(folder).eval()
    ids = torch.randint(3, 90, (2, 21), generator=torch.Generator().manual_seed(1))
    entered, expected = _outputs(model, ids)
    _, found = _outputs(student, ids, [entered[layer] for layer in layers])
    assert len(found) == len(layers)
    for mine, layer in zip(found, layers, strict=True):
        torch.testing.assert_close(mine, expected[layer], rtol=1e-5, atol=1e-5)


CARRIED = ["smollm3", "gpt_neo", "gemma3_text", "lfm2", "granite_swa"]
"""A list with and without positions, of pairs, of windows, of convolutions, of RoPE's bases."""


@pytest.mark.parametrize("family", CARRIED)
def test_what_is_said_of_single_layers_goes_with_them(family, tmp_path):
    thetas = {"layer_rope_theta": [1e4, 0, 1e4, 5e5, 1e4, 0, 5e5, 1e4]}
    model = tiny_model(family, **(thetas if family == "granite_swa" else {}))
    _check(model, CHOICES["first_last"])
    _assert_layers_are_the_teacher_s(model, CHOICES["first_last"], tmp_path)


def test_experts_in_every_second_layer_stay_where_they_are(tmp_path):
    model = tiny_model("qwen2_moe", decoder_sparse_step=2)
    _check(model, CHOICES["alternating"])
    _assert_layers_are_the_teacher_s(model, CHOICES["alternating"], tmp_path)


def test_layers_that_count_their_depth_are_refused_where_it_changes():
    model = tiny_model("gpt2", scale_attn_by_inverse_layer_idx=True)
    _check(model, CHOICES["first half"])
    said = r"layer 3 differs from the teacher's layer 6 by .*, layer 4 .* choose other layers"
    with pytest.raises(ConfigError, match=said):
        _check(model, CHOICES["first_last"])


def test_layers_of_a_pattern_that_cannot_be_said_are_refused_in_one_sentence():
    with pytest.raises(
        ConfigError, match=r"No JambaForCausalLM can be made of layers \[0, 2, 5, 7]"
    ):
        _check(tiny_model("jamba"), CHOICES["alternating"])


def test_a_window_wider_than_the_text_is_told_from_none(monkeypatch):
    """Without its layer types a student of Gemma-3 looks too far, which short text hides."""
    model = tiny_model("gemma3_text", sliding_window=512)
    _check(model, CHOICES["first_last"])
    types = model.config.layer_types

    def forgets(config, layers):
        fewer = config_of_layers(config, layers)
        if config.num_hidden_layers == 8:
            fewer.layer_types = types[: len(layers)]
        return fewer

    monkeypatch.setattr("dskd_core.training.student.proof.config_of_layers", forgets)
    with pytest.raises(ConfigError, match="layer 3 differs from the teacher's layer 5"):
        _check(model, (0, 1, 2, 5, 7))


def test_layers_that_run_otherwise_by_themselves_are_refused(monkeypatch):
    """Of the types sliding, sliding, full, sliding the last two are not the first two."""
    model = tiny_model("gemma3_text")
    _check(model, CHOICES["alternating"])
    monkeypatch.setattr(tail_module, "config_of_layers", lambda config, layers: config)
    with pytest.raises(ConfigError, match="layers 2 to 3 run by themselves differ"):
        _check(model, CHOICES["alternating"])


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen2_moe"])
def test_a_teacher_in_bfloat16_has_layers_that_run_by_themselves(family):
    """What rounds coarsely is not taken for layers that compute something else."""
    _check(tiny_model(family, dtype=torch.bfloat16), CHOICES["alternating"])


def test_numbers_of_layers_are_counted_anew_and_tokens_are_not():
    config = tiny_config("qwen2_moe", mlp_only_layers=[1, 6], eos_token_id=[2, 3])
    assert config_of_layers(config, (0, 1, 6, 7)).mlp_only_layers == [1, 2]
    config = tiny_config("deepseek_v3", num_hidden_layers=2, eos_token_id=[2, 3])
    fewer = config_of_layers(config, (1,))
    assert (fewer.eos_token_id, fewer.num_hidden_layers) == ([2, 3], 1)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_of_every_family_a_student_s_layer_is_the_teacher_s_or_is_refused(family, tmp_path):
    model = tiny_model(family)
    for name, layers in CHOICES.items():
        try:
            _check(model, layers)
        except ConfigError:
            continue
        _assert_layers_are_the_teacher_s(model, layers, tmp_path / name)
