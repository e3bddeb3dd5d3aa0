import pytest

from dskd_core.config import EmbeddingsConfig, PromptsConfig
from dskd_core.corpus.store import load_windows
from dskd_core.corpus.windows import document_hash
from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings.store import extract_shard, plan_shards
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.prompts.store import answer_shard, build_questions, collect_prompts, plan_prompts
from dskd_core.store.artifacts import ArtifactStore, Work
from tests.core.prompts.test_answers import one_by_one


def run(asked, folder, *, order=1, n_given=None, **changes):
    config, teacher_config, teacher = asked
    config = config.model_copy(update=changes)
    store = ArtifactStore(str(folder))
    questions = build_questions(store, config, teacher)
    shards = plan_prompts(questions, config)
    parts = [
        answer_shard(store, config, teacher_config, teacher, questions, shard)
        for shard in shards[::order]
    ]
    return collect_prompts(store, config, teacher, questions, parts[:n_given])


@pytest.fixture(scope="module")
def prompts(asked, tmp_path_factory):
    return run(asked, tmp_path_factory.mktemp("artifacts"))


def test_windows_are_prompts_with_the_teachers_greedy_answers(asked, prompts):
    _, teacher_config, teacher_artifact = asked
    teacher = load_teacher(teacher_artifact, teacher_config)
    loaded, table = load_windows(prompts), prompts.table("questions.parquet").to_pylist()
    assert loaded.n_windows == len(table) == 15 + 12
    assert loaded.prefix == (1,)
    for index in range(loaded.n_windows):
        ids, flags = loaded.window(index), loaded.answer(index)
        n_prompt = int((~flags).sum())
        assert not flags[:n_prompt].any()
        assert flags[n_prompt:].all()
        n_tokens = table[index]["answer_tokens"]
        expected = one_by_one(teacher, [1, *ids[:n_prompt].tolist()], n_tokens, {2})
        assert ids[n_prompt:].tolist() == expected


def test_a_prompt_reads_as_the_template_has_it(asked, prompts):
    loaded, tokenizer = load_windows(prompts), load_tokenizer(asked[2].folder())
    table = prompts.table("questions.parquet").to_pylist()
    index = next(i for i, row in enumerate(table) if row["task"] == "arc")
    number = int(table[index]["id"].removeprefix("arc/a"))
    shots = [int(name.removeprefix("arc/a")) for name in table[index]["exemplars"]]

    def turn(i):
        end = "Answer with the letter of the right choice."
        return f"[user]Which is number {i}?\nA. A{i}\nB. B{i}\nC. C{i}\n{end}<end>[assistant]"

    text = "".join(f"{turn(i)}{'ABC'[i % 3]}<end>" for i in shots) + turn(number)
    ids = loaded.window(index)[~loaded.answer(index)]
    assert tokenizer.decode(ids.tolist()) == text
    assert len(set(shots) - {number}) == 2


def test_the_artifact_has_the_layout_of_a_corpus(asked, prompts):
    loaded, documents = load_windows(prompts), prompts.table("documents.parquet").to_pylist()
    ids = [row["document_id"] for row in documents]
    assert [row["title"] for row in documents] == ids
    assert [row["n_tokens"] for row in documents] == loaded.lengths.tolist()
    assert [row["heldout"] for row in documents] == loaded.heldout.tolist()
    assert loaded.document_hashes.tolist() == [document_hash(name) for name in ids]
    assert loaded.documents.tolist() == list(range(27))
    assert not loaded.starts.any()
    assert loaded.document(3).tolist() == loaded.window(3).tolist()
    assert prompts.record.inputs["tokenizer"] == load_tokenizer(asked[2].folder()).fingerprint
    assert prompts.record.counts["n_answer_tokens"] == loaded.answers.sum()


def test_what_is_held_out_teaches_nothing_that_is_trained_on(prompts):
    table = prompts.table("questions.parquet").to_pylist()
    groups = {True: set(), False: set()}
    for row in table:
        groups[row["heldout"]].add(row["group"])
    assert groups[True]
    assert not groups[True] & groups[False]
    heldout = {row["id"] for row in table if row["heldout"]}
    assert not heldout & {e for row in table if not row["heldout"] for e in row["exemplars"]}


def test_neither_the_cut_nor_the_order_of_shards_changes_a_byte(asked, prompts, tmp_path):
    other = run(asked, tmp_path / "a", order=-1, shard_tokens=100_000)
    assert other.record.content == prompts.record.content
    assert run(asked, tmp_path / "b", seed=1).record.content != prompts.record.content


def test_the_report_counts_by_task(prompts):
    tasks = prompts.record.report["tasks"]
    assert tasks["arc"]["read"] == 30
    assert tasks["arc"]["taken"] == tasks["arc"]["prompts"] == 15
    assert tasks["arc"]["exemplars"] == 30
    assert tasks["squad"]["few_exemplars"] == 0
    table = prompts.table("questions.parquet").to_pylist()
    agreeing = [row for row in table if row["answer"] in row["gold"]]
    assert prompts.record.counts["n_agreeing"] == len(agreeing)
    assert [s["licence"] for s in prompts.record.report["sources"]] == ["CC BY-SA 4.0"] * 2


def test_long_prompts_are_left_out_and_counted(asked, prompts, tmp_path):
    config, _, teacher = asked
    loaded, store = load_windows(prompts), ArtifactStore(str(tmp_path))
    lengths = [1 + int((~loaded.answer(i)).sum()) for i in range(loaded.n_windows)]
    limit = sorted(lengths)[13]
    shorter = config.model_copy(update={"max_prompt_tokens": limit})
    record = build_questions(store, shorter, teacher).record
    n_long = sum(length > limit for length in lengths)
    assert n_long > 0
    assert sum(t.get("too_long", 0) for t in record.report["tasks"].values()) == n_long
    assert record.counts["n_prompts"] == 27 - n_long
    nothing = config.model_copy(update={"max_prompt_tokens": 32})
    with pytest.raises(DataError, match="leave no prompt"):
        build_questions(store, nothing, teacher)


def test_prompts_whose_answers_end_beyond_what_the_teacher_reads_are_left_out(
    asked, prompts, tmp_path, monkeypatch
):
    config, _, teacher = asked
    loaded, store = load_windows(prompts), ArtifactStore(str(tmp_path))
    answers = prompts.table("questions.parquet")["answer_tokens"].to_pylist()
    ends = [1 + int((~loaded.answer(i)).sum()) + n for i, n in enumerate(answers)]
    most = sorted(ends)[13]
    monkeypatch.setattr("dskd_core.prompts.store.most_positions", lambda folder: most)
    record = build_questions(store, config, teacher).record
    n_long = sum(end > most for end in ends)
    assert n_long > 0
    assert sum(t.get("too_long", 0) for t in record.report["tasks"].values()) == n_long
    monkeypatch.setattr("dskd_core.prompts.store.most_positions", lambda folder: None)
    assert build_questions(store, config, teacher).record.counts["n_prompts"] == 27


def test_embeddings_are_read_from_prompts_as_from_a_corpus(asked, prompts, tmp_path):
    _, teacher_config, teacher = asked
    config = EmbeddingsConfig(key="next", batch_tokens=2000)
    (shard,) = plan_shards(prompts, config)
    store = ArtifactStore(str(tmp_path))
    part = extract_shard(store, config, teacher_config, teacher, prompts, shard)
    assert part.record.counts["windows"] == int((~load_windows(prompts).heldout).sum())
    assert not set(part.group("part.zarr")["tokens"][:].tolist()) & {0, 1, 2}


def test_a_missing_shard_is_refused(asked, tmp_path):
    with pytest.raises(ArtifactError, match="collect all"):
        run(asked, tmp_path, n_given=-1)


def test_no_source_is_refused(asked, tmp_path):
    with pytest.raises(ConfigError, match="sources is empty"):
        build_questions(ArtifactStore(str(tmp_path)), PromptsConfig(), asked[2])


def test_another_teachers_prompts_are_refused(asked, tmp_path):
    config, teacher_config, teacher = asked
    store = ArtifactStore(str(tmp_path))
    questions = build_questions(store, config, teacher)
    work = Work("questions", {}, {"tokenizer": "another"})
    with store.publish(work) as draft:
        draft.write_json("empty.json", {})
    shard = plan_prompts(questions, config)[0]
    with pytest.raises(ArtifactError, match="another"):
        answer_shard(store, config, teacher_config, teacher, store.find(work), shard)


def test_a_run_that_was_killed_finds_the_shards_it_finished(asked, tmp_path, monkeypatch):
    config, teacher_config, teacher = asked
    store = ArtifactStore(str(tmp_path))
    questions = build_questions(store, config, teacher)
    shards = plan_prompts(questions, config)
    assert len(shards) > 2
    done = answer_shard(store, config, teacher_config, teacher, questions, shards[0])
    with monkeypatch.context() as patch:
        patch.setattr("dskd_core.prompts.answers.greedy_answers", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            answer_shard(store, config, teacher_config, teacher, questions, shards[1])
        found = answer_shard(store, config, teacher_config, teacher, questions, shards[0])
        assert found.record == done.record
    parts = [
        answer_shard(store, config, teacher_config, teacher, questions, shard) for shard in shards
    ]
    collected = collect_prompts(store, config, teacher, questions, parts)
    assert collected.record.counts["n_windows"] == 27
