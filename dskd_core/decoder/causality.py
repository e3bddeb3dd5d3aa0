"""Whether a model is causal: no state may depend on a token that comes after it.

Any configuration that transformers has a language-model head for can be loaded as a decoder: an
encoder, a model whose attention was set to look both ways, one that reads a prefix both ways. Their
states know the next token, so a student of them would learn nothing, and every score of them is
too good. Their settings have many names; so it is tried.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dskd_core.errors import ConfigError
from dskd_core.errors import shown as short

States = Callable[[Tensor], Tensor]
"""Token ids, [1, length] int64 on the CPU -> their final states, [1, length, d]."""

_OF_SETTINGS = (AttributeError, KeyError, NameError, TypeError)
"""What a model raises that lacks a setting: no memory, no device and no length of text does."""

_LENGTH = 8
_TRIES = 8
_ROUNDING = 3
_LEAST = 1e-3
"""Of tiny models with random weights, states of encoders changed by 0.03 and more, those of experts
by 1e-6 and less; in bfloat16 0.023 is rounding."""


def check_causal(states: States, n_tokens: int, shown: str) -> None:
    """Check that changing the last of eight tokens leaves the state before it as it is.

    Costs three forwards of eight tokens. A model that does not run so is not judged.

    Raises:
        ConfigError: if the model lacks a setting to run at all; if the state changes by more than
            rounding in each of several tries; in one of them an expert may be chosen by a near tie.
    """
    differences = []
    try:
        for seed in range(_TRIES):
            differences.append(_seen_ahead(states, n_tokens, seed))
            if not differences[-1]:
                return
    except _OF_SETTINGS as error:
        said = short(" ".join(f"{type(error).__name__}: {error}".split()))
        raise ConfigError(
            f"{shown} cannot be run: its config.json says what transformers makes a model of, but "
            f"no state ({said}); copy the whole checkpoint."
        ) from error
    except Exception:  # whoever runs the model for its work says what is wrong with it
        return
    raise ConfigError(
        f"{shown} is no causal language model: when the last of {_LENGTH} tokens changes, the "
        f"state before it changes by {max(differences):.1%} of its size, so it reads ahead "
        "(is_causal, is_decoder or use_bidirectional_attention in its config.json may say so); "
        "give a model that was trained to predict the next token."
    )


@torch.no_grad()
def _seen_ahead(states: States, n_tokens: int, seed: int) -> float:
    """Return by how much a state sees the token after it, relative to its size; 0 if by rounding.

    Experts are given other batches where another token comes, and their products round otherwise;
    of one state few can be chosen by a near tie for that.
    """
    ids = torch.randint(n_tokens, (1, _LENGTH), generator=torch.Generator().manual_seed(seed))
    other = ids.clone()
    other[0, -1] = (ids[0, -1] + 1 + n_tokens // 2) % n_tokens
    found = [states(tokens)[0, -2] for tokens in (ids, ids, other)]
    first, again, changed = (one.double() for one in found)
    size = max(float(first.norm()), torch.finfo(torch.float32).tiny)
    noise = float((again - first).norm()) / size  # of a device that is not exact
    difference = float((changed - first).norm()) / size
    rounding = max(_LEAST, _ROUNDING * torch.finfo(found[0].dtype).eps)
    return difference if difference > max(rounding, 4 * noise) else 0.0
