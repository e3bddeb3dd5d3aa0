"""lm-evaluation-harness as its users run it on local data, beside our scores of the same items.

``simple_evaluate`` with its own task files, its own HFLM and nothing of dskd: only the data set
under a task is named anew, as a task file may, because the hub's is the same data in other files.
Run on a teacher it prints what docs/evaluation.md says of it:

    python -m tests.core.evaluation.benchmarks.directly work/artifacts/teacher/... \
        --data ../shared/data/benchmarks --items 25 --dtype bfloat16
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from dskd_core.config import BenchmarkConfig, EvaluationConfig, TeacherConfig
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.evaluation.benchmarks.items import build_items
from dskd_core.evaluation.benchmarks.layout import TABLE
from dskd_core.evaluation.benchmarks.store import (
    collect_scores,
    plan_scoring,
    score_shard,
)
from dskd_core.store.artifacts import ArtifactStore

SUBJECTS = ("anatomy", "college_physics", "jurisprudence", "marketing")
TASKS = ("arc", "commonsense_qa", "mmlu", "piqa", "squad")
_FILES = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    **{f"mmlu_{subject}": f"mmlu/default/mmlu_{subject}.yaml" for subject in SUBJECTS},
    "piqa": "piqa/piqa.yaml",
}
_SQUAD = """
from lm_eval.tasks.squadv2.task import SQuAD2

class Local(SQuAD2):
    DATASET_PATH = {folder!r}

    # Version 0.4.13 calls both with one argument more for an exemplar, and fails.
    def doc_to_text(self, doc, _=None):
        return super().doc_to_text(doc)

    def doc_to_target(self, doc, _=None):
        return super().doc_to_target(doc)

    # Its metric is a download: what it would be given is kept, and means are formed elsewhere.
    def process_results(self, doc, results):
        return {{"found": super().process_results(doc, results)["f1"]}}

    def aggregation(self):
        return {{"found": len}}

    def higher_is_better(self):
        return {{"found": True}}
"""


def spread(rows, n):
    """Return ``n`` rows from everywhere in a file."""
    return [rows[i] for i in np.linspace(0, len(rows) - 1, n).astype(int)]


def lines_of(path):
    return path.read_text("utf-8").splitlines(keepends=True)


def write_items(data, folder, n):
    """Write ``n`` items of each benchmark in its authors' format, and exemplars; return settings.

    Returns:
        What to put in a ``BenchmarkConfig``, by benchmark.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for task, asked, pool in (
        ("arc", "arc/ARC-Challenge-Test.jsonl", "arc/ARC-Challenge-Dev.jsonl"),
        ("commonsense_qa", "csqa/dev_rand_split.jsonl", "csqa/train_rand_split.jsonl"),
    ):
        (folder / f"{task}.jsonl").write_text("".join(spread(lines_of(data / asked), n)))
        made[task] = {"uri": folder / f"{task}.jsonl", "exemplars_uri": data / pool}
    made["piqa"] = _write_piqa(data / "piqa", folder / "piqa", n)
    made["mmlu"] = _write_mmlu(data / "mmlu", folder / "mmlu", n)
    made["squad"] = _write_squad(data / "squad/dev-half-v2.0.json", folder, n)
    return {
        task: {"task": task, "n_exemplars": 1 if task == "squad" else 5}
        | {name: str(path) for name, path in places.items()}
        for task, places in made.items()
    }


def _write_piqa(data, folder, n):
    folder.mkdir()
    pairs = list(
        zip(lines_of(data / "valid.jsonl"), lines_of(data / "valid-labels.lst"), strict=True)
    )
    parts = {"train": pairs[:200], "valid": spread(pairs[200:], n)}
    for part, rows in parts.items():
        (folder / f"{part}.jsonl").write_text("".join(row for row, _ in rows), "utf-8")
        (folder / f"{part}-labels.lst").write_text("".join(label for _, label in rows))
    return {
        "uri": folder / "valid.jsonl",
        "labels_uri": folder / "valid-labels.lst",
        "exemplars_uri": folder / "train.jsonl",
        "exemplars_labels_uri": folder / "train-labels.lst",
    }


def _write_mmlu(data, folder, n):
    (folder / "test").mkdir(parents=True)
    for number, subject in enumerate(SUBJECTS):
        own = len(range(number, n, len(SUBJECTS)))
        with (data / f"test/{subject}_test.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[: 1 + own]
        with (folder / f"test/{subject}_test.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return {"uri": folder / "test", "exemplars_uri": data / "dev"}


def _write_squad(path, folder, n):
    """Take one question of each of ``n`` paragraphs, and exemplars of other articles."""
    articles = json.loads(path.read_text("utf-8"))["data"]
    half = len(articles) // 2
    asked = [(a["title"], p) for a in articles[half:] for p in a["paragraphs"]]
    items = [
        {"title": title, "paragraphs": [p | {"qas": [p["qas"][number % len(p["qas"])]]}]}
        for number, (title, p) in enumerate(spread(asked, n))
    ]
    for name, found in (("items", items), ("exemplars", articles[:half])):
        text = json.dumps({"version": "v2.0", "data": found})
        (folder / f"squad-{name}.json").write_text(text, "utf-8")
    return {"uri": folder / "squad-items.json", "exemplars_uri": folder / "squad-exemplars.json"}


def ours(root, model, dtype, benchmark, **options):
    """Score the items as ``dskd score`` does; return a row for each."""
    config = EvaluationConfig(
        benchmarks=[BenchmarkConfig(**benchmark)], protocols=("harness",), **options
    )
    store, teacher_config = (
        ArtifactStore(str(root)),
        TeacherConfig(source=str(model), dtype=dtype, device="cpu"),
    )
    teacher = prepare_teacher(store, teacher_config)
    items = build_items(store, config, config.benchmarks[0], "harness", teacher)
    parts = [
        score_shard(store, config, teacher_config, teacher, items, shard)
        for shard in plan_scoring(items, config, teacher)
    ]
    return collect_scores(store, config, teacher, [items], parts).table(TABLE).to_pylist()


def theirs(folder, model, benchmark):
    """Score the items by lm-evaluation-harness alone; return its samples and its results.

    Args:
        folder: empty, for its task files and their data.
        model: its HFLM.
        benchmark: of :func:`write_items`.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    names = _write_tasks(folder, benchmark)
    found = simple_evaluate(
        model=model,
        tasks=names,
        num_fewshot=benchmark["n_exemplars"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = [s for n in names for s in sorted(found["samples"][n], key=lambda s: s["doc_id"])]
    return samples, {name: found["results"][name] for name in names}


def _write_tasks(folder, benchmark):
    """Write the task files and the rows of the hub's columns they read; return their names."""
    folder.mkdir(parents=True)
    task = benchmark["task"]
    if task == "squad":
        for split, uri in (("train", "exemplars_uri"), ("validation", "uri")):
            _write_rows(folder / f"rows/{split}.jsonl", _squad_rows(Path(benchmark[uri])))
        (folder / "local.py").write_text(_SQUAD.format(folder=str(folder / "rows")))
        (folder / "squad.yaml").write_text("task: squadv2\nclass: !function local.Local\n")
        return ["squadv2"]
    import lm_eval

    names = {"arc": ["arc_challenge"], "mmlu": [f"mmlu_{s}" for s in SUBJECTS]}.get(task, [task])
    for name in names:
        files = {}
        for split, rows in _rows(benchmark, name).items():
            files[split] = str(folder / f"{name}-{split}.jsonl")
            _write_rows(Path(files[split]), rows)
        settings = {
            "include": str(Path(lm_eval.__file__).parent / "tasks" / _FILES[name]),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return names


def _write_rows(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _rows(benchmark, name):
    """Return the rows of each split that a task names."""
    read = {"arc": _choice_rows, "commonsense_qa": _choice_rows, "piqa": _piqa_rows}
    asked, pool = Path(benchmark["uri"]), Path(benchmark["exemplars_uri"])
    if benchmark["task"] == "mmlu":
        subject = name.removeprefix("mmlu_")
        asked, pool = asked / f"{subject}_test.csv", pool / f"{subject}_dev.csv"
        return {"test": _mmlu_rows(asked, subject), "dev": _mmlu_rows(pool, subject)}
    read = read[benchmark["task"]]
    return {"train": read(pool), "validation": read(asked), "test": read(asked)}


def _choice_rows(path):
    for line in lines_of(path):
        row = json.loads(line)
        choices = row["question"]["choices"]
        yield {
            "id": row["id"],
            "question": row["question"]["stem"],
            "choices": {key: [choice[key] for choice in choices] for key in ("text", "label")},
            "answerKey": row["answerKey"],
        }


def _piqa_rows(path):
    labels = lines_of(path.with_name(f"{path.stem}-labels.lst"))
    for line, label in zip(lines_of(path), labels, strict=True):
        row = json.loads(line)
        yield {key: row[key] for key in ("goal", "sol1", "sol2")} | {"label": int(label)}


def _mmlu_rows(path, subject):
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            choices = [row[f"choice{i}"] for i in range(4)]
            question = {"question": row["question"], "subject": subject, "choices": choices}
            yield question | {"answer": int(row["answer"])}


def _squad_rows(path):
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = asked["answers"]
                yield {
                    "id": asked["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {key: [a[key] for a in answers] for key in ("text", "answer_start")},
                }


def likelihoods_of(sample):
    """Return the log-likelihoods of a sample, and the text that was generated for it, or None."""
    found = [answer for (answer,) in sample["resps"]]
    texts = [answer for answer in found if isinstance(answer, str)]
    pairs = [answer for answer in found if not isinstance(answer, str)]
    return [float(value) for value, _ in pairs], texts[0] if texts else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="A folder of transformers, such as a teacher.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/benchmarks"))
    parser.add_argument("--items", type=int, default=25)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--softmax", help="The type of its log-softmax; the model's if left out.")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    asked = parser.parse_args()
    from lm_eval.models.huggingface import HFLM

    folder = Path(tempfile.mkdtemp())
    settings = write_items(asked.data, folder / "items", asked.items)
    types = {"dtype": asked.dtype, "softmax_dtype": asked.softmax}
    model = HFLM(pretrained=str(asked.model), device="cpu", batch_size=8, **types)
    for task in asked.tasks:
        began = time.monotonic()
        rows = ours(folder / "artifacts", asked.model, asked.dtype, settings[task])
        middle = time.monotonic()
        samples, results = theirs(folder / task, model, settings[task])
        print(json.dumps(summary(task, rows, samples, results)), flush=True)
        print(
            f"  ours {middle - began:.0f} s, theirs {time.monotonic() - middle:.0f} s", flush=True
        )


def summary(task, rows, samples, results):
    """Return what is compared of one benchmark, in figures."""
    pairs = [(row, *likelihoods_of(s)) for row, s in zip(rows, samples, strict=True)]
    gaps = [
        abs(a - b) for row, values, _ in pairs for a, b in zip(row["logprobs"], values, strict=True)
    ]
    made = {"task": task, "items": len(rows), "score": float(np.mean([r["score"] for r in rows]))}
    if task == "squad":
        made["answers alike"] = sum(row["answer"] == text for row, _, text in pairs)
    else:
        made["their acc"] = float(np.mean([s["acc"] for s in samples]))
        made["their means"] = {k: v["acc,none"] for k, v in results.items()}
        made["items alike"] = sum(
            row["score"] == s["acc"] for row, s in zip(rows, samples, strict=True)
        )
    return made | {
        "log-likelihoods": len(gaps),
        "mean gap": float(np.mean(gaps)),
        "largest gap": float(np.max(gaps)),
    }


if __name__ == "__main__":
    main()
