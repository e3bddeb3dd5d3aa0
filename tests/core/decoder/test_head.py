"""The head as it is found, against the logits of transformers' own models."""

import pytest
import torch
import transformers

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import find_head
from dskd_core.errors import ConfigError

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}


def model(family, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(SMALL | settings))
    return getattr(transformers, f"{family}ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    ("family", "settings", "linear"),
    [
        ("Llama", {}, True),
        ("Gemma2", {"final_logit_softcapping": 0.5, "head_dim": 8}, False),
        ("Cohere", {"logit_scale": 0.25}, True),
        ("Granite", {"logits_scaling": 8.0}, True),
        ("Phi", {}, False),
    ],
)
def test_the_head_found_gives_the_model_s_own_logits(family, settings, linear):
    teacher = model(family, **settings)
    if family == "Phi":
        torch.nn.init.normal_(teacher.lm_head.bias)
    ids = torch.tensor([[5, 9, 3, 7, 7, 2]])
    with torch.no_grad():
        states = teacher.base_model(ids).last_hidden_state[0]
        expected = teacher(ids).logits[0, :, :33]
        head = find_head(teacher, n_tokens=33)
        torch.testing.assert_close(head.logits(states), expected, atol=1e-5, rtol=1e-4)
    assert head.is_linear == linear


def test_a_teacher_predicts_what_its_model_does_bias_included():
    phi = model("Phi")
    torch.nn.init.normal_(phi.lm_head.bias)
    teacher, ids = Decoder(phi, 33), torch.tensor([[5, 9, 3, 7, 7, 2]])
    with torch.no_grad():
        expected = phi(ids).logits[0, :, :33].argmax(dim=1)
        assert teacher.predictions(teacher.states(ids)[0]).tolist() == expected.tolist()
    assert teacher.output.bias is not None


def test_a_head_that_is_no_product_of_the_states_is_refused_by_name():
    teacher = model("Llama")
    teacher.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits.square())
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM.*another family"):
        find_head(teacher, n_tokens=40)
