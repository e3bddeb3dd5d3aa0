import json
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.evaluation.benchmarks.checkpoints import open_checkpoint, score_checkpoint
from dskd_core.evaluation.benchmarks.items import build_items
from dskd_core.evaluation.benchmarks.layout import TABLE, read_requests
from dskd_core.evaluation.benchmarks.store import (
    collect_scores,
    plan_scoring,
    score_shard,
)
from dskd_core.store.artifacts import ArtifactStore, Work
from tests.core.evaluation.benchmarks.conftest import choice_row, write_lines


def rows_for(table, task, protocol):
    return [r for r in table.to_pylist() if (r["task"], r["protocol"]) == (task, protocol)]


def test_every_answered_item_is_scored_once_in_both_protocols(scored):
    table = scored.table(TABLE)
    counts = {"arc": 8, "commonsense_qa": 8, "mmlu": 12, "piqa": 6, "squad": 9}
    for task, n in counts.items():
        assert len({row["item"] for row in rows_for(table, task, "paper")}) == n
    counts["commonsense_qa"] = 7  # its wording in the harness names five choices
    for task, n in counts.items():
        assert len({row["item"] for row in rows_for(table, task, "harness")}) == n
    assert all(0.0 <= row["score"] <= 1.0 for row in table.to_pylist())
    reports = {(b["task"], b["protocol"]): b for b in scored.record.report["benchmarks"]}
    assert reports["arc", "paper"]["counts"]["without_answer"] == 1
    assert reports["arc", "paper"]["reading"]["items"]["noted"] == {"no_answer": 1}
    assert reports["commonsense_qa", "harness"]["counts"]["other_number_of_choices"] == 1


def test_unequal_choices_and_numeric_keys_are_asked_by_letter(scored):
    table = scored.table(TABLE)
    paper = {row["item"]: row for row in rows_for(table, "arc", "paper")}
    assert paper["arc/q6"]["gold"] == ["B"]  # its key is 2
    assert paper["arc/q7"]["gold"] == ["E"]
    harness = {row["item"]: row for row in rows_for(table, "arc", "harness")}
    assert {name: len(row["logprobs"]) for name, row in harness.items()} == {
        **{f"arc/q{i}": 4 for i in range(6)},
        "arc/q6": 3,
        "arc/q7": 5,
    }


def test_the_papers_answers_are_those_of_generating_one_by_one(bench, tmp_path):
    config = bench.config("mmlu", "squad", shard=10_000)
    teacher = load_teacher(bench.teacher, bench.teacher_config)
    padded_rows = range(teacher.n_tokens, teacher.model.get_output_embeddings().weight.shape[0])
    tokenizer = load_tokenizer(bench.teacher.folder())
    rows = {r["item"]: r for r in bench.scores(tmp_path, config).table(TABLE).to_pylist()}
    for items, n_tokens in zip(bench.items(tmp_path, config), (1, 4), strict=True):
        requests = read_requests(items)
        for name, (ids,) in zip(items.table("items.parquet")["item"], requests.ids, strict=True):
            prompt = torch.tensor([[*requests.prefix, *ids.tolist()]])
            written = teacher.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=n_tokens,
                do_sample=False,
                pad_token_id=0,
                suppress_tokens=list(padded_rows),
            )[0, prompt.shape[1] :]
            expected = tokenizer.hf.decode(written, skip_special_tokens=True)
            assert rows[name.as_py()]["answer"] == expected


def test_a_prompt_has_its_exemplars_and_the_question_in_the_chat_template(bench, tmp_path):
    (items,) = bench.items(tmp_path, bench.config("piqa"))
    tokenizer = load_tokenizer(bench.teacher.folder())
    row = items.table("items.parquet").to_pylist()[0]
    text = tokenizer.decode(read_requests(items).ids[0][0].tolist())
    end = "Answer with the number of the better way."

    def turn(name):
        i = int(name.rpartition(":")[2]) - 1
        things = ["tin", "wood", "stone", "cork", "iron", "wool"]
        return (
            f"[user]Dry cup {i}\n1. {things[i]} towel\n2. Use {things[i]}.\n{end}<end>[assistant]"
        )

    shots = "".join(
        f"{turn(name)}{1 + (int(name.rpartition(':')[2]) - 1) % 2}<end>"
        for name in row["exemplars"]
    )
    assert text == shots + turn(row["item"])
    assert len(row["exemplars"]) == 2


@pytest.mark.parametrize("protocol", ["paper", "harness"])
@pytest.mark.parametrize("place", ["same file", "train file"])
def test_no_item_is_ever_its_own_exemplar(bench, tmp_path, protocol, place):
    """Every item has a twin under another id; only two questions in the file have none."""
    twins = [
        choice_row(10 * i + k, "ABCD", "A", stem="Which of these floats")
        | {"question": choice_row(i, "ABCD", "A")["question"]}
        for i in range(4)
        for k in (0, 1)
    ]
    others = [choice_row(80 + i, "ABCD", "B", stem="Another") for i in range(2)]
    write_lines(tmp_path / "twins.jsonl", twins + others)
    changes = {"uri": str(tmp_path / "twins.jsonl"), "n_exemplars": 2}
    if place == "train file":
        write_lines(tmp_path / "train.jsonl", [*twins, *others[:1]])
        changes |= {"exemplars_uri": str(tmp_path / "train.jsonl"), "max_items": 6}
    config = bench.config("arc", protocols=(protocol,), **changes)
    (items,) = bench.items(tmp_path / "a", config)
    rows = items.table("items.parquet").to_pylist()
    texts = {row["id"]: json.dumps(row["question"]) for row in (*twins, *others)}
    n_drawn = 0
    for row in rows:
        own = texts[row["item"].removeprefix("arc/")]
        drawn = [texts[name.removeprefix("arc/")] for name in row["exemplars"]]
        assert own not in drawn
        assert len(set(drawn)) == len(drawn)
        n_drawn += len(drawn)
    assert n_drawn
    if place == "train file":
        assert items.record.report["counts"]["exemplars_that_are_items"] > 0


def test_squads_exemplar_shares_the_passage(bench, tmp_path):
    (items,) = bench.items(tmp_path, bench.config("squad"))
    for row in items.table("items.parquet").to_pylist():
        (exemplar,) = row["exemplars"]
        assert exemplar != row["item"]
        assert exemplar.partition("-")[0] == row["item"].partition("-")[0]


def test_prompts_beyond_the_context_lose_exemplars_and_are_counted(bench, tmp_path, monkeypatch):
    from dskd_core.evaluation.benchmarks import items

    monkeypatch.setattr(items, "context_tokens", lambda _: 150)
    (items,) = bench.items(tmp_path, bench.config("arc"))
    table = items.table("items.parquet")
    assert items.record.report["counts"]["shortened"] > 0
    shortened = [row for row in table.to_pylist() if len(row["exemplars"]) < 2]
    assert shortened
    assert all(row["n_prompt_tokens"] <= 150 - 2 for row in shortened)


def test_neither_the_cut_nor_the_order_of_shards_changes_a_score(bench, scored, tmp_path):
    config = bench.config(
        "arc", "commonsense_qa", "mmlu", "piqa", "squad", protocols=("paper", "harness"), shard=9000
    )
    other = bench.scores(tmp_path, config, order=-1)
    assert other.table(TABLE).equals(scored.table(TABLE))


def test_a_killed_run_finds_the_shards_it_finished(bench, tmp_path, monkeypatch):
    config = bench.config("arc", "piqa", shard=300)
    store = ArtifactStore(str(tmp_path))
    items = bench.items(tmp_path, config)
    shards = plan_scoring(items[0], config, bench.teacher)
    assert len(shards) > 1
    call = (store, config, bench.teacher_config, bench.teacher, items[0])
    done = score_shard(*call, shards[0])
    with monkeypatch.context() as patch:
        patch.setattr(
            "dskd_core.evaluation.benchmarks.paper.scoring.greedy_answers", lambda *_: 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            score_shard(*call, shards[1])
        assert score_shard(*call, shards[0]).record == done.record
    with pytest.raises(ArtifactError, match="not each of the 8"):
        collect_scores(store, config, bench.teacher, items, [done])
    assert bench.scores(tmp_path, config).record.counts["items"] == 8 + 6


def test_items_that_were_trained_on_are_marked(bench, tmp_path):
    config = bench.config("arc", "squad")
    store = ArtifactStore(str(tmp_path))
    items = bench.items(tmp_path, config)
    arc, squad = (made.table("items.parquet").to_pylist() for made in items)
    work = Work("questions", {}, {})
    rows = [
        {"id": "arc/x", "fingerprint": arc[0]["fingerprint"], "group": "arc/x", "exemplars": []},
        {"id": "arc/y", "fingerprint": "0", "group": "arc/y", "exemplars": [arc[3]["item"]]},
        {"id": "squad/z", "fingerprint": "1", "group": squad[0]["group"], "exemplars": []},
    ]
    with store.publish(work) as draft:
        draft.write_table("questions.parquet", pa.Table.from_pylist(rows))
    scores = bench.scores(tmp_path, config, trained_on=store.find(work))
    table = scores.table(TABLE).to_pylist()
    assert {r["item"] for r in table if r["in_training"]} == {arc[0]["item"], arc[3]["item"]}
    passage = [r["item"] for r in squad if r["group"] == squad[0]["group"]]
    assert len(passage) == 3
    assert [r["item"] for r in table if r["passage_in_training"]] == passage
    assert scores.record.counts["items_in_training"] == 2
    assert scores.record.counts["passages_in_training"] == 3


def test_mmlu_is_the_mean_of_its_subjects_means(scored):
    rows = rows_for(scored.table(TABLE), "mmlu", "harness")
    means = [
        np.mean([row["score"] for row in rows if row["subject"] == subject])
        for subject in ("anatomy", "virology")
    ]
    (found,) = [
        row
        for row in scored.record.report["accuracies"]
        if (row["task"], row["protocol"]) == ("mmlu", "harness")
    ]
    assert found["score"] == pytest.approx(np.mean(means))
    assert found["subjects"] == 2


def test_an_absent_harness_is_refused_with_its_cure(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'dskd\[eval\]'"):
        bench.items(tmp_path, bench.config("arc", protocols=("harness",)))


def test_a_file_without_answers_is_refused(bench, tmp_path):
    write_lines(tmp_path / "test.jsonl", [choice_row(i, "ABCD", None) for i in range(2)])
    config = bench.config("arc", uri=str(tmp_path / "test.jsonl"))
    with pytest.raises(DataError, match="None of the 2 arc questions"):
        bench.items(tmp_path, config)


def test_another_tokenizers_items_are_refused(bench, tmp_path):
    config = bench.config("arc")
    store = ArtifactStore(str(tmp_path))
    items = build_items(store, config, config.benchmarks[0], "paper", bench.teacher)
    items.record.inputs["tokenizer"] = "another"
    shard = plan_scoring(items, config, bench.teacher)[0]
    with pytest.raises(ArtifactError, match="another"):
        score_shard(store, config, bench.teacher_config, bench.teacher, items, shard)


def test_any_checkpoint_is_scored_as_the_teacher_is(bench, tmp_path):
    store, config = ArtifactStore(str(tmp_path)), bench.config("piqa")
    model = open_checkpoint(store, bench.teacher_config, str(bench.folder / "teacher"))
    told = []
    scores = score_checkpoint(
        store, config, bench.teacher_config, model, progress=lambda *line: told.append(line)
    )
    assert scores.table(TABLE).equals(bench.scores(tmp_path / "b", config).table(TABLE))
    n = len(scores.table(TABLE))
    assert told[-1] == (n, n, "items (piqa paper, part 1 of 1)")
    assert open_checkpoint(store, bench.teacher_config, model.uri).fingerprint == model.fingerprint
