"""k-means by scikit-learn, one token at a time: the reference the other backends are held to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dskd_core import interruption
from dskd_core.config import SensesConfig


def assign(
    points: Sequence[NDArray[np.float32]],
    token_ids: Sequence[int],
    config: SensesConfig,
) -> list[NDArray[np.int32]]:
    """Return the cluster of every row of every token, int32 [n_i] each; on the CPU alone."""
    from sklearn.cluster import KMeans

    labels = []
    for rows, token_id in zip(points, token_ids, strict=True):
        interruption.check()
        state = int(np.random.SeedSequence([config.seed, token_id]).generate_state(1)[0])
        model = KMeans(
            n_clusters=config.n_senses,
            n_init=config.n_restarts,
            max_iter=config.max_iterations,
            random_state=state,
        )
        labels.append(model.fit(rows).labels_.astype(np.int32))
    return labels
