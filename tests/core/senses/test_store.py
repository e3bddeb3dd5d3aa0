from itertools import pairwise

import numpy as np
import pytest

from dskd_core.config import SensesConfig
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.senses.budget import _runs
from dskd_core.senses.inventory import load_senses
from dskd_core.senses.store import cluster_range, collect_senses, plan_ranges
from dskd_core.store.artifacts import Work

from .conftest import make_miniature, published, write_corpus, write_embeddings

CONFIG = SensesConfig(n_senses=3, n_restarts=4, device="cpu", context_tokens=2, n_examples=2)


def build(m, config=CONFIG):
    ranges = plan_ranges(m.embeddings, m.store, config)
    parts = [cluster_range(m.store, config, m.embeddings, m.corpus, shard) for shard in ranges]
    return collect_senses(m.store, config, m.embeddings, m.corpus, m.teacher, parts)


def test_an_inventory_holds_the_means_of_every_token(miniature):
    inventory = load_senses(build(miniature))
    assert inventory.tokens.tolist() == sorted(miniature.states)
    assert inventory.centroids.dtype == np.float16
    for index, token in enumerate(inventory.tokens.tolist()):
        rows, senses = miniature.states[token], inventory.senses_of(token).astype(np.float64)
        own = slice(inventory.offsets[index], inventory.offsets[index + 1])
        assert inventory.n_occurrences[index] == len(rows) == inventory.counts[own].sum()
        squared = ((rows[:, None] - senses[None]) ** 2).sum(-1)
        assert squared.min(1).sum() == pytest.approx(inventory.inertia[index], rel=0.01, abs=1e-6)
        assert (np.diff(inventory.counts[own]) <= 0).all()


def test_a_token_with_few_embeddings_keeps_its_rows(miniature):
    senses = load_senses(build(miniature)).senses_of(7)
    np.testing.assert_array_equal(senses, miniature.states[7].astype(np.float16))


def test_an_unknown_token_has_no_senses(miniature):
    assert load_senses(build(miniature)).senses_of(4711).shape == (0, 4)


@pytest.mark.parametrize("shard_rows", [1, 90, 10_000])
def test_any_cut_into_ranges_gives_the_same_bytes(tmp_path, shard_rows):
    content = []
    for name, rows in (("one", 120), ("other", shard_rows)):
        config = CONFIG.model_copy(update={"shard_rows": rows})
        content.append(build(make_miniature(tmp_path / name), config).record.content)
    assert content[0] == content[1]


def test_small_reads_give_the_same_bytes(tmp_path):
    whole = build(make_miniature(tmp_path / "whole"))
    tiny = CONFIG.model_copy(update={"batch_bytes": 1000})
    assert build(make_miniature(tmp_path / "tiny"), tiny).record.content == whole.record.content


def test_examples_are_the_nearest_occurrences_with_their_text(miniature):
    from dskd_core.decoder.tokenizer import load_tokenizer

    artifact = build(miniature)
    inventory, decode = load_senses(artifact), load_tokenizer(miniature.teacher.folder()).decode
    rows = artifact.table("examples.parquet").to_pylist()
    assert rows == sorted(rows, key=lambda r: (r["token_id"], r["sense"], r["rank"]))
    for row in rows:
        token, sense = row["token_id"], row["sense"]
        centroid = inventory.senses_of(token)[sense]
        distances = np.linalg.norm(miniature.states[token] - centroid, axis=1)
        assert row["distance"] == pytest.approx(np.sort(distances)[row["rank"]], abs=0.02)
        document = int(row["document_id"].removeprefix("page "))
        ids, at = miniature.documents[document], row["position"]
        assert (document, at) in miniature.places[token]
        assert row["token"] == row["written"] == decode([token])
        assert row["left"] == decode(ids[max(0, at - 1) : at + 1].tolist())
        assert row["right"] == decode(ids[at + 2 : at + 4].tolist())


def test_under_the_key_input_the_token_is_where_the_state_stands(tmp_path):
    m = make_miniature(tmp_path, key="input")
    from dskd_core.decoder.tokenizer import load_tokenizer

    decode = load_tokenizer(m.teacher.folder()).decode
    for row in build(m).table("examples.parquet").to_pylist():
        ids, at = m.documents[int(row["document_id"].removeprefix("page "))], row["position"]
        assert row["written"] == row["token"] == decode([int(ids[at])])
        assert row["left"] == decode(ids[max(0, at - 2) : at].tolist())
        assert row["right"] == decode(ids[at + 1 : at + 3].tolist())


def test_a_rerun_finds_its_work_done(miniature):
    assert build(miniature).record.created_at == build(miniature).record.created_at


def test_the_group_says_what_it_was_made_from(miniature):
    attributes = build(miniature).group("senses.zarr").attrs
    assert attributes["key"] == "next"
    assert attributes["hidden_size"] == 4
    assert attributes["teacher"] == miniature.teacher.fingerprint


def test_another_teacher_is_refused_by_name(miniature):
    other = published(
        miniature.store, Work("teacher", {}, {"weights": "other"}), lambda draft: None
    )
    with pytest.raises(ArtifactError, match=f"teacher {miniature.teacher.fingerprint}"):
        collect_senses(miniature.store, CONFIG, miniature.embeddings, miniature.corpus, other, [])


def test_another_corpus_is_refused_by_name(miniature):
    shard = plan_ranges(miniature.embeddings, miniature.store, CONFIG)[0]
    with pytest.raises(ArtifactError, match="made from the corpus"):
        cluster_range(miniature.store, CONFIG, miniature.embeddings, miniature.teacher, shard)


def test_ranges_that_a_gpu_clustered_are_joined_where_there_is_none(miniature):
    named = CONFIG.model_copy(update={"coarse_dtype": "float32", "device": "cpu"})
    m, ranges = miniature, plan_ranges(miniature.embeddings, miniature.store, named)
    parts = [cluster_range(m.store, named, m.embeddings, m.corpus, shard) for shard in ranges]
    elsewhere = named.model_copy(update={"device": "cuda:7"})
    for shard, part in zip(ranges, parts, strict=True):
        found = cluster_range(m.store, elsewhere, m.embeddings, m.corpus, shard)
        assert found.fingerprint == part.fingerprint
    collect_senses(m.store, elsewhere, m.embeddings, m.corpus, m.teacher, parts)


def test_a_missing_range_is_refused(miniature):
    config = CONFIG.model_copy(update={"shard_rows": 40})
    m, ranges = miniature, plan_ranges(miniature.embeddings, miniature.store, config)
    parts = [cluster_range(m.store, config, m.embeddings, m.corpus, s) for s in ranges[1:]]
    with pytest.raises(ArtifactError, match="exactly once"):
        collect_senses(m.store, config, m.embeddings, m.corpus, m.teacher, parts)


def test_nan_states_are_refused(tmp_path, miniature):
    m = miniature
    states = {t: rows.copy() for t, rows in m.states.items()}
    states[2][1, 3] = np.nan
    corpus = write_corpus(m.store, [*m.documents[:9], m.documents[9] * 0])
    embeddings = write_embeddings(m.store, m.teacher, corpus, states, m.places, "predicted")
    shard = plan_ranges(embeddings, m.store, CONFIG)[0]
    with pytest.raises(DataError, match="NaN"):
        cluster_range(m.store, CONFIG, embeddings, corpus, shard)


ADAPTIVE = CONFIG.model_copy(update={"choice": "adaptive", "max_senses": 5})


def test_adaptive_senses_keep_the_bytes_of_fixed_k_and_say_their_price(miniature):
    fixed, adaptive = build(miniature), build(miniature, ADAPTIVE)
    report = adaptive.record.report
    assert report["budget_senses"] == report["fixed_senses"] == fixed.record.counts["senses"]
    assert report["budget_bytes"] == 2 * 4 * fixed.record.counts["senses"]
    assert adaptive.record.counts["senses"] <= report["budget_senses"]
    assert report["price"] > 0
    assert report["inertia"] <= fixed.record.report["inertia"]


@pytest.mark.parametrize("shard_rows", [1, 90])
def test_adaptive_senses_do_not_depend_on_the_ranges(tmp_path, shard_rows):
    content = []
    for name, rows in (("one", 10_000), ("other", shard_rows)):
        config = ADAPTIVE.model_copy(update={"shard_rows": rows})
        content.append(build(make_miniature(tmp_path / name), config).record.content)
    assert content[0] == content[1]


def test_a_smaller_budget_gives_fewer_senses(miniature):
    small = ADAPTIVE.model_copy(update={"max_bytes": 12 * 2 * 4})
    assert build(miniature, small).record.counts["senses"] <= 12


def test_a_budget_below_one_sense_a_token_is_refused(miniature):
    tiny = ADAPTIVE.model_copy(update={"max_bytes": 7 * 2 * 4})
    with pytest.raises(ConfigError, match="holds 7 senses of 8 bytes for 8 tokens; raise it"):
        build(miniature, tiny)


def test_settings_of_the_adaptive_choice_do_not_rename_fixed_senses(miniature):
    other = CONFIG.model_copy(update={"max_senses": 9, "n_sampled": 64})
    assert build(miniature, other).fingerprint == build(miniature).fingerprint


def test_runs_of_sampled_tokens_are_apart_and_inside():
    for n_tokens in (17, 100, 1000, 69_832):
        runs = _runs(n_tokens, 16 if n_tokens < 100 else 64)
        assert all(0 <= start < stop <= n_tokens for start, stop in runs)
        assert all(a[1] <= b[0] for a, b in pairwise(runs))
        assert sum(stop - start for start, stop in runs) == (16 if n_tokens < 100 else 64)
