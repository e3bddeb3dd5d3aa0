import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from dskd_core.config import PromptSourceConfig
from dskd_core.corpus import hub
from dskd_core.errors import ConfigError, DataError
from dskd_core.prompts.questions import Account, Question, agrees
from dskd_core.prompts.readers import content_fingerprint, read_questions


def read(task, path, account=None, split="train", **settings):
    source = PromptSourceConfig(task=task, uri=str(path), **settings)
    return list(read_questions(source, account, split=split))


def write_lines(path, rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    return path


def arc_row(name, labels, key, *, stem="What floats?"):
    choices = [{"text": f"choice {label}", "label": label} for label in labels]
    return {"id": name, "question": {"stem": stem, "choices": choices}, "answerKey": key}


def test_arc_has_three_or_five_choices_and_keys_of_letters_or_numbers(tmp_path):
    rows = [arc_row("a", "ABC", "C"), arc_row("b", "12345", "2"), arc_row("c", "1234", "4")]
    first, second, third = read("arc", write_lines(tmp_path / "train.jsonl", rows))
    assert first == Question(
        "arc/a", "arc", "", "What floats?", ("choice A", "choice B", "choice C"), ("C",)
    )
    assert (second.labels, second.answer) == (("A", "B", "C", "D", "E"), "B")
    assert third.answer == "D"


def test_dirty_rows_are_counted_by_code_and_missing_answers_are_kept(tmp_path):
    rows = [
        arc_row("a", "ABC", "C"),
        arc_row("a", "ABC", "C"),
        '{"id": "torn',
        "[1]",
        arc_row("b", "ABC", "E"),
        arc_row("c", "A", "A"),
        arc_row("d", "ABC", "A", stem="  "),
        {"id": "e", "question": None},
        arc_row("f", "ABC", None),
        arc_row("g", "ABC", "B", stem="Bell \x07 or \ud800?"),
    ]
    account = Account()
    questions = read("arc", write_lines(tmp_path / "train.jsonl", rows), account)
    assert [q.id for q in questions] == ["arc/a", "arc/f", "arc/g"]
    assert questions[1].answer is None
    assert questions[2].text == "Bell \ufffd or \ufffd?"
    report = account.report()
    assert report["read"] == 3
    assert report["dirty"] == {
        "broken_line": 1,
        "not_an_object": 1,
        "missing_field": 3,
        "bad_answer": 1,
        "duplicate_id": 1,
    }
    assert report["noted"] == {"no_answer": 1, "invalid_character": 1}
    assert report["places"]["broken_line"] == ["train:3"]


def test_commonsense_qa_without_answers_is_read(tmp_path):
    row = arc_row("x", "ABCDE", "D")
    row["question"]["question_concept"] = "boat"
    bare = {k: v for k, v in arc_row("y", "ABCDE", "D").items() if k != "answerKey"}
    questions = read("commonsense_qa", write_lines(tmp_path / "a.jsonl", [row, bare]))
    assert [(q.id, q.answer) for q in questions] == [
        ("commonsense_qa/x", "D"),
        ("commonsense_qa/y", None),
    ]


ROWS = '"Two, or\nthree?",2,3,"4, 5",6,{}\nNext?,w,x,y,z,{}\n'


@pytest.mark.parametrize(
    "content",
    [
        ROWS.format("C", "A"),
        ROWS.format(2, 0),
        "\ufeffquestion,choice0,choice1,choice2,choice3,answer\n" + ROWS.format(2, 0),
        "question,A,B,C,D,answer\r\n" + ROWS.format("C", "A"),
    ],
)
def test_mmlu_is_the_same_with_and_without_header_in_letters_or_numbers(tmp_path, content):
    (tmp_path / "anatomy_dev.csv").write_text(content, "utf-8")
    first, second = read("mmlu", tmp_path, split="validation")
    assert first == Question(
        "mmlu/anatomy_dev:1", "mmlu", "anatomy", "Two, or\nthree?", ("2", "3", "4, 5", "6"), ("C",)
    )
    assert (second.text, second.answer) == ("Next?", "A")


def test_short_mmlu_rows_and_strange_answers_are_counted(tmp_path):
    (tmp_path / "anatomy_test.csv").write_text("only,two\nQ?,w,x,y,z,7\nQ?,w,x,y,z,\n")
    account = Account()
    (question,) = read("mmlu", tmp_path, account, split="test")
    assert question.answer is None
    assert account.counts == {"wrong_columns": 1, "bad_answer": 1, "no_answer": 1}


def test_the_split_is_told_by_the_path_and_training_never_takes_another(tmp_path):
    for name in ("auxiliary_train/mc_test", "dev/law_dev", "test/law_test", "val/law_val"):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{name},w,x,y,z,A\n")
    assert [q.text for q in read("mmlu", tmp_path)] == ["auxiliary_train/mc_test"]
    assert [q.text for q in read("mmlu", tmp_path, split="test")] == ["test/law_test"]
    assert [q.text for q in read("mmlu", tmp_path / "dev")] == ["dev/law_dev"]
    (tmp_path / "auxiliary_train/mc_test.csv").unlink()
    with pytest.raises(ConfigError, match="split train"):
        read("mmlu", tmp_path)


def test_piqa_takes_its_labels_from_the_other_file(tmp_path):
    rows = [{"goal": f"Do {i}", "sol1": "thus", "sol2": "so"} for i in range(3)]
    path = write_lines(tmp_path / "train.jsonl", [rows[0], "torn", rows[2]])
    labels = tmp_path / "keys.lst"
    labels.write_text("1\n0\n0\n")
    questions = read("piqa", path, labels_uri=str(labels))
    assert [(q.id, q.text, q.answer) for q in questions] == [
        ("piqa/train:1", "Do 0", "2"),
        ("piqa/train:3", "Do 2", "1"),
    ]
    assert [q.answer for q in read("piqa", path)] == [None, None]
    labels.rename(tmp_path / "train-labels.lst")
    assert [q.answer for q in read("piqa", path)] == ["2", "1"]
    packed = gzip.compress((tmp_path / "train-labels.lst").read_bytes())
    (tmp_path / "train-labels.lst").unlink()
    (tmp_path / "train-labels.lst.gz").write_bytes(packed)
    assert [q.answer for q in read("piqa", path)] == ["2", "1"]
    (tmp_path / "train-labels.lst.gz").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(DataError, match=r"train-labels\.lst\.gz is a zip archive"):
        read("piqa", path)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"goal": "a", "sol1": "b", "sol2": "c"}])
    (tmp_path / "train-labels.lst").write_text("1\n0\n")
    with pytest.raises(DataError, match="2 labels for the 1 questions"):
        read("piqa", path)
    with pytest.raises(ConfigError, match=r"nowhere.lst"):
        read("piqa", path, labels_uri="nowhere.lst")


def squad(*paragraphs):
    return json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]})


def test_squad_keeps_every_answer_and_marks_what_cannot_be_answered(tmp_path):
    entries = [
        {"id": "1", "question": "Who?", "answers": [{"text": t} for t in ("Ann", "Ann", "She")]},
        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
        {"id": "3", "question": "When?"},
        {"id": "4", "answers": []},
    ]
    path = tmp_path / "train-v2.0.json"
    path.write_text(squad({"context": " Ann left. ", "qas": entries}, {"context": 7, "qas": [{}]}))
    account = Account()
    who, why, when = read("squad", path, account)
    assert who.answers == ("Ann", "She")
    assert (who.context, who.subject) == ("Ann left.", "T")
    assert why.answer == "no answer"
    assert when.answer is None
    assert who.paragraph == why.paragraph != ""
    assert account.counts == Counter(missing_field=2, no_answer=1)


def test_answers_that_are_no_list_are_neither_answers_nor_a_question_without_one(tmp_path):
    shapes = ({"text": "abc"}, {"text": 5}, "abc", {}, {"text": []})
    entries = [{"id": str(i), "question": "Who?", "answers": a} for i, a in enumerate(shapes)]
    path = tmp_path / "train-v2.0.json"
    path.write_text(squad({"context": "Ann left.", "qas": entries}))
    account = Account()
    answers = [question.answers for question in read("squad", path, account)]
    assert answers == [(), (), (), (), ("no answer",)]
    assert account.counts == {"no_answer": 4}


def test_choices_that_are_no_list_are_counted(tmp_path):
    shapes = ({"label": 5, "text": ["p", "q"]}, {"label": "AB", "text": "pq"})
    rows = [
        {"id": i, "question": "Q?", "choices": c, "answerKey": "A"} for i, c in enumerate(shapes)
    ]
    account = Account()
    assert read("arc", write_lines(tmp_path / "train.jsonl", rows), account) == []
    assert account.counts == {"missing_field": 2}


def test_a_file_that_is_no_squad_is_refused(tmp_path):
    path = tmp_path / "train.json"
    path.write_text('{"rows": []}')
    with pytest.raises(DataError, match="no SQuAD file"):
        read("squad", path)


def test_the_fingerprint_of_a_source_changes_with_its_labels(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", [{"goal": "a", "sol1": "b", "sol2": "c"}])
    source = PromptSourceConfig(task="piqa", uri=str(path))
    bare = content_fingerprint(source)
    (tmp_path / "train-labels.lst").write_text("1\n")
    assert content_fingerprint(source) != bare


def test_the_hub_rows_become_the_same_questions_as_the_files(tmp_path, monkeypatch):

    rows = {
        "arc": {
            "id": "a",
            "question": "What floats?",
            "choices": {"text": ["choice A", "choice B", "choice C"], "label": ["A", "B", "C"]},
            "answerKey": "C",
        },
        "mmlu": {"question": "Q", "subject": "law", "choices": ["w", "x"], "answer": 1},
        "piqa": {"goal": "g", "sol1": "s", "sol2": "t", "label": -1},
        "squad": {
            "id": "1",
            "title": "T",
            "context": "C.",
            "question": "Q",
            "answers": {"text": [], "answer_start": []},
        },
    }
    asked = []

    def dataset_rows(name, commit, *, config, split):
        asked.append((name, config, split, commit))
        return [rows[name]]

    monkeypatch.setattr(hub, "dataset_rows", dataset_rows)
    monkeypatch.setattr(hub, "dataset_commit", lambda uri, what: (uri[3:], "c0ffee"))
    arc, mmlu, piqa, impossible = (read(task, f"hf:{task}")[0] for task in rows)
    assert arc == read("arc", write_lines(tmp_path / "x.jsonl", [arc_row("a", "ABC", "C")]))[0]
    assert (mmlu.id, mmlu.subject, mmlu.answer) == ("mmlu/auxiliary_train:1", "law", "B")
    assert piqa.answer is None
    assert impossible.answer == "no answer"
    assert asked[:2] == [
        ("arc", "ARC-Challenge", "train", "c0ffee"),
        ("mmlu", "all", "auxiliary_train", "c0ffee"),
    ]


def test_agreement_is_by_label_for_choices_and_by_words_for_passages():
    assert agrees("arc", ["B"], "B)")
    assert not agrees("arc", ["B"], "A")
    assert not agrees("arc", ["B"], "")
    assert agrees("squad", ["the Rhine", "Rhine river"], " Rhine.\nQuestion: and")
    assert not agrees("squad", ["the Rhine"], "Danube")
    assert not agrees("squad", [], "Rhine")


BENCHMARKS = Path(__file__).parents[4] / "shared/data/benchmarks"
REAL = [
    ("arc", "arc/ARC-Challenge-Test.jsonl", 1150, {3, 4, 5}, 0),
    ("commonsense_qa", "csqa/train_rand_split.jsonl", 9741, {5}, 0),
    ("commonsense_qa", "csqa/test_rand_split_no_answers.jsonl", 1140, {5}, 1140),
    ("mmlu", "mmlu/dev", 285, {4}, 0),
    ("piqa", "piqa/valid.jsonl", 1838, {2}, 0),
    ("squad", "squad/dev-half-v2.0.json", 6078, {0}, 0),
]


@pytest.mark.parametrize(("task", "name", "n", "n_choices", "n_bare"), REAL)
def test_the_authors_files_are_read_whole(task, name, n, n_choices, n_bare):
    path = BENCHMARKS / name
    if not path.exists():
        pytest.skip("the benchmark files are not here")
    account = Account()
    questions = read(task, path, account)
    assert len(questions) == n
    assert {len(q.choices) for q in questions} == n_choices
    assert sum(q.answer is None for q in questions) == n_bare
    assert not account.report()["dirty"]
