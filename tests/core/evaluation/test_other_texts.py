"""Text of another domain: what is left out of it, and scores on it against a naive pass."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dskd_core.config import EvaluationConfig, OtherTextConfig, PipelineConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ArtifactError, DataError
from dskd_core.evaluation.heldout.store import score_other_text
from dskd_core.evaluation.other_texts import build_other_text, capture_settings
from dskd_core.evaluation.report.store import build_report
from dskd_core.store.verification import verify
from dskd_core.training.activations.store import (
    capture_shard,
    capture_shards,
    collect_activations,
)
from tests.miniature import Built

NEWS = [
    "the dark stone was near a quiet river and the large house of water and light.",
    "summer money of the unhappy bank was loud in spring with water and light near a stone.",
    "a friendly garden in the small house was faultless near the heavy water.",
]


def corpus_files(miniature):
    return sorted(Path(miniature.config.corpus.source).glob("*.txt"))


@pytest.fixture(scope="module")
def source(miniature, tmp_path_factory):
    """Three new documents, and two of the corpus by other names."""
    folder = tmp_path_factory.mktemp("news")
    for number, text in enumerate(NEWS):
        (folder / f"news-{number}.txt").write_text(text, "utf-8")
    for path in corpus_files(miniature)[3:5]:
        (folder / f"copy-of-{path.name}").write_text(path.read_text("utf-8"), "utf-8")
    return OtherTextConfig(name="news", source=str(folder), min_document_tokens=4)


def cut(miniature, source):
    corpus = miniature.corpus()
    return build_other_text(
        miniature.store, source, miniature.config.corpus, miniature.teacher(), [corpus]
    )


@pytest.fixture(scope="module")
def captured(miniature, source):
    """Return the teacher's activations of the other text, captured as a run captures them."""
    text, config, store = (
        cut(miniature, source),
        capture_settings(miniature.config),
        miniature.store,
    )
    untrained, mode = miniature.untrained(), config.training.mode
    parts = [
        capture_shard(
            store,
            config.training,
            config.teacher,
            miniature.teacher(),
            untrained,
            text,
            mode,
            shard,
        )
        for shard in capture_shards(text, config.training, mode)
    ]
    return collect_activations(store, config.training, untrained, text, mode, parts)


def scored(miniature, captured, arm, seed=0):
    config = miniature.config
    student = None if arm == "teacher" else miniature.student(arm, seed)
    return score_other_text(
        miniature.store,
        config.training,
        config.teacher,
        miniature.inputs(),
        student,
        "news",
        captured,
    )


def test_documents_of_the_corpus_are_left_out_whatever_they_are_called(miniature, source):
    text = cut(miniature, source)
    windows, tokenizer = load_windows(text), load_tokenizer(miniature.teacher().folder())
    assert text.record.counts["n_documents"] == 3
    assert text.record.counts["n_documents_left_out_as_known"] == 2
    assert windows.heldout.all()
    assert [windows.document(d).tolist() for d in range(3)] == [tokenizer.encode(t) for t in NEWS]
    assert windows.lengths.max() == miniature.config.corpus.window_tokens
    assert text.table("documents.parquet")["document"].to_pylist() == [0, 1, 2]
    assert verify(text.uri).problems == []


def test_a_known_document_is_known_by_as_much_of_it_as_both_read(miniature, source):
    short = source.model_copy(update={"max_document_tokens": 8})
    assert cut(miniature, short).record.counts["n_documents_left_out_as_known"] == 2


def test_a_text_of_known_documents_alone_is_refused(miniature, source, tmp_path):
    (tmp_path / "again.txt").write_text(corpus_files(miniature)[0].read_text("utf-8"), "utf-8")
    with pytest.raises(DataError, match="All 1 documents of the other text 'news'"):
        cut(miniature, source.model_copy(update={"source": str(tmp_path)}))


def test_scores_on_another_text_are_those_of_a_naive_pass(miniature, source, captured):
    from transformers import AutoModelForCausalLM

    folders = miniature.student("kd", 0).folder() / "model", miniature.config.teacher.source
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        for folder in folders
    )
    windows = load_windows(cut(miniature, source))
    n_tokens = load_tokenizer(miniature.teacher().folder()).n_tokens
    ce = kl = n_agree = n = 0.0
    for window in range(windows.n_windows):
        ids = torch.from_numpy(windows.window(window).astype(np.int64))[None]
        with torch.no_grad():
            z, m = (model(ids).logits[0, :, :n_tokens].double() for model in (student, teacher))
        for t, label in enumerate(windows.next_tokens(window)):
            if label < 0:
                continue
            p, q = torch.softmax(m[t] / 2, 0), torch.softmax(z[t] / 2, 0)
            ce -= math.log(torch.softmax(z[t], 0)[label])
            kl += float((p * (p / q).log()).sum())
            n_agree += float(z[t].argmax() == m[t].argmax())
            n += 1
    found = scored(miniature, captured, "kd").record
    assert found.counts["positions"] == n
    assert found.counts["documents_left_out_as_known"] == 2
    assert found.report["means"]["ce"] == pytest.approx(ce / n, rel=1e-4)
    assert found.report["means"]["kl"] == pytest.approx(kl / n, abs=2e-3)
    assert found.report["means"]["top1_agreement"] == pytest.approx(n_agree / n)
    assert "own_synonym_mse" not in found.report["means"]
    assert verify(scored(miniature, captured, "kd").uri).problems == []


def test_a_report_compares_on_another_text_as_on_held_out_text(miniature, captured):
    models = [("kd", 0), ("kd", 1), ("paper", 0), ("paper", 1)]
    scores = [miniature.score("teacher"), *(miniature.score(*model) for model in models)]
    beside = [scored(miniature, captured, "teacher")]
    beside += [scored(miniature, captured, *model) for model in models]
    students = [miniature.student(*model) for model in models]
    config = EvaluationConfig(n_resamples=100)
    report = build_report(miniature.store, config, scores, students, beside=beside)
    (other,) = report.record.report["other_texts"]
    means = {row["arm"]: row["ce"] for row in other["means"]}
    ce = [s.record.report["means"]["ce"] for s in beside[1:]]
    assert means["kd"] == pytest.approx((ce[0] + ce[1]) / 2, abs=1e-6)
    first = other["comparison"][0]
    assert (other["text"], first["metric"], first["arms"]) == ("news", "ce", "paper - kd")
    assert first["by_seed"] == pytest.approx({"0": ce[2] - ce[0], "1": ce[3] - ce[1]}, abs=2e-6)
    assert first["t_low"] < first["difference"] < first["t_high"]
    text = (report.folder() / "report.md").read_text("utf-8")
    assert "## Other text: news" in text
    assert f"{means['kd']:.4f}" in text.partition("## Other text: news")[2]


def test_activations_of_another_student_are_refused(miniature, captured):
    other = miniature.config.model_copy(
        update={"student": miniature.config.student.model_copy(update={"n_layers": 2})}
    )
    changed = replace(miniature.inputs(), untrained=Built(other).untrained())
    with pytest.raises(ArtifactError, match="was made with untrained-student"):
        score_other_text(
            miniature.store, other.training, other.teacher, changed, None, "news", captured
        )


def test_two_texts_of_one_name_and_texts_without_a_teacher_are_refused():
    text = {"name": "news", "source": "news.txt"}
    with pytest.raises(ValueError, match="name one twice"):
        EvaluationConfig(other_texts=[text, text])
    with pytest.raises(ValueError, match="need the teacher"):
        PipelineConfig(evaluation={"other_texts": [text]}, training={"mode": "precomputed"})
