"""What settings alone tell of a student's layers, against what the proof finds of them."""

import pytest

from dskd_core.decoder.decoder import Decoder
from dskd_core.errors import ConfigError
from dskd_core.training.student.likeness import why_refused
from dskd_core.training.student.proof import check_layers
from dskd_core.training.student.shape import Shape
from tests.families import N_TOKENS, tiny_config, tiny_model


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("smollm3", {}),
        ("gemma3_text", {}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("jamba", {}),
    ],
)
def test_a_plan_expects_a_refusal_where_the_proof_refuses(family, changes):
    model = tiny_model(family, **changes)
    for layers in ((0, 1, 2, 3), (0, 1, 6, 7), (0, 2, 5, 7)):
        shape, refused = Shape(layers, entry=2), False
        try:
            check_layers(Decoder(model, N_TOKENS), layers, 2, shape.shared)
        except ConfigError:
            refused = True
        assert bool(why_refused(tiny_config(family, **changes), layers)) == refused, layers
