import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
)

from dskd_core.decoder.decoder import Decoder
from dskd_core.training.student.gap_fit import (
    GapStates,
    Projection,
    find_projection,
    fit_projection,
    n_positions_for,
)
from dskd_core.training.student.tail import Span, capturing, leaving

_COMMON = {
    "vocab_size": 101,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2 = {"vocab_size": 101, "n_embd": 16, "n_layer": 6, "n_head": 4, "n_positions": 64}
FOUND = {
    "llama": (LlamaConfig(**_COMMON), Projection("mlp.down_proj", 1.0)),
    "gpt2": (GPT2Config(**GPT2, bos_token_id=1, eos_token_id=2), Projection("mlp.c_proj", 1.0)),
    "granite": (
        GraniteConfig(**_COMMON, residual_multiplier=0.25),
        Projection("mlp.down_proj", 0.25),
    ),
    "gemma3, a norm behind it": (Gemma3TextConfig(**_COMMON, head_dim=4), None),
    "mixtral, experts": (MixtralConfig(**_COMMON, num_local_experts=4), None),
}


def _teacher(config, dtype=torch.float32) -> Decoder:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return Decoder(model.to(dtype), 101)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FOUND)
def test_a_layers_last_projection_is_found_where_it_is_added_as_it_is(family, dtype):
    config, expected = FOUND[family]
    teacher, ids = _teacher(config, dtype), torch.arange(24)[None]
    found = find_projection(teacher.layers[2], lambda: teacher.states(ids))
    assert (found and found.name) == (expected and expected.name)
    if found and expected:
        assert found.factor == pytest.approx(expected.factor, rel=0.01)


@pytest.mark.parametrize("family", ["llama", "gpt2", "granite"])
def test_the_projection_before_the_gap_is_the_ridge_solution_of_the_relative_error(family):
    config, projection = FOUND[family]
    teacher, ids = _teacher(config), torch.randint(3, 100, (4, 30))
    span = Span(teacher, 1, 3)  # layers 1 and 2; those up to 5 are the gap
    with capturing(teacher.layers[1]) as entering, capturing(teacher.layers[5]) as behind:
        teacher.states(ids)
    real = torch.tensor([n for n in range(4 * 30) if n % 30 < 20 + n // 30])
    states = GapStates(entering[0], real, behind[0].flatten(0, 1)[real])

    module = span.layers[-1].get_submodule(projection.name)
    inner = []
    hook = module.register_forward_pre_hook(lambda m, args: inner.append(args[0]))
    with leaving(span.layers[-1]) as left, torch.no_grad():
        span(entering[0])
    hook.remove()
    u = inner[0].flatten(0, -2)[real].double().numpy()
    o, b = left[0].flatten(0, 1)[real].double().numpy(), states.behind.double().numpy()
    size = np.linalg.norm(b, axis=1, keepdims=True)
    rows, wanted = projection.factor * u / size, (b - o) / size
    ridge = np.sqrt(0.1 * (rows**2).sum(0).mean())
    rows = np.vstack([rows, ridge * np.eye(u.shape[1])])
    change = np.linalg.lstsq(rows, np.vstack([wanted, np.zeros((u.shape[1], 16))]), rcond=None)[0]
    expected = module.weight.double().numpy() + (change if family == "gpt2" else change.T)

    halves = [
        GapStates(states.entering[:2], real[real < 60], states.behind[: int((real < 60).sum())]),
        GapStates(
            states.entering[2:], real[real >= 60] - 60, states.behind[int((real < 60).sum()) :]
        ),
    ]
    for batches in ([states], halves):
        fitted = fit_projection(span, projection, batches, n_positions=120)
        np.testing.assert_allclose(fitted.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert fit_projection(span, projection, halves, 10).shape == fitted.shape
    assert not torch.equal(fit_projection(span, projection, halves, 10), fitted)


def test_ten_positions_are_read_for_a_column_and_never_fewer_than_sixteen_thousand():
    span = Span(_teacher(LlamaConfig(**(_COMMON | {"intermediate_size": 2000}))), 1, 3)
    assert n_positions_for(span, Projection("mlp.down_proj", 1.0)) == 20_000
    assert n_positions_for(span, Projection("mlp.up_proj", 1.0)) == 16_384
