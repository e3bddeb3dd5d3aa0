"""The least a cached step can cost: its matrix products alone, nothing else.

For n positions, in the precision that is best on the machine: the head's two (logits, and their
gradient back to the states), and of every trainable layer the forward product, the gradient of its
input and the gradient of its weight, for the seven linear maps, and attention's own two forward and
four backward. Each goes into memory that is there already, so neither allocation nor a cast is
counted.
"""

import torch
from torch import Tensor
from transformers import AutoConfig

from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import Scenario


def train(scenario: Scenario, tick: Tick, rows: int = 1024) -> None:
    """Do the products of a step, again and again, the head's by as many positions at a time."""
    model = AutoConfig.from_pretrained(scenario.model_folder)
    config = scenario.config
    n_windows, length = config.training.batch_windows, scenario.window_tokens
    n = n_windows * length
    torch.set_default_dtype(scenario.dtype)
    products = head_products(min(n, rows), model.hidden_size, model.vocab_size) * (n // rows)
    for _ in range(config.student.n_trainable_layers):
        products += layer_products(n_windows, length, model)
    while True:
        for left, right, out in products:
            torch.matmul(left, right, out=out)
        tick()


def head_products(n: int, d: int, n_tokens: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (n x d)(d x V) and (n x V)(V x d), operands and places."""
    states, head, logits = _random(n, d), _random(n_tokens, d), _random(n, n_tokens)
    return [(states, head.T, logits), (logits, head, _random(n, d))]


def layer_products(
    n_windows: int, length: int, model: AutoConfig
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the products of one layer, forward and backward."""
    n, d, inner = n_windows * length, model.hidden_size, model.intermediate_size
    width = model.hidden_size // model.num_attention_heads
    all_keys = model.num_key_value_heads * width
    maps = [(d, d), (d, all_keys), (d, all_keys), (d, d), (d, inner), (d, inner), (inner, d)]
    products = []
    for n_in, n_out in maps:
        x, weight, y = _random(n, n_in), _random(n_out, n_in), _random(n, n_out)
        products += [
            (x, weight.T, y),
            (y, weight, _random(n, n_in)),
            (y.T, x, _random(n_out, n_in)),
        ]
    batch = n_windows * model.num_attention_heads
    states, scores = _random(batch, length, width), _random(batch, length, length)
    square, flat = (states, states.mT, scores), (scores, states, _random(batch, length, width))
    return [*products, square, flat, square, flat, flat, flat]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape)
