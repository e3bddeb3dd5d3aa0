from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig, load_config
from dskd_core.decoder.precision import OVERRIDE, resolved
from dskd_core.errors import ConfigError
from dskd_core.evaluation.report.store import build_report
from dskd_core.planning.hours import estimate, forecast
from dskd_core.planning.hours.estimate import estimate_run
from dskd_core.planning.hours.forecast import added_beside
from dskd_core.planning.hours.probe import Host
from dskd_core.planning.hours.reading import branch_seconds, corpus_seconds
from dskd_core.planning.plan import Plan, make_plan
from dskd_core.planning.standing import share_done
from tests.miniature import Built, make

SAMPLE = Path(__file__).parents[4] / "deployments/parameters/smollm2-135m.yaml"
AMX = Host(
    # docs: 282 GFLOP/s of bfloat16 products and 48 of float32; SmolLM2's body reads 1,600 tokens a
    # second, of 0.221 GFLOP each.
    *("this machine", 354e9, 48e9, 24 * 10**9, 10e9, 1.0),
    precision="bfloat16",
    head_flops=282e9,
    max_values=1e9,
    softmax_values=1e9,
)
"""Two cores with AMX."""


@pytest.fixture
def sample(monkeypatch, tmp_path) -> Plan:
    """The sample run of version 0.1, which was timed with AMX, planned for such a machine."""
    monkeypatch.setattr(forecast, "has_compiler", lambda: True)
    values = load_config(SAMPLE).model_dump(mode="json") | {"root_uri": str(tmp_path)}
    values["teacher"]["dtype"] = values["training"]["compute_dtype"] = "bfloat16"
    values["corpus"] |= {"max_tokens": 210_000}
    values["embeddings"] |= {"shard_tokens": 65_536}
    values["student"] = {"n_trainable_layers": 2}
    values["evaluation"]["arms"] = ["kd", "paper", "kd_mse"]
    values["training"] |= {"batch_windows": 4, "n_epochs": 1.1, "recipes": []}
    values["training"] |= {"max_train_tokens": 30_000, "max_heldout_tokens": 10_000}
    return make_plan(PipelineConfig.model_validate(values))


def seconds_of(plan: Plan, host: Host, **named) -> dict[str, float]:
    return {e.stage: e.seconds for e in forecast.forecast(plan, host, **named)}


def test_the_sample_run_on_two_cores_with_amx_is_forecast_within_a_third(sample):
    # It took 10:50 minutes; an extraction shard of 65,536 tokens 60 s, so 184,800 tokens 169 s.
    found = seconds_of(sample, AMX, first_start=True)
    assert sum(found.values()) == pytest.approx(650, rel=0.3)
    assert found["embeddings"] == pytest.approx(169, rel=0.3)


def test_seconds_of_an_extracted_token_are_arithmetic_by_hand(sample):
    # 30 layers of two FLOPs a weight, and four for each of 576 values of the 128 tokens seen.
    layer = 2 * (2 * 576 * 64 * (9 + 3) + 3 * 576 * 1536) + 4 * 576 * 128
    body = 30 * layer / (354e9 * 0.9)
    token = body + 2 * 49_152 * 576 / 282e9 + 49_152 / 1e9
    shards = 3
    by_hand = 184_800 * token + 134.5e6 / 60e6 + (shards + 1) * 0.5
    stored = next(s for s in sample.stages if s.stage == "embeddings").stored_bytes
    assert seconds_of(sample, AMX)["embeddings"] == pytest.approx(by_hand + stored / 4e8, rel=0.01)


def test_stages_come_in_the_order_of_the_run_and_standing_ones_cost_nothing(sample):
    found = seconds_of(sample, AMX)
    assert list(found) == [
        *("start", "teacher", "lexicon", "relations", "words", "corpus", "embeddings", "senses"),
        *("dictionary", "untrained-student", "activations", "candidates", "students", "scores"),
        "report",
    ]
    half = seconds_of(sample, AMX, done={"teacher": 1.0, "students": 0.5})
    assert half["teacher"] == 0.0
    assert half["students"] == pytest.approx(found["students"] / 2)
    done = dict.fromkeys(found, 1.0)
    assert sum(seconds_of(sample, AMX, done=done).values()) < 15  # the start


def test_what_runs_beside_other_work_is_counted_for_what_it_adds():
    alone = {"lexicon": 4.0, "relations": 6.0}
    hidden = added_beside(alone, beside=20.0)
    assert sum(hidden.values()) == pytest.approx(0.3 * 10)
    assert sum(added_beside(alone, beside=0.0).values()) == 10.0
    # Six of ten seconds have work beside them, the other four are seen whole.
    assert sum(added_beside(alone, beside=6.0).values()) == pytest.approx(0.3 * 6 + 4)


def test_lexicons_are_forecast_from_their_bytes(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"x" * 1_000_000)
    values = {"sources": [{"kind": "word_pairs", "uri": str(path)}], "morphology": []}
    config = PipelineConfig.model_validate({"lexicon": values}).lexicon
    # 30,000 rows: read in 0.1 s and joined, related and spelled at 390, 67 and 130 thousand a s.
    found = branch_seconds(config)
    assert found["lexicon"] == pytest.approx(0.1 + 30 / 390)
    assert found["relations"] == pytest.approx(30 / 67)
    assert found["words"] == pytest.approx(30 / 130)
    gone = values | {"sources": [{"kind": "word_pairs", "uri": str(tmp_path / "gone")}]}
    missing = PipelineConfig.model_validate({"lexicon": gone}).lexicon
    assert sum(branch_seconds(missing).values()) == 0.0


def test_all_of_a_dump_is_read_however_few_tokens_are_taken(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"x" * 300_000)
    config = PipelineConfig.model_validate({"corpus": {"source": str(tmp_path)}}).corpus
    assert corpus_seconds(config, 1_000_000, n_cores=4) == pytest.approx(2.0 + 0.2 + 1.0)


@pytest.fixture
def here(monkeypatch) -> None:
    """This machine without a measurement."""
    monkeypatch.delenv(OVERRIDE, raising=False)
    monkeypatch.setattr(estimate, "this_machine", lambda device: AMX)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Built:
    """A miniature with every student, every score and a report."""
    built = Built(make(tmp_path_factory.mktemp("finished")))
    evaluation = built.config.evaluation
    students = [built.student(arm, s) for s in evaluation.seeds for arm in evaluation.arms]
    scores = [built.scores(), *(built.scores(student) for student in students)]
    build_report(built.store, evaluation, scores, students)
    return built


def test_a_finished_run_is_estimated_at_its_start_alone(finished, here):
    found = {e.stage: e.seconds for e in estimate_run(finished.config).stages}
    assert found.pop("start") == 10.0
    assert set(found.values()) == {0.0}


def test_what_stands_is_told_stage_by_stage(finished):
    config, store = resolved(finished.config), finished.store
    done = share_done(store, config)
    assert {done[stage] for stage in ("teacher", "corpus", "embeddings", "words")} == {1.0}
    four = config.evaluation.model_copy(update={"seeds": (0, 1, 2, 3)})
    more = share_done(store, config.model_copy(update={"evaluation": four}))
    assert (done["students"], more["students"]) == (1.0, 0.5)
    assert "report" not in more
    senses = config.senses.model_copy(update={"n_senses": 4})
    changed = share_done(store, config.model_copy(update={"senses": senses}))
    assert "embeddings" in changed
    assert "senses" not in changed


def test_an_estimate_never_ends_a_run_and_says_what_it_lacks(here, monkeypatch, tmp_path):
    def unknown(config):
        raise ConfigError("Nobody knows how many tokens there are.")

    monkeypatch.setattr(estimate, "make_plan", unknown)
    found = estimate_run(PipelineConfig(root_uri=str(tmp_path)))
    assert [e.stage for e in found.stages] == ["start", "lexicon", "relations", "words"]
    assert "Nobody knows how many tokens there are." in found.left_out[0]


def test_benchmarks_are_said_to_be_left_out(sample, here):
    values = sample.asked.model_dump(mode="json")
    values["evaluation"]["benchmarks"] = [{"task": "piqa", "uri": "data/dev.jsonl"}]
    found = estimate_run(PipelineConfig.model_validate(values))
    assert found.left_out == ("Left out: benchmarks.",)
    assert found.seconds == pytest.approx(sum(e.seconds for e in found.stages))
