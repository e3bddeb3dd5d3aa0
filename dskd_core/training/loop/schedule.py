"""Which windows a step takes, which of their positions count, and by how much.

All of it follows from the seed, the epoch and the window's number: so a resumed run, another
number of ranks or accumulated batches, and another arm of the objective see the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import TrainingConfig
from dskd_core.training.activations.capture import ANSWER, PROMPT, check_batch
from dskd_core.training.activations.readers import ActivationReader


@dataclass(frozen=True)
class Step:
    """The windows of a step, of a rank's part of it, or of one of its micro-batches.

    Attributes:
        windows: numbers of the windows.
        weights: for each window [n] float64, weights of its positions in CE and KL, 0 where there
            is no label.
        chosen: for each window [s] int64, its positions with L_sem.
        opposed: for each window, how many of them have antonyms; empty where nobody asks.
    """

    windows: tuple[int, ...]
    weights: tuple[NDArray[np.float64], ...]
    chosen: tuple[NDArray[np.int64], ...]
    opposed: tuple[int, ...] = ()

    @property
    def total_weight(self) -> float:
        """Sum of all positions' weights: what CE and KL are divided by; 1 where none is scored.

        So windows of one token each, which have no label, make a step of zeros.
        """
        return float(sum(weights.sum() for weights in self.weights)) or 1.0

    @property
    def n_chosen(self) -> int:
        """Positions with L_sem: what its terms are divided by."""
        return sum(len(chosen) for chosen in self.chosen)

    @property
    def n_opposed(self) -> int:
        """Positions with L_sem and antonyms: what a ranking is divided by."""
        return sum(self.opposed)

    def only(self, members: Sequence[int]) -> "Step":
        """Return the step with some of its windows only."""
        return Step(
            tuple(self.windows[i] for i in members),
            tuple(self.weights[i] for i in members),
            tuple(self.chosen[i] for i in members),
            tuple(self.opposed[i] for i in members) if self.opposed else (),
        )

    def micro_batches(self, n: int) -> list["Step"]:
        """Deal the windows out into micro-batches, as even as can be; an empty one is left out."""
        dealt = [self.only(range(i, len(self.windows), n)) for i in range(n)]
        return [micro_batch for micro_batch in dealt if micro_batch.windows]


@dataclass(frozen=True)
class Schedule:
    """All steps of a run.

    Attributes:
        config: of the training.
        activations: which windows there are, and their labels.
        related: [V] bool, tokens with synonyms or antonyms; None where nothing gets L_sem.
        sensed: [V] bool, tokens with any positives, their own senses too; None likewise.
        seed: of the run.
        opposed: [V] bool, tokens with antonyms, where a term ranks them.

    Raises:
        CapacityError: if a step takes more windows than there are.
    """

    config: TrainingConfig
    activations: ActivationReader
    related: NDArray[np.bool_] | None
    sensed: NDArray[np.bool_] | None
    seed: int
    opposed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_batch(self.config, len(self.activations.training))

    @property
    def n_steps(self) -> int:
        """Steps of the whole run, at least one."""
        n_windows = self.config.n_epochs * len(self.activations.training)
        return max(1, int(n_windows // self.config.batch_windows))

    def step(self, number: int) -> Step:
        """Return the windows of a step: a new order each epoch, fixed by the seed."""
        members, n_windows = self.activations.training, self.config.batch_windows
        places = [divmod(number * n_windows + i, len(members)) for i in range(n_windows)]
        orders = {epoch: self._order_of(epoch) for epoch in {epoch for epoch, _ in places}}
        windows = [(epoch, members[orders[epoch][i]]) for epoch, i in places]
        chosen = tuple(self.chosen(epoch, window) for epoch, window in windows)
        return Step(
            tuple(window for _, window in windows),
            tuple(self.weights(window) for _, window in windows),
            chosen,
            tuple(
                self._opposed(window, here)
                for (_, window), here in zip(windows, chosen, strict=True)
            ),
        )

    def _opposed(self, window: int, chosen: NDArray[np.int64]) -> int:
        """Count the chosen positions of a window whose next token has antonyms."""
        if self.opposed is None:
            return 0
        return int(self.opposed[self.activations.labels(window)[chosen]].sum())

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the places of all training windows in the order of an epoch.

        Blocks of ``length_sorted_steps`` steps are sorted by length, and their steps shuffled, so
        that the windows of one step are of about one length and no step knows its neighbours.
        """
        rng = np.random.default_rng((self.seed, epoch))
        order, n_windows = (
            rng.permutation(len(self.activations.training)),
            self.config.batch_windows,
        )
        if self.config.length_sorted_steps == 1:
            return order
        # The epoch's first windows may end the step that the epoch before began.
        first = -epoch * len(order) % n_windows
        for start in range(first, len(order), n_windows * self.config.length_sorted_steps):
            block = order[start : start + n_windows * self.config.length_sorted_steps]
            block = block[np.argsort(self._lengths[block], kind="stable")]
            n_whole = len(block) // n_windows
            steps = block[: n_whole * n_windows].reshape(n_whole, n_windows)
            order[start : start + steps.size] = rng.permutation(steps).ravel()
            order[start + steps.size : start + len(block)] = block[steps.size :]
        return order

    @cached_property
    def _order_of(self) -> Callable[[int], NDArray[np.int64]]:
        return lru_cache(maxsize=2)(self.order)  # a step is in two epochs at most

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return np.asarray(self.activations.lengths)

    def weights(self, window: int) -> NDArray[np.float64]:
        """Return the weight in CE and KL of each position of a window."""
        roles = self.activations.roles(window)
        weights = np.ones(len(roles))
        weights[roles == PROMPT] = self.config.prompt_weight
        weights[roles == ANSWER] = self.config.answer_weight
        weights[self.activations.labels(window) < 0] = 0.0
        return weights

    def chosen(self, epoch: int, window: int) -> NDArray[np.int64]:
        """Return the positions of a window that get L_sem in an epoch."""
        if self.related is None or self.sensed is None:
            return np.empty(0, dtype=np.int64)
        labels = self.activations.labels(window)
        eligible = self.sensed[labels] & (labels >= 0)
        if self.config.semantic_positions == "all":
            return np.flatnonzero(eligible)
        return choose_positions(
            self.related[labels],
            eligible,
            share=self.config.related_share,
            at_least=self.config.min_related,
            seed=(self.seed, epoch, window),
        )


def choose_positions(
    related: NDArray[np.bool_],
    eligible: NDArray[np.bool_],
    *,
    share: float,
    at_least: int,
    seed: tuple[int, ...],
) -> NDArray[np.int64]:
    """Return the positions of one window that get L_sem, ascending.

    max(at_least, share) of those whose next token has relations (all of them where there are
    fewer), and as many random others, which have only their own senses.

    Args:
        related: [n] bool, the next token has synonyms or antonyms.
        eligible: [n] bool, the position has a next token with any senses.
        share: of the related positions.
        at_least: fewest related positions.
        seed: whatever the choice shall depend on.
    """
    rng = np.random.default_rng(seed)
    with_relations = np.flatnonzero(related & eligible)
    others = np.flatnonzero(~related & eligible)
    n_related = min(len(with_relations), max(at_least, int(np.ceil(share * len(with_relations)))))
    n_others = min(len(others), n_related)
    chosen = (
        rng.choice(with_relations, n_related, replace=False),
        rng.choice(others, n_others, replace=False),
    )
    return np.sort(np.concatenate(chosen))
