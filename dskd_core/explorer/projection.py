"""Senses in few dimensions: principal axes, and t-SNE."""

import numpy as np
from numpy.typing import NDArray

from dskd_core.errors import CapacityError
from dskd_core.progress import Progress, silent

MAX_TSNE = 2_000
_MIN_TSNE = 5
_TSNE_PARTS, _TSNE_ITERATIONS = 4, 250
_MAX_AXES = 50


def principal_axes(
    senses: NDArray[np.float64], max_axes: int = _MAX_AXES
) -> tuple[NDArray[np.float64], float]:
    """Return the senses on their principal axes, and the share of variance on the first two.

    An axis' sign is that its largest coordinate is positive, so a picture does not flip.

    Args:
        senses: [n, d]; cost n^2 (n + d) operations.
        max_axes: at least 2.

    Returns:
        [n, 2 to max_axes], the axis of the largest variance first.
    """
    from scipy.linalg import eigh

    centred = senses - senses.mean(axis=0)
    products = centred @ centred.T
    n = len(senses)
    n_axes = min(n, max_axes)
    values, vectors = eigh(products, subset_by_index=(n - n_axes, n - 1))
    lengths = np.sqrt(np.maximum(values[::-1], 0.0))
    axes = np.zeros((n, max(2, n_axes)))
    axes[:, :n_axes] = vectors[:, ::-1] * lengths
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    axes *= np.where(largest < 0, -1.0, 1.0)
    total = float(products.trace())
    return axes, float((lengths[:2] ** 2).sum() / total) if total > 0 else 1.0


def tsne(axes: NDArray[np.float64], progress: Progress = silent) -> NDArray[np.float64]:
    """Place senses by scikit-learn's t-SNE from the first two axes, the same every time.

    scikit-learn tells nobody how far it is, so it is run in four parts of 250 iterations, each
    from where the one before ended; as in one run, neighbours are exaggerated in the first alone.

    Args:
        axes: [n, m], of :func:`principal_axes`.
        progress: told iterations.

    Returns:
        [n, 2].

    Raises:
        CapacityError: if there are more than 2,000 senses.
    """
    n = len(axes)
    if n > MAX_TSNE:
        raise CapacityError(
            f"t-SNE takes at most {MAX_TSNE:,} senses here, and these words have {n:,}; "
            "choose fewer words, or PCA."
        )
    if n < _MIN_TSNE:
        return axes[:, :2]
    from sklearn.manifold import TSNE

    flat = axes[:, :2] / max(axes[:, 0].std(), 1e-12) * 1e-4
    for part in range(_TSNE_PARTS):
        progress(part * _TSNE_ITERATIONS, _TSNE_PARTS * _TSNE_ITERATIONS, "iterations")
        run = TSNE(
            perplexity=min(30.0, (n - 1) / 4),
            early_exaggeration=1.0 if part else 12.0,
            learning_rate=max(n / 48, 50.0),
            max_iter=_TSNE_ITERATIONS,
            init=flat.astype(np.float32),
            random_state=0,
        )
        flat = run.fit_transform(axes.astype(np.float32))
    return np.asarray(flat, np.float64)
