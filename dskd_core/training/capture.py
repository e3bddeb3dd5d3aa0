"""One pass of the teacher: what a student's training needs of it, window by window."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dskd_core.config import TrainingConfig
from dskd_core.corpus.store import Windows
from dskd_core.dictionary.store import Dictionary
from dskd_core.embeddings.batches import next_tokens, padded, plan_batches
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.embeddings.teacher import Teacher
from dskd_core.training.candidates import nearest_rows
from dskd_core.training.head import teacher_targets
from dskd_core.training.student import Shape, capturing

_BATCH_TOKENS = 4096


def captured_batches(windows: Windows, config: TrainingConfig) -> list[NDArray[np.int64]]:
    """Return batches of the windows to capture: a hash-random choice within each token budget."""
    chosen = [
        _within(windows, np.flatnonzero(windows.heldout == heldout), budget)
        for heldout, budget in (
            (False, config.max_train_tokens),
            (True, config.max_heldout_tokens),
        )
    ]
    return plan_batches(windows.lengths, np.concatenate(chosen), _BATCH_TOKENS)


def _within(windows: Windows, members: NDArray[np.int64], budget: int | None) -> NDArray[np.int64]:
    if budget is None or not len(members):
        return members
    keys = windows.document_keys[windows.documents[members]]
    order = members[np.argsort(occurrence_hashes(keys, windows.starts[members], seed=0))]
    n_fit = int(np.searchsorted(np.cumsum(windows.lengths[order]), budget, side="right"))
    return np.sort(order[: max(1, n_fit)])


@torch.inference_mode()
def capture(
    model: Teacher,
    shape: Shape,
    windows: Windows,
    batch: NDArray[np.int64],
    dictionary: Dictionary,
    config: TrainingConfig,
) -> list[dict[str, Any]]:
    """Run the teacher over one batch of windows.

    Args:
        model: the teacher.
        shape: the student's layers; the state that enters the first trainable one is kept.
        windows: the corpus.
        batch: window numbers.
        dictionary: where the nearest senses are looked up.
        config: kappa and the temperature.

    Returns:
        For each window its arrays, named as in activations.py, with ``window`` and ``heldout``.
    """
    token_rows = [windows.window(int(window)) for window in batch]
    ids = padded(token_rows, windows.prefix).to(model.device)
    with capturing(model.layers[shape.entry]) as caught:
        states = model.states(ids)
    n_prefix = len(windows.prefix)
    lengths = [n_prefix + len(row) for row in token_rows]
    flat = torch.cat([states[line, :length] for line, length in enumerate(lengths)])
    targets = teacher_targets(flat, model.head, temperature=config.temperature)
    labels = np.concatenate(
        [np.append(np.full(n_prefix, -1), next_tokens(windows, int(w))) for w in batch]
    )
    final = flat.float().cpu().numpy()
    near = nearest_rows(final, labels, dictionary, n_candidates=config.n_candidates)
    columns: dict[str, Any] = {
        "labels": labels.astype(np.int32),
        "states": flat.cpu(),
        "entering": torch.cat([caught[0][i, :n] for i, n in enumerate(lengths)]).cpu(),
        "expected": targets.expected.to(torch.float16).cpu().numpy(),
        "entropy": targets.entropy.float().cpu().numpy(),
        "predicted": targets.predicted.to(torch.int32).cpu().numpy(),
        "positives": near.positives,
        "negatives": near.negatives,
        "push": near.push,
    }
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    return [
        {name: values[bounds[i] : bounds[i + 1]] for name, values in columns.items()}
        | {"window": int(window), "heldout": bool(windows.heldout[window])}
        for i, window in enumerate(batch)
    ]
