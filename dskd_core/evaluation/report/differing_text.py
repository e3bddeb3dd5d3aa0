"""The held-out text on which two arms differ most, token by token."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.evaluation.heldout.store import POSITIONS
from dskd_core.evaluation.report.page import Excerpt, Mark
from dskd_core.store.artifacts import Artifact

MIN_GAP = 0.5
"""Nats by which the cross-entropy of a token must differ for it to be marked."""
N_SHOWN = 10
_N_TOKENS = 64


def differing_windows(
    arm: Sequence[Artifact],
    baseline: Sequence[Artifact],
    names: tuple[str, str],
    tokenizer: Tokenizer,
) -> tuple[Excerpt, ...]:
    """Return the windows whose mean CE differs most, either way, the largest difference first.

    Of each the run of 64 tokens that differs most is shown. A token is marked where the mean over
    seeds of its CE differs by half a nat or more. Both arms have a score for each of the same
    seeds.

    Returns:
        Nothing where the scores were written without positions.
    """
    if any(POSITIONS not in score.record.files for score in (*arm, *baseline)):
        return ()
    mine, theirs = ([score.table(POSITIONS) for score in scores] for scores in (arm, baseline))
    windows, labels = (mine[0][name].to_numpy() for name in ("window", "label"))
    ce = [np.mean([t["ce"].to_numpy() for t in tables], axis=0) for tables in (mine, theirs)]
    gaps = np.asarray(ce[0] - ce[1], dtype=np.float64)
    found, starts, counts = np.unique(windows, return_index=True, return_counts=True)
    means = np.add.reduceat(gaps, starts) / counts
    order = np.lexsort((found, -np.abs(means)))[:N_SHOWN]
    excerpts = []
    for place in order:
        rows = slice(int(starts[place]), int(starts[place] + counts[place]))
        level = [float(values[rows].mean()) for values in ce]
        first = rows.start + _start_of_largest_difference(gaps[rows])
        here = slice(first, min(first + _N_TOKENS, rows.stop))
        title = (
            f"Window {found[place]}, {counts[place]} tokens: CE {level[0]:.3f} with {names[0]}, "
            f"{level[1]:.3f} with {names[1]} ({level[0] - level[1]:+.3f})."
        ).replace("-", "−")
        spans = _strip_start(mark_tokens(tokenizer, labels[here], gaps[here]))
        largest = here.start + int(np.abs(gaps[here]).argmax())
        note = _note(tokenizer, (mine[0], theirs[0]), largest, names, (ce[0], ce[1]))
        excerpts.append(Excerpt(title, spans, note))
    return tuple(excerpts)


def _start_of_largest_difference(gaps: NDArray[np.float64]) -> int:
    """Return where the run of tokens starts whose difference is largest in magnitude."""
    n = min(_N_TOKENS, len(gaps))
    sums = np.convolve(gaps, np.ones(n), "valid")
    return int(np.abs(sums).argmax())


def mark_tokens(
    tokenizer: Tokenizer, labels: NDArray[np.integer], gaps: NDArray[np.float64]
) -> tuple[tuple[str, Mark], ...]:
    """Return the text of some tokens, those marked whose gap is half a nat or more.

    Several tokens may make one letter; then they are marked together.

    Args:
        tokenizer: of the labels.
        labels: [n], token ids in order.
        gaps: [n], an arm's CE minus the baseline's.
    """
    ids = [int(label) for label in labels]
    whole = tokenizer.decode(ids)
    spans: list[tuple[str, Mark]] = []
    n_shown, pending = 0, 0.0
    for n_read in range(1, len(ids) + 1):
        gap = float(gaps[n_read - 1])
        pending = max(pending, gap, key=abs)
        text = tokenizer.decode(ids[:n_read])
        if not whole.startswith(text):
            continue
        mark: Mark = "" if abs(pending) < MIN_GAP else "better" if pending < 0 else "worse"
        if spans and spans[-1][1] == mark == "":
            spans[-1] = (spans[-1][0] + text[n_shown:], mark)
        elif text[n_shown:]:
            spans.append((text[n_shown:], mark))
        n_shown, pending = len(text), 0.0
    if whole[n_shown:]:
        spans.append((whole[n_shown:], ""))
    return tuple(spans)


def _strip_start(spans: tuple[tuple[str, Mark], ...]) -> tuple[tuple[str, Mark], ...]:
    return tuple((text.lstrip() if not n else text, mark) for n, (text, mark) in enumerate(spans))


def _note(
    tokenizer: Tokenizer,
    tables: tuple[pa.Table, pa.Table],
    row: int,
    names: tuple[str, str],
    ce: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> str:
    label = tokenizer.decode([int(tables[0]["label"][row].as_py())])
    said = [tokenizer.decode([int(table["predicted"][row].as_py())]) for table in tables]
    parts = [
        f"{name} {float(values[row]):.2f} nats (its first seed predicts “{text.strip()}”)"
        for name, values, text in zip(names, ce, said, strict=True)
    ]
    return f"Largest difference at “{label.strip()}”: {', '.join(parts)}."
