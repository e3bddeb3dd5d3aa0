"""Items of the real files, scored by us and by lm-evaluation-harness run directly on them."""

import re
import string
from collections import Counter
from pathlib import Path

import pytest

from tests.core.evaluation.benchmarks.directly import (
    TASKS,
    likelihoods_of,
    ours,
    theirs,
    write_items,
)

pytest.importorskip("lm_eval")

DATA = Path(__file__).parents[4].parent / "shared/data/benchmarks"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmarks' files are not here")
N_ITEMS = 8


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return write_items(DATA, tmp_path_factory.mktemp("real") / "items", N_ITEMS)


@pytest.fixture(scope="module")
def hflm(bench):
    from lm_eval.models.huggingface import HFLM

    folder = str(bench.folder / "teacher")
    return HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=4)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_items_of_real_files_score_as_the_harness_scores_them(
    task, settings, bench, hflm, tmp_path
):
    benchmark = settings[task] | {"n_exemplars": 1}
    rows = ours(tmp_path / "ours", bench.folder / "teacher", "float32", benchmark)
    samples, results = theirs(tmp_path / "theirs", hflm, benchmark)
    assert len(rows) == len(samples) == N_ITEMS
    for row, sample in zip(rows, samples, strict=True):
        logprobs, text = likelihoods_of(sample)
        assert row["logprobs"] == pytest.approx(logprobs, abs=1e-3)
        if task == "squad":
            assert row["answer"] == text
            gold = sample["doc"]["answers"]["text"]
            assert (row["score"], row["exact"]) == pytest.approx(official(text, gold))
        else:
            assert (row["score"], row["score_norm"]) == (sample["acc"], sample.get("acc_norm"))
    for name, found in results.items():
        if task != "squad":
            own = [r["score"] for r in rows if r["subject"] in name or len(results) == 1]
            assert sum(own) / len(own) == pytest.approx(found["acc,none"])


def official(answer, gold):
    """Return F1 and exact match as the official script of SQuAD 2.0 counts them."""

    def words(text):
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    def f1(wanted):
        if not wanted or not words(answer):
            return float(wanted == words(answer))
        same = sum((Counter(wanted) & Counter(words(answer))).values())
        return 2 * same / (len(wanted) + len(words(answer)))

    wanted = [words(text) for text in gold if words(text)] or [[]]
    return max(map(f1, wanted)), float(words(answer) in wanted)
