"""Scores of a random llama's students, against the exported checkpoint and naive loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.heldout.frequency import count_trained_labels
from dskd_core.evaluation.heldout.store import score_student, student_tail
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.student.shape import load_student, shape_of
from dskd_core.training.student.tail import padded_entering, run_tail
from tests.miniature import Built


def checkpoint(student):
    from transformers import AutoModelForCausalLM

    folder = student.folder() / "model"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def loaded(miniature):
    return load_teacher(miniature.teacher(), miniature.config.teacher)


def mse(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)) / len(a)


@torch.no_grad()
def naive_window(miniature, model, teacher, window):
    """Score one window from token ids alone, in float64, position by position."""
    corpus, dictionary = load_windows(miniature.corpus()), load_dictionary(miniature.dictionary())
    ids = torch.from_numpy(corpus.window(window).astype(np.int64))[None]
    labels = corpus.next_tokens(window)
    n_t = model.base_model(ids).last_hidden_state[0].double()
    m_t = teacher.base_model(ids).last_hidden_state[0].double()
    # Without the rows that pad the vocabulary.
    head = model.get_output_embeddings().weight[: dictionary.n_tokens].double()
    rows = dictionary.rows.astype(np.float64)
    n_candidates = miniature.config.training.n_candidates
    sums = dict.fromkeys(
        ("n_positions", "ce", "kl", "top1_agreement", "accuracy", "state_mse", "n_with_positives",
         "own_synonym_mse", "n_with_negatives", "antonym_mse", "n_with_both", "n_synonym_nearer"),
        0.0,
    )  # fmt: skip
    for n, m, label in zip(n_t, m_t, labels, strict=True):
        if label < 0:
            continue
        z, taught = head @ n, head @ m
        p, q = torch.softmax(taught / 2.0, 0), torch.softmax(z / 2.0, 0)
        sums["n_positions"] += 1
        sums["ce"] -= math.log(torch.softmax(z, 0)[label])
        sums["kl"] += float((p * (p / q).log()).sum())
        sums["top1_agreement"] += float(z.argmax() == taught.argmax())
        sums["accuracy"] += float(z.argmax() == label)
        sums["state_mse"] += mse(n, m)
        own, synonyms, antonyms = (
            [rows[r] for r in csr.rows_of(label)]
            for csr in (dictionary.own, dictionary.synonyms, dictionary.antonyms)
        )
        near = sorted(own + synonyms, key=lambda row: mse(m, row))[:n_candidates]
        if near:
            sums["n_with_positives"] += 1
            sums["own_synonym_mse"] += np.mean([mse(n, row) for row in near])
        near = sorted(antonyms, key=lambda row: mse(m, row))[:n_candidates]
        if near:
            sums["n_with_negatives"] += 1
            sums["antonym_mse"] += np.mean([mse(n, row) for row in near])
        if synonyms and antonyms:
            sums["n_with_both"] += 1
            nearer = min(mse(n, r) for r in synonyms) < min(mse(n, r) for r in antonyms)
            sums["n_synonym_nearer"] += nearer
    return sums


@pytest.mark.parametrize("arm", ["kd", "paper"])
def test_scores_equal_the_exported_checkpoint_run_by_transformers(miniature, arm):
    scores = miniature.score(arm)
    rows = scores.table("windows.parquet").to_pylist()
    model = checkpoint(miniature.student(arm))
    teacher = loaded(miniature).model
    for row in rows[:6]:
        expected = naive_window(miniature, model, teacher, row["window"])
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=2e-2, rel=2e-3), name
    assert any(row["n_with_both"] for row in rows[:6])


def test_the_tail_read_from_safetensors_gives_the_checkpoints_own_states(miniature):
    student, untrained = miniature.student("paper"), miniature.untrained()
    cached = StoredActivations(miniature.activations(), miniature.store)
    windows = cached.read(cached.heldout[:3])
    decoder, shape = load_student(untrained, miniature.config.teacher), shape_of(untrained)
    with torch.no_grad():
        tail = student_tail(decoder, shape, student)
        states = run_tail(tail, *padded_entering([w.entering for w in windows]), "float32")
    corpus, model = load_windows(miniature.corpus()), checkpoint(student)
    expected = [
        model.base_model(torch.from_numpy(corpus.window(w.window).astype(np.int64))[None])
        for w in windows
    ]
    flat = torch.cat([out.last_hidden_state[0] for out in expected])
    assert torch.allclose(states, flat, atol=1e-5)


def test_the_teacher_agrees_with_itself_and_has_no_distance_to_itself(miniature):
    scores = miniature.score("teacher")
    means = scores.record.report["means"]
    assert scores.record.report["arm"] == "teacher"
    assert scores.record.report["seed"] is None
    assert scores.record.counts["layers"] == 4
    assert means["top1_agreement"] == 1.0
    assert means["state_mse"] == 0.0
    assert abs(means["kl"]) < 1e-3
    assert scores.record.report["perplexity"] == pytest.approx(math.exp(means["ce"]))


def test_kl_is_never_noticeably_negative(miniature):
    for arm in ("teacher", "kd", "paper", "kd_mse"):
        table = miniature.score(arm).table("windows.parquet")
        kl = table["kl"].to_numpy() / table["n_positions"].to_numpy()
        assert kl.min() > -1e-3


def test_every_heldout_window_has_one_row_with_its_document(miniature):
    corpus = load_windows(miniature.corpus())
    table = miniature.score("kd").table("windows.parquet")
    heldout = np.flatnonzero(corpus.heldout)
    assert table["window"].to_pylist() == heldout.tolist()
    keys = corpus.document_hashes[corpus.documents[heldout]]
    assert table["document"].to_pylist() == keys.tolist()
    labelled = [int((corpus.next_tokens(int(w)) >= 0).sum()) for w in heldout]
    assert table["n_positions"].to_pylist() == labelled


def test_means_are_sums_over_sums_not_means_of_window_means(miniature):
    scores = miniature.score("kd")
    table = scores.table("windows.parquet")
    total = sum(table["ce"].to_pylist()) / sum(table["n_positions"].to_pylist())
    assert scores.record.report["means"]["ce"] == pytest.approx(total)
    shares = sum(table["n_synonym_nearer"].to_pylist()) / sum(table["n_with_both"].to_pylist())
    assert scores.record.report["means"]["synonym_nearer"] == pytest.approx(shares)


def test_scoring_again_gives_the_same_bytes(miniature):
    first = miniature.score("paper", 1)
    miniature.store.discard(first)
    assert miniature.score("paper", 1).record.content == first.record.content


def score_with(miniature, student=None, **changed):
    config, inputs = miniature.config, replace(miniature.inputs(), **changed)
    return score_student(miniature.store, config.training, config.teacher, inputs, student)


def test_artifacts_that_were_not_made_from_one_another_are_refused_by_name(miniature):
    for name, told in (
        ("untrained", "untrained-student"),
        ("activations", "activations"),
        ("dictionary", "dictionary"),
    ):
        given = getattr(miniature.inputs(), name)
        given = replace(given, record=replace(given.record, fingerprint="0" * 16))
        with pytest.raises(ArtifactError, match=f"was made with {told} .*, not {'0' * 16}"):
            score_with(miniature, **{name: given})


def test_activations_without_heldout_windows_are_refused(miniature, monkeypatch):
    def nothing_held_out(self, *arguments, **options):
        self.heldout = []

    monkeypatch.setattr(StoredActivations, "__init__", nothing_held_out)
    stored = miniature.dictionary()
    record = replace(stored.record, fingerprint="0" * 16)
    chosen = miniature.candidates()
    inputs = chosen.record.inputs | {"dictionary": "0" * 16}
    with pytest.raises(ArtifactError, match="0 held-out windows"):
        score_with(
            miniature,
            dictionary=replace(stored, record=record),
            candidates=replace(chosen, record=replace(chosen.record, inputs=inputs)),
        )


def test_ce_of_rare_next_tokens_stands_apart_as_a_naive_count_has_it(miniature):
    corpus, scores = load_windows(miniature.corpus()), miniature.score("kd")
    seen: dict[int, int] = {}
    for window in np.flatnonzero(~corpus.heldout):
        for label in corpus.next_tokens(int(window)):
            seen[label] = seen.get(label, 0) + (label >= 0)
    expected = {name: [0, 0.0] for name in ("unseen", "1_to_10", "11_to_100", "over_100")}
    positions = scores.table("positions.parquet").to_pylist()
    for row in positions:
        n = seen.get(row["label"], 0)
        assert row["n_in_training"] == n
        name = "unseen" if n == 0 else "1_to_10" if n <= 10 else "over_100"
        band = expected["11_to_100" if 10 < n <= 100 else name]
        band[0] += 1
        band[1] += row["ce"]
    assert expected["11_to_100"][0] > 0
    table, means = scores.table("windows.parquet"), scores.record.report["means"]
    for name, (n, ce) in expected.items():
        assert sum(table[f"n_{name}"].to_pylist()) == n
        assert sum(table[f"ce_{name}"].to_pylist()) == pytest.approx(ce)
        assert means.get(f"ce_{name}") == (pytest.approx(ce / n) if n else None)
    assert sum(n for n, _ in expected.values()) == len(positions)


def test_online_the_whole_text_is_counted_and_not_the_captured_sample(miniature, monkeypatch):
    monkeypatch.setattr("dskd_core.training.activations.store.CALIBRATION_TOKENS", 40)
    counts, n_windows = {}, {}
    for mode in ("cached", "online"):
        training = miniature.config.training.model_copy(update={"mode": mode})
        other = Built(miniature.config.model_copy(update={"training": training}))
        taken = other.activations()
        n_windows[mode] = taken.record.counts["windows"]
        counts[mode] = count_trained_labels(other.store, taken, 500)
    assert n_windows["online"] < n_windows["cached"]
    assert counts["cached"].sum() > 500
    assert counts["online"].tolist() == counts["cached"].tolist()
