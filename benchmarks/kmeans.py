"""How fast the torch backend clusters a token, against scikit-learn and faiss.

    python -m benchmarks.kmeans [--root work/artifacts] [--states FILE.npz] [--tokens 8]

Points are the embeddings of the commonest tokens of the newest ``embeddings`` artifact under
``--root``, or the float16 arrays of an .npz file; without either they are a synthetic mixture with
the width and the count of SmolLM2's, and the report says so. All run n_init = 10 restarts with
k = 10. The last line is JSON: speedup_vs_sklearn, inertia_ratio (the torch backend's total over
scikit-learn's), speedup_vs_faiss (null where faiss is not installed), processor and precision (of
the coarse rounds); every time is per token. Goals: 20 times scikit-learn where bfloat16 is native,
10 elsewhere; twice faiss; an inertia of at most 1.002 times scikit-learn's.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from dskd_core.config import SensesConfig
from dskd_core.decoder.precision import resolved_senses
from dskd_core.senses.kmeans import Clustering, cluster
from dskd_core.store.artifacts import ArtifactStore

Points = list[NDArray[np.float32]]


def embeddings_under(root: str, n_tokens: int, n_rows: int, *, whole: bool = False) -> Points:
    """Return rows of the commonest tokens of the newest embeddings under a root; [] if none.

    Tokens have ``n_rows`` at least, and as many are taken of each unless all are wanted.
    """
    from dskd_core.embeddings.readers import load_embeddings

    store = ArtifactStore(root)
    found = store.of_stage("embeddings") if Path(root).exists() else []
    if not found:
        return []
    reader = load_embeddings(found[-1], store)
    common = np.argsort(-reader.n_rows, kind="stable")[:n_tokens]
    enough = sorted(int(i) for i in common if reader.n_rows[i] >= n_rows)
    every = [reader.read(i, i + 1).states for i in enough]
    return every if whole else [states[:n_rows] for states in every]


def mixture(n_tokens: int, n_rows: int, d: int = 576) -> Points:
    """Return a stand-in for embeddings: uneven clusters in a space of falling variances."""
    points = []
    for token in range(n_tokens):
        rng = np.random.default_rng(token)
        spread = 3.0 * np.arange(1, d + 1) ** -0.4
        which = rng.choice(14, n_rows, p=rng.dirichlet(np.ones(14)))
        rows = rng.normal(size=(14, d))[which] + rng.normal(size=(n_rows, d))
        points.append((spread * rows).astype(np.float16).astype(np.float32))
    return points


def timed(run: Callable[[], Any], n_tokens: int, repeats: int) -> tuple[float, Any]:
    """Return the least seconds per token of some runs, and what the last gave."""
    seconds, result = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        result = run()
        seconds.append((time.perf_counter() - started) / n_tokens)
    return min(seconds), result


def faiss_inertia(points: Points, n_senses: int) -> float | None:
    """Cluster with faiss and return the sum of its objectives; None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    total = 0.0
    for rows in points:
        model = faiss.Kmeans(rows.shape[1], n_senses, niter=25, nredo=10, seed=0)
        total += float(model.train(rows))
    return total


def inertia_of(found: list[Clustering]) -> float:
    """Return the sum of the tokens' inertia."""
    return sum(c.inertia for c in found)


def measure(points: Points, n_senses: int) -> dict[str, float | None]:
    """Time the backends on the same points."""
    ids = range(len(points))

    def ours() -> list[Clustering]:
        return cluster(points, ids, SensesConfig(n_senses=n_senses, device="cpu"))

    def reference() -> list[Clustering]:
        return cluster(
            points, ids, SensesConfig(n_senses=n_senses, backend="sklearn", max_iterations=300)
        )

    cluster(points[:1], [0], SensesConfig(n_senses=n_senses, device="cpu"))
    torch_seconds, found = timed(ours, len(points), 3)
    sklearn_seconds, wanted = timed(reference, len(points), 1)
    faiss_seconds, objective = timed(lambda: faiss_inertia(points, n_senses), len(points), 1)
    ratios = [a.inertia / b.inertia for a, b in zip(found, wanted, strict=True)]
    print(f"torch    {torch_seconds:.4f} s a token")
    print(f"sklearn  {sklearn_seconds:.4f} s a token")
    print(f"inertia  per token {min(ratios):.5f} to {max(ratios):.5f} of scikit-learn's")
    if objective is None:
        print("faiss    not installed")
    else:
        print(
            f"faiss    {faiss_seconds:.4f} s a token, {objective / inertia_of(wanted):.5f} inertia"
        )
    return {
        "speedup_vs_sklearn": round(sklearn_seconds / torch_seconds, 2),
        "inertia_ratio": round(inertia_of(found) / inertia_of(wanted), 6),
        "speedup_vs_faiss": None if objective is None else round(faiss_seconds / torch_seconds, 2),
    }


def verdicts(found: dict[str, float | None], precision: str) -> None:
    """Print every goal beside its figure, met or not."""
    goals = {
        "speedup_vs_sklearn": 20.0 if precision == "bfloat16" else 10.0,
        "speedup_vs_faiss": 2.0,
    }
    for name, goal in goals.items():
        value = found[name]
        missed = "not measured" if value is None else "" if value >= goal else "NOT MET"
        print(f"{name:20}{value!s:>10}   goal >= {goal:g} {missed}")
    ratio = found["inertia_ratio"] or 0.0
    print(
        f"{'inertia_ratio':20}{ratio!s:>10}   goal <= 1.002 {'' if ratio <= 1.002 else 'NOT MET'}"
    )


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="work/artifacts")
    parser.add_argument("--states", type=Path)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--senses", type=int, default=10)
    options = parser.parse_args()
    if options.states:
        with np.load(options.states) as arrays:
            rows = [arrays[name].astype(np.float32) for name in arrays.files]
        points = [p[: options.rows] for p in rows if len(p) >= options.rows][: options.tokens]
        origin = f"real embeddings of {options.states}"
    else:
        points = embeddings_under(options.root, options.tokens, options.rows)
        origin = f"real embeddings under {options.root}"
    if not points:
        points = mixture(options.tokens, options.rows)
        origin = (
            f"a SYNTHETIC mixture (no token has {options.rows} embeddings under {options.root})"
        )
    print(f"{len(points)} tokens of {points[0].shape}, k = {options.senses}: {origin}")
    on = machine("cpu", resolved_senses(SensesConfig(device="cpu")).coarse_dtype)
    found = measure(points, options.senses)
    verdicts(found, on["precision"])
    print(json.dumps(on | found))


if __name__ == "__main__":
    main()
