"""Whether k per token under a price beats fixed k at the same bytes, on real embeddings.

    python -m benchmarks.adaptive_k [--root work/artifacts] [--tokens 600] [--senses 5]
                                    [--wordnet FOLDER]

Three sets of tokens, and a fourth where a WordNet folder is given. ``tokens``: an even sample of
the inventory as it is. ``pseudo_words``: the embeddings of several different tokens put together as
if they were one, a stand-in for sense-tagged text that needs none: the token a row truly has is its
sense. Their number of senses is uneven, as it is among words (1 with probability 1/2, 2 with 1/4,
... at most 8).
``pseudo_pairs``: every one made of two tokens, where a variable k has nothing to win.
``wordnet``: tokens that are words with sense-tagged sentences, WordNet's own examples. Their senses
are clusters of the inventory's rows as ever; the states of the sentences, which no cluster has
seen, go to the nearest, and purity and V-measure are of those.

Every criterion has the budget that fixed k takes on the same set. They are

    inertia      minimise the sum of inertia_t(k); what ``choice: adaptive`` does
    occurrences  the same, weighted by a token's occurrences over its rows
    mean         the inertia divided by the rows, so that every token counts alike
    log          rows * log inertia, the likelihood of spherical clusters of the token's own width
    silhouette   maximise the mean silhouette (from at most 200 rows a token)

The last line is JSON: for each set and criterion inertia (weighted by occurrences, over that of
fixed k, purity and its mean over pseudo-words, each with what fixed k has, and bytes over fixed
k's. Purity is the share of rows whose cluster has their sense as its most frequent one. Of tagged
sentences also: the mean V-measure of words, and the difference of purities with its 95 % bootstrap
interval over words. Purity rises with k, and is high by itself where a word has few sentences.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from dskd_core.config import SensesConfig, TeacherConfig
from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.precision import resolved_senses
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings.readers import Embeddings, load_embeddings
from dskd_core.evaluation.comparison.statistics import compare as paired
from dskd_core.evaluation.word_senses.items import Context, Dirt
from dskd_core.evaluation.word_senses.measures import nearest, v_measure
from dskd_core.evaluation.word_senses.states import word_states
from dskd_core.evaluation.word_senses.wordnet import shown_once
from dskd_core.senses.kmeans import Clustering, cluster
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.words.spelling import spell

Points = list[NDArray[np.float32]]
Table = NDArray[np.float64]
Sampled = tuple[Points, list[NDArray[np.int64]], NDArray[np.int64], Points | None]
_SILHOUETTE_ROWS = 200
_HALVINGS = 60


@dataclass(frozen=True)
class Curves:
    """What every k from 1 up makes of every token: all [t, max] but the first two, [t].

    Attributes:
        n_rows: rows of each token.
        occurrences: of each token in the corpus.
        senses: senses there are at each k, at most k.
        inertia: sum of squared distances.
        silhouette: mean silhouette, 0 at k = 1.
        pure: rows whose sense is the commonest of their cluster.
        v: V-measure of the clusters.
        n_tagged: [t], rows with a sense to compare with, those that ``pure`` counts; 0 if none.
    """

    n_rows: Table
    occurrences: Table
    senses: Table
    inertia: Table
    silhouette: Table
    pure: Table
    v: Table
    n_tagged: Table


CRITERIA: dict[str, Callable[[Curves], Table]] = {
    "inertia": lambda c: c.inertia,
    "occurrences": lambda c: c.inertia * (c.occurrences / c.n_rows)[:, None],
    "mean": lambda c: c.inertia / c.n_rows[:, None],
    "log": lambda c: c.n_rows[:, None] * np.log(c.inertia + 1e-3 * c.inertia[:, :1] + 1e-9),
    "silhouette": lambda c: -c.silhouette,
}


def even_sample(reader: Embeddings, n_tokens: int) -> list[int]:
    """Return slots of tokens with two rows or more, evenly spread over their counts."""
    order = np.lexsort((reader.tokens, -reader.n_rows))
    order = order[reader.n_rows[order] > 1]
    return [int(i) for i in order[np.linspace(0, len(order) - 1, n_tokens).astype(int)]]


def pseudo_words(
    reader: Embeddings, n_words: int, sizes: Callable[[np.random.Generator], int]
) -> tuple[Points, list[NDArray[np.int64]]]:
    """Return rows of pseudo-words and the true token of each row.

    Tokens have at least 20 rows, and give at most 300; each is in one pseudo-word only.
    """
    rng = np.random.default_rng(0)
    free = rng.permutation(np.flatnonzero(reader.n_rows >= 20)).tolist()
    points: Points = []
    tags: list[NDArray[np.int64]] = []
    while len(points) < n_words and len(free) >= 8:
        own = [free.pop() for _ in range(sizes(rng))]
        parts = [reader.read(i, i + 1).states[:300] for i in own]
        points.append(np.concatenate(parts))
        tags.append(np.repeat(np.arange(len(own)), [len(p) for p in parts]))
    return points, tags


def wordnet_words(
    reader: Embeddings, store: ArtifactStore, folder: str, n_words: int
) -> tuple[list[int], Points, list[NDArray[np.int64]]]:
    """Return slots of tokens that are words, the states of their tagged sentences, and the tags.

    Words of one token with two rows or more in the inventory and sentences of two synsets or more,
    as they are and not inflected, so that the state is that before the very token; the words of
    most sentences. A state is the teacher's, of the kind the inventory's key files.
    """
    teacher = store.get("teacher", reader.artifact.record.inputs["teacher"])
    tokenizer = load_tokenizer(teacher.folder())
    senses: dict[str, list[tuple[Context, str]]] = {}
    for example in shown_once(folder, Dirt()):
        context = example.context
        if context.text[context.start : context.stop] == context.word:
            senses.setdefault(context.word, []).append((context, example.sense))
    slot_of = {int(t): i for i, t in enumerate(reader.tokens) if reader.n_rows[i] > 1}
    ids = dict(spell(tokenizer, sorted(senses)))
    words = [
        (slot_of[own[0]], senses[word])
        for word, own in ids.items()
        if own and len(own) == 1 and own[0] in slot_of and len({s for _, s in senses[word]}) > 1
    ]
    words = sorted(words, key=lambda w: (-len(w[1]), w[0]))[:n_words]
    states = word_states(
        load_teacher(teacher, TeacherConfig()),
        tokenizer,
        [context for _, own in words for context, _ in own],
        place="at" if reader.key == "input" else "before",
        batch_tokens=4096,
    )
    bounds = np.cumsum([len(own) for _, own in words])[:-1]
    tags = [np.unique([s for _, s in own], return_inverse=True)[1] for _, own in words]
    return [slot for slot, _ in words], np.split(states, bounds), tags


def n_pure(labels: NDArray[np.int32], tags: NDArray[np.int64]) -> int:
    """Return how many rows have the commonest tag of their cluster.

    >>> n_pure(np.array([0, 0, 0, 1]), np.array([5, 5, 2, 2]))
    3
    """
    together = np.unique(np.stack([labels, tags]), axis=1, return_counts=True)
    most: dict[int, int] = {}
    for label, count in zip(together[0][0].tolist(), together[1].tolist(), strict=True):
        most[label] = max(most.get(label, 0), count)
    return sum(most.values())


def silhouette(rows: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Return the mean silhouette of at most 200 evenly spaced rows; 0 where it is not defined."""
    from sklearn.metrics import silhouette_score

    few = np.linspace(0, len(rows) - 1, min(len(rows), _SILHOUETTE_ROWS)).astype(int)
    if not 2 <= len(np.unique(labels[few])) < len(few):
        return 0.0
    return float(silhouette_score(rows[few], labels[few]))


def curves_of(
    points: Points,
    tags: list[NDArray[np.int64]],
    occurrences: NDArray[np.int64],
    max_senses: int,
    n_restarts: int,
    tagged: Points | None = None,
) -> Curves:
    """Cluster every token at every k.

    Args:
        points: rows of each token.
        tags: senses of its rows, or of the rows of ``tagged``.
        occurrences: of each token.
        max_senses: largest k.
        n_restarts: of k-means.
        tagged: rows with known senses that are put to the nearest centroid; none if ``points``
            have the senses themselves.
    """
    columns: dict[str, list[list[float]]] = {
        name: [] for name in ("senses", "inertia", "silhouette", "pure", "v")
    }
    for k in range(1, max_senses + 1):
        found: list[Clustering] = cluster(
            points,
            range(len(points)),
            SensesConfig(n_senses=k, n_restarts=n_restarts, device="cpu"),
        )
        columns["senses"].append([len(c.counts) for c in found])
        columns["inertia"].append([c.inertia for c in found])
        columns["silhouette"].append(
            [silhouette(p, c.labels) for p, c in zip(points, found, strict=True)]
        )
        labels = [c.labels for c in found]
        if tagged:
            labels = [nearest(s, c.centroids) for s, c in zip(tagged, found, strict=True)]
        columns["pure"].append([n_pure(own, t) for own, t in zip(labels, tags, strict=True)])
        columns["v"].append([v_measure(own, t) for own, t in zip(labels, tags, strict=True)])
    tables = {name: np.array(column, dtype=np.float64).T for name, column in columns.items()}
    n_rows = np.array([len(p) for p in points], dtype=np.float64)
    there = any(len(np.unique(t)) > 1 for t in tags)
    n_tagged = np.array([len(t) * there for t in tags], dtype=np.float64)
    return Curves(n_rows, occurrences.astype(np.float64), **tables, n_tagged=n_tagged)


def allocate(loss: Table, senses: Table, budget: float) -> NDArray[np.int64]:
    """Return the column of each row that gives the least loss within a budget of senses.

    By one price for all, the least that keeps the budget; a little of it may remain.
    """
    rows = np.arange(len(loss))

    def chosen(price: float) -> NDArray[np.int64]:
        return np.asarray((loss + price * senses).argmin(1))

    low, high = 0.0, float(np.ptp(loss, axis=1).max()) + 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = senses[rows, chosen(middle)].sum() <= budget
        low, high = (low, middle) if inside else (middle, high)
    return chosen(high)


def figures(curves: Curves, k: NDArray[np.int64], n_fixed: int) -> dict[str, float]:
    """Return what a choice of columns gives, beside fixed k."""
    rows, fixed = np.arange(len(k)), np.full(len(k), n_fixed - 1)
    weight = curves.occurrences / curves.n_rows
    report: dict[str, float] = {
        "bytes": float(curves.senses[rows, k].sum() / curves.senses[rows, fixed].sum()),
        "inertia": float(
            (curves.inertia[rows, k] * weight).sum() / (curves.inertia[rows, fixed] * weight).sum()
        ),
        "tokens_with_one_sense": float((curves.senses[rows, k] == 1).mean()),
        "tokens_with_more_inertia": float((k < fixed).mean()),
    }
    if not curves.n_tagged.sum():
        return {name: round(value, 4) for name, value in report.items()}
    for name, columns in (("", k), ("fixed_", fixed)):
        pure = curves.pure[rows, columns]
        report[f"{name}purity"] = float(pure.sum() / curves.n_tagged.sum())
        report[f"{name}mean_purity"] = float((pure / curves.n_tagged).mean())
        report[f"{name}v_measure"] = float(curves.v[rows, columns].mean())
    gap = paired(curves.pure[rows, k][None], curves.pure[rows, fixed][None], curves.n_tagged)
    report |= {"purity_gain": gap.difference, "gain_low": gap.low, "gain_high": gap.high}
    return {name: round(value, 4) for name, value in report.items()}


def compare(curves: Curves, n_fixed: int) -> dict[str, dict[str, float]]:
    """Give every criterion the bytes of fixed k."""
    budget = float(curves.senses[:, n_fixed - 1].sum())
    report = {}
    for name, loss_of in CRITERIA.items():
        k = allocate(loss_of(curves), curves.senses, budget)
        report[name] = figures(curves, k, n_fixed)
        print(f"  {name:12} " + "  ".join(f"{n} {v:.4f}" for n, v in report[name].items()))
    return report


def main() -> None:
    """Run the ablation and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="work/artifacts")
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--senses", type=int, default=5)
    parser.add_argument("--max-senses", type=int, default=12)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--wordnet", help="a folder with data.noun and the others")
    parser.add_argument("--only", help="one set of tokens")
    options = parser.parse_args()
    store = ArtifactStore(options.root)
    found = store.of_stage("embeddings")
    if not found:
        parser.error(f"no embeddings under {options.root}; run the pipeline first or give --root")
    reader = load_embeddings(found[-1], store)
    index = found[-1].group("index.zarr")
    n_occurrences = np.asarray(index["n_occurrences"]) if "n_occurrences" in index else None
    whole = reader.n_rows if n_occurrences is None else n_occurrences

    def tokens() -> Sampled:
        slots = even_sample(reader, options.tokens)
        points = [reader.read(i, i + 1).states for i in slots]
        return points, [np.zeros(len(p), int) for p in points], whole[slots], None

    def pseudo(sizes: Callable[[np.random.Generator], int]) -> Sampled:
        points, tags = pseudo_words(reader, options.words, sizes)
        return points, tags, np.array([len(p) for p in points]), None

    def wordnet() -> Sampled:
        slots, tagged, tags = wordnet_words(reader, store, options.wordnet, options.words)
        return [reader.read(i, i + 1).states for i in slots], tags, whole[slots], tagged

    sets: dict[str, Callable[[], Sampled]] = {
        "tokens": tokens,
        "pseudo_words": lambda: pseudo(lambda rng: min(8, int(rng.geometric(0.5)))),
        "pseudo_pairs": lambda: pseudo(lambda rng: 2),
    }
    if options.wordnet:
        sets["wordnet"] = wordnet
    precision = resolved_senses(SensesConfig(device="cpu")).coarse_dtype
    report: dict[str, object] = machine(precision=precision) | {
        "senses": options.senses,
        "max_senses": options.max_senses,
    }
    for name in [options.only] if options.only else sets:
        rows, tags, occurrences, tagged = sets[name]()
        print(f"{name}: {len(rows)} with {sum(map(len, rows)):,} real embeddings")
        curves = curves_of(rows, tags, occurrences, options.max_senses, options.restarts, tagged)
        report[name] = compare(curves, options.senses)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
