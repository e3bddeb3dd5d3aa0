"""k-means by scikit-learn, one token at a time: the reference the other backends are held to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def assign(
    points: Sequence[NDArray[np.float32]],
    token_ids: Sequence[int],
    *,
    n_senses: int,
    n_restarts: int,
    max_iterations: int,
    seed: int,
    device: str,
    coarse_dtype: str,
    batch_bytes: int,
) -> list[NDArray[np.int32]]:
    """Return the cluster of every row of every token, int32 [n_i] each.

    It runs on the CPU whatever ``device`` says and has no coarse rounds; it holds one token beside
    the input, so ``batch_bytes`` plays no part.
    """
    from sklearn.cluster import KMeans

    labels = []
    for rows, token_id in zip(points, token_ids, strict=True):
        state = int(np.random.SeedSequence([seed, token_id]).generate_state(1)[0])
        model = KMeans(
            n_clusters=n_senses, n_init=n_restarts, max_iter=max_iterations, random_state=state
        )
        labels.append(model.fit(rows).labels_.astype(np.int32))
    return labels
