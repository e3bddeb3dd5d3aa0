from pathlib import Path

import pytest

from dskd_core.config import PipelineConfig, load_config
from dskd_core.embeddings.readers import load_embeddings
from dskd_core.errors import CapacityError, ConfigError
from dskd_core.planning import architecture
from dskd_core.planning.hours.hardware import Device, named_gpu
from dskd_core.planning.page import hour_rows, sentences, size_rows, stage_rows
from dskd_core.planning.plan import Plan, check, make_plan, misfits

PARAMETERS = Path(__file__).parents[3] / "deployments/parameters"


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Plan a parameter file with changes, without asking the hub."""

    def fetch(config):
        raise OSError("no network")

    monkeypatch.setattr(architecture, "_fetch", fetch)

    def plan(name: str, device: Device | None = None, **changes: dict) -> Plan:
        values = load_config(PARAMETERS / f"{name}.yaml").model_dump(mode="json")
        for stage, settings in changes.items():
            values[stage] |= settings
        values["root_uri"] = str(tmp_path)
        return make_plan(PipelineConfig.model_validate(values), device=device)

    return plan


@pytest.mark.parametrize(
    ("name", "covered", "embeddings", "dictionary"),
    [("llama3-8b", 69_832, 1.14e12, 7.08e9), ("mistral-7b", 27_541, 0.45e12, 2.06e9)],
)
def test_the_big_models_land_near_the_sizes_of_the_paper_offline(
    planned, name, covered, embeddings, dictionary
):
    sizes = planned(name).sizes
    assert sizes["tokens_covered"] == covered
    assert sizes["embeddings_at_the_cap_bytes"] == pytest.approx(embeddings, rel=0.01)
    assert sizes["embeddings_used_bytes"] < sizes["embeddings_at_the_cap_bytes"]
    assert sizes["dictionary_bytes"] == pytest.approx(dictionary, rel=0.06)


def test_the_student_of_llama_has_the_parameters_of_the_paper(planned):
    sizes = planned("llama3-8b").sizes
    assert sizes["student_parameters"] == pytest.approx(4.5e9, rel=0.01)
    assert sizes["trainable_parameters"] == pytest.approx(0.44e9, rel=0.01)


def test_a_plan_counts_the_layers_that_train_and_those_that_only_run(planned):
    n_layer = planned("llama3-8b").sizes["trainable_parameters"] / 2
    student = {"trainable_layers": [11, 14, 15], "train_final_norm": True}
    other = planned("llama3-8b", student=student)
    assert other.sizes["trainable_parameters"] == 3 * n_layer + 4096
    listed = planned("llama3-8b", student={"trainable_layers": [11, 12, 13, 14, 15]})
    by_stage = [{s.stage: s for s in plan.stages}["students"] for plan in (other, listed)]
    assert by_stage[0].device_bytes < by_stage[1].device_bytes
    assert by_stage[0].flops < by_stage[1].flops


def test_a_recipe_that_ranks_makes_candidates_half_as_large_again(planned):
    recipes = [{"name": "mine", "terms": [{"term": "ce"}, {"term": "ranking"}]}]
    plans = planned("llama3-8b"), planned("llama3-8b", training={"recipes": recipes})
    plain, ranked = ({s.stage: s for s in p.stages}["candidates"].stored_bytes for p in plans)
    assert ranked == 1.5 * plain


def test_text_of_other_domains_is_counted_where_it_is_kept_and_captured(planned):
    news = {"name": "news", "source": "hf:a/news", "max_tokens": 50_000}
    plans = planned("llama3-8b"), planned("llama3-8b", evaluation={"other_texts": [news]})
    plain, more = ({stage.stage: stage for stage in plan.stages} for plan in plans)
    assert more["activations"].n_tokens - plain["activations"].n_tokens == 50_000
    # h, m_t and e_t in 16 bits, d = 4096; 13 bytes of ids and entropy.
    grown = more["activations"].stored_bytes - plain["activations"].stored_bytes
    assert grown == 50_000 * (3 * 2 * 4096 + 13)
    assert more["corpus"].stored_bytes - plain["corpus"].stored_bytes >= 2 * 4 * 50_000
    assert "of other texts (tokens: news 50,000)" in " ".join(sentences(plans[1], []))
    with pytest.raises(ConfigError, match=r"set max_tokens of evaluation.other_texts 'news'"):
        planned("llama3-8b", evaluation={"other_texts": [news | {"max_tokens": None}]})


def test_a_plan_states_every_stage_its_hours_and_what_it_rests_on(planned):
    gpu = named_gpu("a100-80gb")
    plan = planned("llama3-8b", gpu)
    stages = [row["stage"] for row in stage_rows(plan)]
    assert stages[:5] == ["teacher", "corpus", "embeddings", "senses", "dictionary"]
    assert stages[-1] == "all"
    assert set(hour_rows(plan, [gpu])[0]) == {"time of", "A100-80GB"}
    assert {"what": "tokens covered", "value": "69,832"} in size_rows(plan)
    told = " ".join(sentences(plan, [gpu]))
    assert "the hub did not answer" in told
    assert "Zipf" in told
    assert "40% of 312 TFLOPS" in told


def test_hours_on_each_gpu_are_in_its_own_precision_and_bytes_in_one(planned):
    t4, h100 = named_gpu("T4-16GB"), named_gpu("H100-80GB")
    plan = planned("llama3-8b", t4, teacher={"dtype": "auto"}, training={"compute_dtype": "auto"})
    assert hour_rows(plan, [t4, h100])[0] == {
        "time of": "precision",
        "T4-16GB": "float16, training float32",
        "H100-80GB": "bfloat16",
    }
    rows = {row["stage"]: row["precision"] for row in stage_rows(plan)}
    assert (rows["embeddings"], rows["students"], rows["corpus"]) == ("float16", "float32", "")
    assert any(s.startswith("Precision: the teacher in float16, ") for s in sentences(plan, [t4]))
    wide = planned("llama3-8b", t4, teacher={"dtype": "float32"})
    stages, wider = ({s.stage: s for s in made.stages} for made in (plan, wide))
    grown = wider["untrained-student"].stored_bytes / stages["untrained-student"].stored_bytes
    assert grown == pytest.approx(2.0, rel=0.01)
    # Products and then writing at 400 MB/s; training in float32 on a T4, 8.1 TFLOPS.
    students = stages["students"]
    seconds = students.flops / (0.4 * 8.1e12) + students.stored_bytes / 400e6
    assert plan.hours(students, t4) == pytest.approx(seconds / 3600)


def test_hours_are_arithmetic_by_hand(planned):
    plan = planned("llama3-8b")
    slow = Device("slow", 1e12, 1e12, 1, 1e9, utilisation=0.5)
    stage = next(s for s in plan.stages if s.stage == "embeddings")
    seconds = stage.flops / 0.5e12 + stage.stored_bytes / 400e6
    assert plan.hours(stage, slow) == pytest.approx(seconds / 3600)


def test_a_gpu_that_is_too_small_is_refused_with_the_setting_to_change(planned):
    plan = planned("llama3-8b", named_gpu("L4-24GB"))
    with pytest.raises(CapacityError, match=r"embeddings needs .* lower embeddings.batch_tokens"):
        check(plan, misfits(plan, device=named_gpu("L4-24GB")))
    check(plan, misfits(plan, device=named_gpu("H100-80GB"), memory_bytes=128 * 10**9))


def test_memory_and_disk_that_do_not_suffice_are_refused_with_the_setting_to_change(planned):
    plan = planned("llama3-8b")
    found = misfits(plan, memory_bytes=25 * 10**9, disk_bytes=10**12)
    assert any("lower embeddings.shard_tokens" in problem for problem in found)
    assert any("most of it is embeddings" in problem for problem in found)


def test_activations_beyond_their_budget_are_refused_or_left_to_an_online_run(planned):
    small = {"max_activation_bytes": 1 << 30}
    assert planned("llama3-8b").cached
    online = planned("llama3-8b", training=small | {"mode": "auto"})
    assert not online.cached
    assert any(s.startswith("Online: ") for s in sentences(online, [named_gpu("H100-80GB")]))
    with pytest.raises(CapacityError, match=r"set training\.mode to auto or online"):
        planned("llama3-8b", training=small | {"mode": "cached"})


def test_online_students_cost_more_and_store_less(planned):
    cached = {s.stage: s for s in planned("llama3-8b").stages}
    online = {s.stage: s for s in planned("llama3-8b", training={"mode": "online"}).stages}
    assert online["students"].flops > 3 * cached["students"].flops
    assert online["activations"].stored_bytes < cached["activations"].stored_bytes / 10


def test_what_is_planned_from_a_corpus_is_what_is_then_stored(nexted):
    nexted.corpus()
    plan = make_plan(nexted.config)
    stages = {stage.stage: stage for stage in plan.stages}
    embeddings = nexted.embeddings()
    reader = load_embeddings(embeddings, nexted.store)
    assert stages["embeddings"].basis == stages["corpus"].basis == "counted"
    assert stages["embeddings"].n_tokens == embeddings.record.counts["positions"]
    rows = sum(shard.record.counts["rows"] for shard in reader.shards)
    assert stages["embeddings"].note.startswith(f"{rows:,} rows in the shards")
    states = sum(_chunks(shard, "part.zarr/states") for shard in reader.shards)
    assert states == pytest.approx(rows * 32 * 4, rel=0.01)
    corpus = nexted.corpus()
    planned = stages["corpus"].stored_bytes - 40 * corpus.record.counts["n_documents"]
    assert planned == pytest.approx(_chunks(corpus, "windows.zarr"), rel=0.01)


def _chunks(artifact, folder: str) -> int:
    files = artifact.record.files.items()
    return sum(e["bytes"] for name, e in files if name.startswith(folder) and "/c/" in name)


def test_what_stands_is_counted_and_not_estimated(nexted):
    dictionary = nexted.dictionary()
    plan = make_plan(nexted.config)
    assert "embeddings/" in plan.quantities.census.basis
    assert plan.quantities.n_composed == dictionary.record.counts["composed_words"]
    assert plan.quantities.census.n_covered == dictionary.record.counts["tokens_with_senses"]
    assert plan.quantities.census.rows(3) == nexted.senses().record.counts["senses"]


def test_the_length_of_shards_is_told_and_short_or_many_ones_are_named(planned):
    # 32,768 tokens of an 8 B teacher: 2 * 8e9 * 32,768 / (0.4 * 989e12) = 1.3 s on an H100.
    short = planned("llama3-8b", embeddings={"shard_tokens": 32_768})
    told = " ".join(sentences(short, [named_gpu("h100-80gb")]))
    stage = next(s for s in short.stages if s.stage == "embeddings")
    assert 1.3 < short.shard_seconds(stage, named_gpu("h100-80gb")) < 3
    assert (
        f"The {stage.n_shards:,} shards of embeddings are more than 2,000 and under 40 s on "
        "H100-80GB: raise embeddings.shard_tokens."
    ) in told
    assert "shards of senses are" not in told  # a few dozen
    slow = Device("slow", 1e12, 1e12, 1, 1e9, utilisation=0.5)
    plan = planned("llama3-8b")
    stage = next(s for s in plan.stages if s.stage == "embeddings")
    seconds = plan.hours(stage, slow) * 3600 / stage.n_shards
    told = " ".join(sentences(plan, [slow]))
    assert f"Shards of embeddings: {seconds:,.3g} s on slow." in told
    assert "shards of embeddings are" not in told
