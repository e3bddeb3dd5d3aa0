"""Scores of the harness's protocol against lm-evaluation-harness run directly on the folder."""

import json

import pytest

from dskd_core.evaluation.benchmarks.layout import TABLE

pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def direct(bench):
    """Run lm-evaluation-harness itself: its tasks over JSON files with the hub's columns."""
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=str(bench.folder / "teacher"), device="cpu", dtype="float32", batch_size=1
    )

    def run(task, n_exemplars):
        task.set_config("num_fewshot", n_exemplars)
        task.set_fewshot_seed(1234)  # what its command line does, without its index of all tasks
        found = evaluator.evaluate(
            lm=model, task_dict={task.task_name: task}, bootstrap_iters=0, log_samples=True
        )
        (samples,) = found["samples"].values()
        (results,) = found["results"].values()
        return samples, results

    return run


def json_task(name, folder, splits):
    """Return a task of the library with its data set replaced by files, and nothing else."""
    from pathlib import Path

    import lm_eval
    import yaml
    from lm_eval.api.task import ConfigurableTask

    path = Path(lm_eval.__file__).parent / "tasks" / name
    values = yaml.safe_load(path.read_text("utf-8"))
    if "include" in values:
        values = yaml.safe_load((path.parent / values.pop("include")).read_text("utf-8")) | values
    files = {}
    for split, rows in splits.items():
        files[split] = str(folder / f"{split}.jsonl")
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values.pop("tag", None)
    return ConfigurableTask(
        config=values
        | {
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        }
    )


def hub_arc(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {
            "id": row["id"],
            "question": row["question"]["stem"],
            "choices": {
                "text": [c["text"] for c in row["question"]["choices"]],
                "label": [c["label"] for c in row["question"]["choices"]],
            },
            "answerKey": row["answerKey"],
        }
        for row in rows
        if "answerKey" in row
    ]


def compare(rows, samples, results, metrics):
    assert len(rows) == len(samples)
    for row, sample in zip(rows, samples, strict=True):
        theirs = [float(value) for ((value, _),) in sample["resps"]]
        assert row["logprobs"] == pytest.approx(theirs, abs=1e-4)
        for column, metric in metrics.items():
            assert row[column] == sample[metric]
    for column, metric in metrics.items():
        mean = sum(row[column] for row in rows) / len(rows)
        assert mean == pytest.approx(results[f"{metric},none"])


def test_arc_with_exemplars_of_its_train_file(bench, direct, tmp_path):
    train = bench.folder / "dev_rand_split.jsonl"  # the same format
    config = bench.config("arc", protocols=("harness",), exemplars_uri=str(train))
    rows = bench.scores(tmp_path / "a", config).table(TABLE).to_pylist()
    splits = {"test": hub_arc(bench.folder / "ARC-Challenge-Test.jsonl")}
    splits |= {"train": hub_arc(train), "validation": splits["test"]}
    task = json_task("arc/arc_challenge.yaml", tmp_path, splits)
    compare(rows, *direct(task, 2), {"score": "acc", "score_norm": "acc_norm"})


def test_piqa_keeps_the_outer_space_of_its_texts(bench, direct, tmp_path):
    config = bench.config("piqa", protocols=("harness",), n_exemplars=0)
    rows = bench.scores(tmp_path / "a", config).table(TABLE).to_pylist()
    texts = (bench.folder / "valid.jsonl").read_text().splitlines()
    labels = (bench.folder / "valid-labels.lst").read_text().split()
    items = [json.loads(t) | {"label": int(k)} for t, k in zip(texts, labels, strict=True)]
    task = json_task("piqa/piqa.yaml", tmp_path, {"train": items, "validation": items})
    compare(rows, *direct(task, 0), {"score": "acc", "score_norm": "acc_norm"})


def test_an_mmlu_subject_with_its_dev_questions(bench, direct, tmp_path):
    import csv

    config = bench.config(
        "mmlu", protocols=("harness",), exemplars_uri=str(bench.folder / "mmlu/dev")
    )
    table = bench.scores(tmp_path / "a", config).table(TABLE).to_pylist()
    splits = {}
    for part in ("dev", "test"):
        with (bench.folder / f"mmlu/{part}/anatomy_{part}.csv").open(newline="") as file:
            splits[part] = [
                {"question": q, "subject": "anatomy", "choices": c, "answer": "ABCD".index(a)}
                for q, *c, a in csv.reader(file)
            ]
    task = json_task("mmlu/default/mmlu_anatomy.yaml", tmp_path, splits)
    rows = [row for row in table if row["subject"] == "anatomy"]
    compare(rows, *direct(task, 2), {"score": "acc"})
    assert {tuple(row["exemplars"]) for row in rows} == {
        ("mmlu/anatomy_dev:1", "mmlu/anatomy_dev:2")
    }


def test_squad_generates_what_the_harness_generates(bench, direct, tmp_path):
    from dskd_core.evaluation.benchmarks.harness.tasks import hub_row, make_task
    from dskd_core.evaluation.benchmarks.questions import read_benchmark

    config = bench.config("squad", protocols=("harness",), n_exemplars=0)
    rows = bench.scores(tmp_path / "a", config).table(TABLE).to_pylist()
    items = [hub_row(q) for q in read_benchmark(config.benchmarks[0], 0).items]
    task = make_task("squad", "", items, items, same_file=False)
    # Its own aggregation downloads a metric, so the answers are compared and not the means.
    task.aggregation = lambda: {}
    task.process_results = lambda doc, results: {"found": results}
    samples, _ = direct_samples(bench, task)
    for row, (text, (value, _)) in zip(rows, samples, strict=True):
        assert row["answer"] == text
        assert row["logprobs"] == pytest.approx([value], abs=1e-4)


def direct_samples(bench, task):
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=str(bench.folder / "teacher"), device="cpu", dtype="float32", batch_size=1
    )
    found = []
    for number, doc in enumerate(task.eval_docs):
        context = task.fewshot_context(doc, num_fewshot=0)
        written, none = task.construct_requests(doc=doc, ctx=context, metadata=("s", number, 1))
        text = model.generate_until([written], disable_tqdm=True)[0]
        found.append((text, model.loglikelihood([none], disable_tqdm=True)[0]))
    return found, None


def test_an_end_that_a_tokenizer_adds_stands_in_no_request(bench):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig

    from dskd_core.decoder.tokenizer import load_tokenizer
    from dskd_core.evaluation.benchmarks.harness.items import Encoder

    folder = bench.folder / "teacher"
    hf = load_tokenizer(folder).hf
    config = AutoConfig.from_pretrained(folder)
    plain = Encoder(hf, config).encode_pair("The river", " bank")
    begin, end = hf.bos_token, hf.eos_token
    hf.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}",
        special_tokens=[(begin, hf.bos_token_id), (end, hf.eos_token_id)],
    )
    ids, n = Encoder(hf, config).encode_pair("The river", " bank")
    assert (ids.tolist(), n) == (plain[0].tolist(), plain[1])


def test_a_continuation_that_is_joined_with_its_context_keeps_tokens_of_its_own(bench):
    from transformers import AutoConfig

    from dskd_core.decoder.tokenizer import load_tokenizer
    from dskd_core.evaluation.benchmarks.harness.items import Encoder

    folder = bench.folder / "teacher"
    tokenizer = load_tokenizer(folder)
    whole = next(
        text
        for text, number in sorted(tokenizer.hf.get_vocab().items())
        if text.isalpha() and text.isascii() and len(text) > 3
    )
    start, rest = whole[:-1], whole[-1]
    assert len(tokenizer.encode(whole)) == 1
    ids, n = Encoder(tokenizer.hf, AutoConfig.from_pretrained(folder)).encode_pair(start, rest)
    begin = [tokenizer.hf.bos_token_id]
    assert ids.tolist() == begin + tokenizer.encode(start) + tokenizer.encode(rest)
    assert n == len(tokenizer.encode(rest)) > 0
