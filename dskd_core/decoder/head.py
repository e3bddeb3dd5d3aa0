"""The head of a language model: from final states to logits.

    z = c tanh((s W n + b) / c)

W is the output matrix; the bias b, the scale s (Cohere, Granite, Falcon-H1) and the soft cap c
(Gemma 2) are absent in most families, and z = W n is then all there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dskd_core.errors import ConfigError

_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "softcap")
_PROBE_TOKENS = 4


@dataclass(frozen=True)
class Head:
    """The last step of a language model, frozen.

    Attributes:
        weight: [V, d], W.
        bias: [V], b, or None.
        scale: s, applied to W n.
        softcap: c, or None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def is_linear(self) -> bool:
        """Whether z = s W n, so that a teacher's distribution can be left as W^T p."""
        return self.bias is None and self.softcap is None

    def to(self, dtype: torch.dtype) -> "Head":
        """Return the head with its products in another dtype."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return replace(self, weight=self.weight.to(dtype), bias=bias)

    def logits(self, states: Tensor) -> Tensor:
        """Return all logits at once, [n, V], in the dtype of the weight.

        >>> head = Head(torch.eye(2), scale=0.5, softcap=1.0)
        >>> [round(z, 3) for z in head.logits(torch.tensor([[2.0, 0.0]]))[0].tolist()]
        [0.762, 0.0]
        """
        logits = (self.scale * states).to(self.weight.dtype) @ self.weight.T
        if self.bias is not None:
            logits = logits + self.bias
        return self.softcap * (logits / self.softcap).tanh() if self.softcap else logits


def as_head(head: Tensor | Head) -> Head:
    """Return a bare output matrix as a head."""
    return head if isinstance(head, Head) else Head(head)


@torch.no_grad()
def find_head(model: Any, n_tokens: int) -> Head:
    """Return the head of a transformers model, found by comparing with its own logits.

    Configurations name scales and soft caps alike but mean them differently (one family multiplies
    by what another divides by), so each reading is tried on the logits of a few tokens.

    ``n_tokens`` are the rows of the output matrix that are tokens; padding is left out.

    Raises:
        ConfigError: if no reading gives the model's logits.
    """
    output = model.get_output_embeddings()
    bias = getattr(output, "bias", None)
    plain = Head(output.weight[:n_tokens], None if bias is None else bias[:n_tokens])
    device = output.weight.device
    ids = torch.arange(1, 1 + _PROBE_TOKENS, device=device).clamp(max=n_tokens - 1)[None]
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    expected = model(input_ids=ids, use_cache=False).logits[0, :, :n_tokens].float()
    for head in _readings(plain, model.config):
        error = (head.logits(states).float() - expected).norm() / expected.norm()
        if float(error) < (0.01 if plain.weight.element_size() < 4 else 1e-4):
            return head
    raise ConfigError(
        f"The logits of {type(model).__name__} are no scaled or soft-capped product of its states "
        "and its output matrix; choose a teacher of another family."
    )


def _readings(plain: Head, config: Any) -> Iterator[Head]:
    """Yield what a configuration may mean, the simplest first."""
    named = [float(value) for name in _SCALES if (value := getattr(config, name, None))]
    caps = [float(value) for name in _SOFTCAPS if (value := getattr(config, name, None))]
    for scale in (1.0, *(s for value in named for s in (value, 1.0 / value))):
        for softcap in (*caps, None):
            yield replace(plain, scale=scale, softcap=softcap)
