"""The terms of steps: kept on the device, read together, added up and guarded on the host.

Reading a number from a GPU waits for all that it was asked to compute before, and leaves it idle
until it is asked again. So what is read of a step, or of several, is one array.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import median

import torch
from torch import Tensor

from dskd_core.config import TrainingConfig
from dskd_core.errors import DataError
from dskd_core.training.loop.schedule import Step

Row = dict[str, float]

_REMEMBERED_STEPS = 50
_ALWAYS = ("loss", "ce", "kl", "state_mse", "kd_gradient")
_PAIRS = ("n_active", "n_negatives")
_OF_SENSES = ("positive", "negative", *_PAIRS, "positive_gradient", "negative_gradient")
_NAMES = _ALWAYS + _OF_SENSES


@dataclass(frozen=True)
class Taken:
    """A step that was taken, whose terms are still on the device.

    Attributes:
        number: of the step.
        step: its windows, on all ranks.
        rate: its learning rate.
        names: of the terms.
        values: [n_accumulated * n_terms + 1] float64, the terms of this rank's micro-batches, zeros
            where there are fewer, and last the norm of the gradient of all ranks.
    """

    number: int
    step: Step
    rate: float
    names: tuple[str, ...]
    values: Tensor

    @classmethod
    def from_micro_batches(
        cls,
        number: int,
        step: Step,
        rate: float,
        micro_batches: Sequence[Mapping[str, Tensor]],
        norm: Tensor,
        *,
        n_accumulated: int,
        extra: Sequence[str] = (),
    ) -> "Taken":
        """Put the terms of the micro-batches of a step one after the other, where they are."""
        names = (*_NAMES, *extra)
        none = norm.new_zeros((n_accumulated - len(micro_batches)) * len(names))
        zero = norm.new_zeros(())
        terms = [terms.get(name, zero) for terms in micro_batches for name in names]
        pieces = [torch.stack(terms)] if terms else []
        return cls(number, step, rate, names, torch.cat([*pieces, none, norm[None]]).double())

    def row(self, values: Sequence[Sequence[float]]) -> Row:
        """Return the terms as logged."""
        has_senses = bool(self.step.n_chosen)
        names = [name for name in self.names if has_senses or name not in (*_OF_SENSES, "ranking")]
        ranks = [_added_up(one[:-1], self.names, names) for one in values]
        terms = reduce(added, ranks) | {"grad_norm": values[0][-1], "lr": self.rate}
        if not self.step.n_chosen:
            return terms
        active = terms["n_active"] / max(1.0, terms["n_negatives"])
        return {n: v for n, v in terms.items() if n not in _PAIRS} | {"active_share": active}


def _added_up(values: Sequence[float], every: Sequence[str], names: Sequence[str]) -> Row:
    """Return some terms of one rank, of every one there is: the sums over its micro-batches."""
    terms = dict.fromkeys(names, 0.0)
    for start in range(0, len(values), len(every)):
        found = dict(zip(every, values[start : start + len(every)], strict=True))
        terms = added(terms, {name: found[name] for name in names})
    return terms


def added(terms: Row, more: Row) -> Row:
    """Add the terms of another micro-batch or rank; norms of gradients add in squares.

    >>> added({"ce": 1.0, "kd_gradient": 3.0}, {"ce": 0.5, "kd_gradient": 4.0})
    {'ce': 1.5, 'kd_gradient': 5.0}
    """
    return {
        name: math.hypot(terms.get(name, 0.0), more.get(name, 0.0))
        if name.endswith("_gradient")
        else terms.get(name, 0.0) + more.get(name, 0.0)
        for name in terms | more
    }


def check_terms(
    number: int, step: Step, terms: Row, history: Sequence[Row], config: TrainingConfig
) -> None:
    """Refuse a step whose terms are no numbers, or whose loss is far above the recent ones.

    Far is ``config.max_loss_growth`` times the median loss of the last 50 steps.

    Raises:
        DataError: naming step, windows and terms.
    """
    cure = (
        f"lower training.learning_rate ({config.learning_rate}) and run again: the last "
        "checkpoint is kept."
    )
    what = f"Step {number} gave {terms} on the windows {list(step.windows)}"
    if not all(map(math.isfinite, terms.values())):
        raise DataError(f"{what}; {cure}")
    recent = [row["loss"] for row in history[-_REMEMBERED_STEPS:]]
    usual = median(recent) if recent else math.inf
    if 0.0 < config.max_loss_growth * usual < terms["loss"]:
        raise DataError(
            f"{what}: a loss above {config.max_loss_growth:g} times (training.max_loss_growth) the "
            f"median of the last {len(recent)} steps, {usual:.4g}; {cure}"
        )
