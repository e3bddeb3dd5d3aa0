"""How often training showed a token as the next one, and CE apart by that.

What a lexicon may add is what the data does not show: the rare words. A mean over all positions is
that of the frequent ones.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.corpus.store import Windows, load_windows
from dskd_core.evaluation.heldout.metrics import Metric
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.capture import sample_windows
from dskd_core.training.activations.layout import SHARD

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """Tokens that are the next one so many times in the training data.

    Attributes:
        name: in records and columns.
        title: for people.
        least: fewest times; the next band's least is one more than the most of this one.
    """

    name: str
    title: str
    least: int

    @property
    def metric(self) -> Metric:
        """CE at the positions whose next token is of the band."""
        columns = f"ce_{self.name}", f"n_{self.name}"
        title = f"CE, next token {self.title}"
        return Metric(columns[0], title, *columns, "lower", unit="nats")


BANDS = (
    Band("unseen", "unseen", 0),
    Band("1_to_10", "seen 1 to 10 times", 1),
    Band("11_to_100", "seen 11 to 100 times", 11),
    Band("over_100", "seen more often", 101),
)
"""From the rarest on."""
FREQUENCY_METRICS = tuple(band.metric for band in BANDS)
_LEAST = np.array([band.least for band in BANDS])


def count_trained_labels(store: ArtifactStore, activations: Artifact, n_tokens: int) -> Counts:
    """Count how often each token is the next one in the windows that training reads.

    All windows to train on are counted once, whatever the epochs and the seed. Online, where the
    activations hold a sample of them, they are read from the text.

    Returns:
        [n_tokens] int64.

    Raises:
        ArtifactError: if the shards, or the text of online activations, are gone.
    """
    record, counts = activations.record, np.zeros(n_tokens, dtype=np.int64)
    if record.config["mode"] == "online":
        text = store.get(record.report["text"]["stage"], record.inputs["text"])
        windows, budget = load_windows(text), record.config["max_train_tokens"]
        chosen = sample_windows(windows, heldout=False, budget=budget)
        return counts + np.bincount(next_tokens_of(windows, chosen), minlength=n_tokens)
    for shard in store.shards_of(activations):
        group = shard.group(SHARD)
        labels, heldout = get_array(group, "labels"), get_array(group, "heldout")
        is_trained = np.repeat(~heldout, np.diff(get_array(group, "offsets")))
        counts += np.bincount(labels[is_trained & (labels >= 0)], minlength=n_tokens)
    return counts


def next_tokens_of(windows: Windows, chosen: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the next tokens of all positions of some windows that have one, window by window."""
    is_chosen = np.zeros(windows.n_windows, dtype=bool)
    is_chosen[chosen] = True
    inside = np.repeat(is_chosen, windows.lengths)[:-1]
    document = np.repeat(windows.documents, windows.lengths)
    return np.asarray(windows.token_ids[1:][inside & (document[1:] == document[:-1])])


def band_sums(
    labels: NDArray[np.int64], ce: NDArray[np.floating], counts: Counts
) -> dict[str, float]:
    """Return positions and sum of CE of each band, by column.

    >>> found = band_sums(np.array([0, 1, 1]), np.array([4.0, 2.0, 1.0]), np.array([0, 7]))
    >>> found["n_unseen"], found["ce_unseen"], found["n_1_to_10"], found["ce_1_to_10"]
    (1, 4.0, 2, 3.0)

    Args:
        labels: [n], next tokens.
        ce: [n], nats.
        counts: [n_tokens], of the training data.
    """
    band = bands_of(labels, counts)
    numbers = np.bincount(band, minlength=len(BANDS))
    sums = np.bincount(band, weights=ce, minlength=len(BANDS))
    found: dict[str, float] = {}
    for metric, n, total in zip(FREQUENCY_METRICS, numbers, sums, strict=True):
        found |= {metric.count: int(n), metric.total: float(total)}
    return found


def bands_of(labels: NDArray[np.int64], counts: Counts) -> NDArray[np.intp]:
    """Return the number of the band of each label, [n].

    >>> bands_of(np.arange(6), np.array([0, 1, 10, 11, 100, 101])).tolist()
    [0, 1, 1, 2, 2, 3]
    """
    return np.searchsorted(_LEAST, counts[labels], side="right") - 1


def with_training_counts(positions: pa.Table, counts: Counts) -> pa.Table:
    """Return a table of positions with the count of each next token in the training data."""
    seen = counts[positions["label"].to_numpy()]
    return positions.append_column("n_in_training", pa.array(seen, pa.int64()))
