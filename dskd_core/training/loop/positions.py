"""Which positions of a window get L_sem, fixed by the seed, the epoch and the window."""

import numpy as np
from numpy.typing import NDArray


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
