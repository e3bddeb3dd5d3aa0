"""What storing embeddings in 8 bits changes of the senses, on the embeddings of a run.

    python -m benchmarks.int8_states [--root work/artifacts] [--tokens 40] [--senses 5]

Reads the commonest tokens of the newest ``embeddings`` artifact under ``--root``, which are stored
in 16 bits or more, puts them into 8 bits as ``state_dtype: int8`` does, with a scale for every 64
values of a row, and clusters both. The peer is the same k-means on the states as they were stored.

The last line is JSON, over all tokens: ``centroid_error``, the mean distance between a centroid and
the mean of the same rows in 8 bits over the mean distance of a row to its centroid;
``same_assignments``, the share of rows whose nearest centroid stays the same when the row is in 8
bits; ``same_clusters``, the share of rows that a k-means run anew on 8 bits puts in the same
cluster, clusters matched; ``inertia_ratio``, of these senses on the exact rows over the others'
(k-means stops at another local optimum when its rows move by little, so clusters differ where
inertia does not); and ``bytes_ratio``. Goals: an error of at most 0.5 %, 99 % the same assignments.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.kmeans import embeddings_under
from benchmarks.machine import machine
from dskd_core.config import SensesConfig
from dskd_core.decoder.states import dequantise_states, quantise_states
from dskd_core.senses.kmeans import Clustering, cluster

GOALS = {"centroid_error": ("<=", 0.005), "same_assignments": (">=", 0.99)}
Rows = NDArray[np.float32]


def distances(rows: Rows, centroids: Rows) -> Rows:
    """Return the distance of every row to every centroid, [n, k]."""
    return np.linalg.norm(rows[:, None] - centroids[None], axis=2)


def same_cluster(one: Clustering, other: Clustering) -> int:
    """Count the rows that two clusterings put together, their clusters matched."""
    both = np.zeros((len(one.counts), len(other.counts)), dtype=np.int64)
    np.add.at(both, (one.labels, other.labels), 1)
    return int(both[linear_sum_assignment(-both)].sum())


def inertia(rows: Rows, labels: NDArray[np.int32]) -> float:
    """Return the sum of squared distances of rows to the mean of their cluster."""
    return sum(
        float(((rows[labels == k] - rows[labels == k].mean(axis=0)) ** 2).sum())
        for k in np.unique(labels)
    )


def compare(rows: Rows, exact: Clustering, rough: Rows, again: Clustering) -> dict[str, float]:
    """Return sums over one token's rows and centroids."""
    means = np.stack([rough[exact.labels == k].mean(axis=0) for k in range(len(exact.counts))])
    nearest = distances(rows, exact.centroids)
    return {
        "rows": len(rows),
        "centroids": len(means),
        "moved": float(np.linalg.norm(means - exact.centroids, axis=1).sum()),
        "distance": float(nearest.min(axis=1).sum()),
        "assigned": int((distances(rough, exact.centroids).argmin(1) == nearest.argmin(1)).sum()),
        "clustered": same_cluster(exact, again),
        "inertia": inertia(rows, exact.labels),
        "inertia_again": inertia(rows, again.labels),
    }


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="work/artifacts")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--senses", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, Any] = dict(machine())
    points = embeddings_under(options.root, options.tokens, 4 * options.senses, whole=True)
    if not points:
        raise SystemExit(f"There are no embeddings under {Path(options.root)}; do make run first.")
    packed = [quantise_states(torch.from_numpy(rows)) for rows in points]
    rough = [dequantise_states(*one) for one in packed]
    ids = range(len(points))
    exact, again = (
        cluster(each, ids, SensesConfig(n_senses=options.senses)) for each in (points, rough)
    )
    every = [compare(*one) for one in zip(points, exact, rough, again, strict=True)]
    total = {name: sum(one[name] for one in every) for name in every[0]}
    found |= {
        "tokens": len(points),
        "rows": int(total["rows"]),
        "width": points[0].shape[1],
        "centroid_error": (total["moved"] / total["centroids"])
        / (total["distance"] / total["rows"]),
        "same_assignments": total["assigned"] / total["rows"],
        "same_clusters": total["clustered"] / total["rows"],
        "inertia_ratio": total["inertia_again"] / total["inertia"],
        "bytes_ratio": sum(a.nbytes for one in packed for a in one)
        / sum(p.nbytes / 2 for p in points),
    }
    found = {k: round(v, 6) if isinstance(v, float) else v for k, v in found.items()}
    for name, (sign, goal) in GOALS.items():
        print(f"{name}: {found[name]}, goal {sign} {goal}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
