"""Questions from the files their authors publish, and from the hub.

    arc             AI2 jsonl: id, question {stem, choices [{text, label}]}, answerKey
    commonsense_qa  jsonl of the same form
    mmlu            Hendrycks csv: question, choices, answer; with a header or without; A-D or 0-3
    piqa            jsonl: goal, sol1, sol2; a file of labels (0 or 1), a line each
    squad           json: data [{title, paragraphs [{context, qas [{id, question, answers}]}]}]

A folder gives the files of the asked split, told by the first of train, dev, val and test in a
path below it, so that ``auxiliary_train/mc_test.csv`` is a training file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dskd_core import strict_json
from dskd_core.config import CorpusConfig, PromptSourceConfig
from dskd_core.corpus import hub
from dskd_core.corpus.readers import DATASET, source_fingerprint
from dskd_core.errors import ConfigError, DataError
from dskd_core.prompts.questions import Account, Question, Task
from dskd_core.prompts.rows import Row, choice_row, mmlu_row, objects_in, piqa_row, squad_row
from dskd_core.store import access, input_files, places
from dskd_core.store.artifacts import fingerprint_of

Split = Literal["train", "validation", "test"]

_SPLIT_NAMES = {"train": "train", "dev": "validation", "val": "validation", "test": "test"}
_SPLIT = re.compile(r"(?<![a-z])(train|dev|val|test)(?:id(?:ation)?)?(?![a-z])")
_SUFFIX = re.compile(r"_(dev|val|test)$")
_EXTENSIONS: dict[Task, str] = {"mmlu": ".csv", "squad": ".json"}
_COMPRESSIONS = ("", *input_files.COMPRESSED)
_HUB_CONFIGS: dict[Task, str] = {"arc": "ARC-Challenge", "mmlu": "all", "squad": "squad_v2"}
_HUB_SPLITS: dict[tuple[Task, Split], str] = {
    ("mmlu", "train"): "auxiliary_train",
    ("mmlu", "validation"): "dev",  # the five questions a subject that are meant as exemplars
}


def read_questions(
    source: PromptSourceConfig, account: Account | None = None, *, split: Split = "train"
) -> Iterator[Question]:
    """Yield the questions of a source in the order of its files, sorted by name.

    ``share`` and ``max_prompts`` of the source are not looked at.

    Raises:
        ConfigError: if the place holds no file of that split.
        DataError: if a file cannot be read as what it should be.
    """
    account = account if account is not None else Account()
    seen: set[str] = set()
    for question in _questions(source, account, split):
        if question.id in seen:
            account.note("duplicate_id", question.id)
            continue
        seen.add(question.id)
        account.n_read += 1
        if question.answer is None:
            account.note("no_answer", question.id)
        yield question


def content_fingerprint(source: PromptSourceConfig, *, split: Split = "train") -> str:
    """Return what names the content of a source: hashes of its files, or a hub revision."""
    if source.uri.startswith(DATASET):
        return source_fingerprint(CorpusConfig(source=source.uri))
    files = question_files(source, split)
    if source.task == "piqa":
        labels = [_labels_file(source, path) for path in files.values()]
        files |= {f"{path.name} labels": path for path in labels if path is not None}
    return fingerprint_of({name: places.sha256_of_file(path) for name, path in files.items()})


def question_files(source: PromptSourceConfig, split: Split) -> dict[str, Path]:
    """Return a source's files of a split, sorted: name below the source -> path.

    Raises:
        ConfigError: if there are none.
    """
    access.check_readable(source.uri, "uri")
    place = Path(source.uri).expanduser()
    if place.is_file():
        return {place.name: place}
    endings = tuple(_EXTENSIONS.get(source.task, ".jsonl") + c for c in _COMPRESSIONS)
    names = places.files_under(place) if place.is_dir() else []
    names = [name for name in names if name.endswith(endings) and not name.startswith(".")]
    splits = {name: _split_of(name) for name in names}
    chosen = [name for name in names if splits[name] == split]
    if not chosen and len(set(splits.values())) == 1:
        chosen = names  # the folder of another split, named on purpose
    if not chosen:
        found = ", ".join(sorted({str(s) for s in splits.values()})) or f"no *{endings[0]}"
        raise ConfigError(
            f"The {source.task} source {source.uri!r} is no file and no folder with files of the "
            f"split {split} (found: {found}); give the file or folder its authors publish, or "
            f"{DATASET}NAME."
        )
    for name in chosen:  # a link in the folder may lead out of it
        access.check_readable(str(place / name), "uri")
    return {name: place / name for name in chosen}


def _split_of(name: str) -> str | None:
    found = _SPLIT.search(name.lower())
    return _SPLIT_NAMES[found[1]] if found else None


def _questions(source: PromptSourceConfig, account: Account, split: Split) -> Iterator[Question]:
    if source.uri.startswith(DATASET):
        yield from _hub_questions(source, account, split)
        return
    for name, path in question_files(source, split).items():
        stem = name.partition(".")[0]
        if source.task == "mmlu":
            yield from _read_mmlu(path, stem, account)
        elif source.task == "squad":
            yield from _read_squad(path, account)
        elif source.task == "piqa":
            yield from _read_piqa(path, stem, _labels_file(source, path), account)
        else:
            for place, row in _lines(path, account):
                if row is not None:
                    yield from choice_row(source.task, row, place, account)


def _lines(path: Path, account: Account) -> Iterator[tuple[str, Row | None]]:
    """Yield every line's place and object, None where it is dirty: labels count lines."""
    with input_files.opened(path) as stream:
        name = path.name.partition(".")[0]
        yield from input_files.json_objects(input_files.texts_of(stream), name, account)


def _read_mmlu(path: Path, stem: str, account: Account) -> Iterator[Question]:
    subject = _SUFFIX.sub("", stem.rpartition("/")[2])
    with input_files.opened(path) as stream:
        count = 0
        for number, cells in input_files.csv_rows(input_files.texts_of(stream)):
            if cells is None:
                account.note("open_quote", f"mmlu/{stem} line {number}")
                continue
            header = number == 1 and cells and cells[-1].strip().lower() == "answer"
            if header or not any(cell.strip() for cell in cells):
                continue
            count += 1
            name = f"{stem}:{count}"
            if len(cells) < 4:
                account.note("wrong_columns", f"mmlu/{name}")
                continue
            text, *choices, key = cells
            yield from mmlu_row(subject, text, choices, key, name, account)


def _labels_file(source: PromptSourceConfig, path: Path) -> Path | None:
    """Return PIQA's labels: the file named in the settings, or ``train-labels.lst`` beside it."""
    if source.labels_uri is not None:
        access.check_readable(source.labels_uri, "labels_uri")
        place = Path(source.labels_uri).expanduser()
        if not place.is_file():
            raise ConfigError(
                f"labels_uri {source.labels_uri!r} is no file; give PIQA's file of labels."
            )
        return place
    name = f"{path.name.partition('.')[0]}-labels.lst"
    packed = (path.with_name(name + ending) for ending in ("", *input_files.COMPRESSED))
    beside = next((place for place in packed if place.is_file()), None)
    if beside is None:
        return None
    access.check_readable(str(beside), "labels_uri")
    return beside


def _read_piqa(path: Path, stem: str, labels: Path | None, account: Account) -> Iterator[Question]:
    rows = list(_lines(path, account))
    keys: list[Any] = [row.get("label") if row else None for _, row in rows]
    if labels is not None:
        keys = " ".join(input_files.utf8_lines(labels)).split()
        if len(keys) != len(rows):
            raise DataError(
                f"{labels} has {len(keys)} labels for the {len(rows)} questions of {path}; "
                "give the file that belongs to it."
            )
    for (place, row), key in zip(rows, keys, strict=True):
        if row is not None:
            yield from piqa_row(row, f"{stem}:{place.rpartition(':')[2]}", key, account)


def _read_squad(path: Path, account: Account) -> Iterator[Question]:
    with input_files.opened(path) as stream:
        data = input_files.read_within(stream)
        if data is None:
            raise DataError(
                f"{path} has more than {input_files.MAX_DOCUMENT_BYTES:,} bytes; give SQuAD's file."
            )
        try:
            articles = strict_json.loads(data.decode("utf-8-sig", errors="replace"))["data"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is no SQuAD file ({error!r}); download it again.") from error
    for article in objects_in(articles):
        for paragraph in objects_in(article.get("paragraphs")):
            for entry in objects_in(paragraph.get("qas")):
                row = {"context": paragraph.get("context"), "title": article.get("title")} | entry
                yield from squad_row(row, account)


def _hub_questions(
    source: PromptSourceConfig, account: Account, split: Split
) -> Iterator[Question]:
    name, commit = hub.dataset_commit(source.uri, "uri")
    part = _HUB_SPLITS.get((source.task, split), split)
    rows = hub.dataset_rows(name, commit, config=_HUB_CONFIGS.get(source.task), split=part)
    for number, row in enumerate(rows, start=1):
        yield from _hub_row(source.task, row, f"{part}:{number}", account)


def _hub_row(task: Task, row: Row, name: str, account: Account) -> Iterator[Question]:
    if task == "squad":
        yield from squad_row(row, account)
    elif task == "piqa":
        yield from piqa_row(row, name, row.get("label"), account)
    elif task == "mmlu":
        choices = row.get("choices")
        choices = choices if isinstance(choices, list) else ()
        subject = str(row.get("subject") or "")
        yield from mmlu_row(subject, row.get("question"), choices, row.get("answer"), name, account)
    else:
        yield from choice_row(task, row, name, account)
