"""Prompts on disk: the written questions, the teacher's answers in shards, and both as windows.

``questions`` artifact, made with the tokenizer alone:

    prompts.zarr       token_ids int32 (all prompts end to end), offsets int64, attribute prefix
    questions.parquet  question int32, id, task, subject, group, gold list<string>,
                       exemplars list<string> (ids), answer_tokens int32, heldout bool,
                       fingerprint (of the question), prompt_fingerprint (of the prompt's tokens)

``prompts-shard`` artifact, made with the teacher:

    part.zarr          questions int32, token_ids int32 (the answers end to end), offsets int64

``prompts`` artifact: windows.zarr and documents.parquet as the corpus has them (corpus/store.py),
a document and a window for each question, the array ``answers`` in windows.zarr (bool: the teacher
wrote this token), and questions.parquet with the columns ``answer`` and ``agrees`` added.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import PromptsConfig, TeacherConfig
from dskd_core.decoder.batches import plan_batches
from dskd_core.decoder.decoder import device_lock, load_teacher
from dskd_core.decoder.fitting import in_batches_that_fit
from dskd_core.decoder.precision import processor_of
from dskd_core.decoder.pretrained import most_positions
from dskd_core.decoder.tokenizer import check_same_tokenizer, load_tokenizer
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.progress import Progress, silent
from dskd_core.prompts.answers import DECODING, answer_batches, end_tokens_of
from dskd_core.prompts.chat import ChatFormat
from dskd_core.prompts.layout import (
    questions_table,
    tasks_report,
    with_answers,
    write_windows,
)
from dskd_core.prompts.questions import LICENCES, Account
from dskd_core.prompts.readers import content_fingerprint, read_questions
from dskd_core.prompts.sampling import Tally, write_prompts
from dskd_core.shards import Shard, cut
from dskd_core.store.arrays import get_array, get_rows, put_array, put_rows
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work

STAGE = "prompts"
_WRITTEN = "prompts.zarr"
_SHARD = "part.zarr"
_TABLE = "questions.parquet"


def build_questions(
    store: ArtifactStore, config: PromptsConfig, teacher: Artifact, *, progress: Progress = silent
) -> Artifact:
    """Read, sample and write the prompts the teacher is to answer, unless that is done already.

    Of ``teacher`` the tokenizer alone is read.

    Raises:
        ConfigError: if there is no source, or one has no file.
        DataError: if a file cannot be read, or no prompt is left.
    """
    if not config.sources:
        raise ConfigError("prompts.sources is empty; name at least one benchmark's questions.")
    tokenizer = load_tokenizer(teacher.folder())
    chat = ChatFormat(tokenizer)
    settings = config.model_dump(mode="json", exclude={"batch_tokens", "shard_tokens"})
    for source in settings["sources"]:
        del source["uri"], source["labels_uri"]
    contents = {
        f"source-{number}": content_fingerprint(source)
        for number, source in enumerate(config.sources)
    }
    own = {"tokenizer": tokenizer.fingerprint, "chat_format": chat.fingerprint}
    most, answers = most_positions(teacher.folder()), [s.answer_tokens for s in config.sources]
    if most is not None and most < config.max_prompt_tokens + max(answers):
        own["positions"] = str(most)
    work = Work("questions", settings, own | contents)
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        _fill_questions(draft, config, chat, most, progress)
    return store.get(work.stage, work.fingerprint)


def _fill_questions(
    draft: Draft, config: PromptsConfig, chat: ChatFormat, most: int | None, progress: Progress
) -> None:
    accounts = [Account() for _ in config.sources]
    questions = [
        list(read_questions(source, account))
        for source, account in zip(config.sources, accounts, strict=True)
    ]
    tally = Tally()
    for source, members in zip(config.sources, questions, strict=True):
        tally.add(source.task, "read", len(members))
        tally.add(source.task, "without_answer", sum(q.answer is None for q in members))
    prompts = list(write_prompts(questions, config, chat, tally, most, progress=progress))
    if len({p.question.id for p in prompts}) < len(prompts):
        raise ConfigError("prompts.sources name the same questions twice; name each once.")
    if not prompts:
        raise DataError(
            f"The prompt sources leave no prompt ({tally.report()}); check the files, "
            "prompts.max_prompt_tokens and the shares."
        )
    group = draft.write_group(_WRITTEN)
    group.attrs["prefix"] = list(chat.prefix)
    put_rows(group, [prompt.ids for prompt in prompts])
    draft.write_table(_TABLE, questions_table(prompts))
    draft.counts |= {
        "n_questions_read": sum(len(members) for members in questions),
        "n_prompts": len(prompts),
        "n_heldout_prompts": sum(prompt.heldout for prompt in prompts),
        "n_tokens": sum(len(prompt.ids) for prompt in prompts),
    }
    draft.report["tasks"] = tally.report()
    draft.report["chat_template"] = chat.has_template
    draft.report["sources"] = [
        {"task": s.task, "uri": s.uri, "licence": LICENCES[s.task]} | account.report()
        for s, account in zip(config.sources, accounts, strict=True)
    ]


def plan_prompts(questions: Artifact, config: PromptsConfig) -> list[Shard]:
    """Cut the batches of written prompts into shards of ``shard_tokens``."""
    lengths = _lengths(questions)
    return cut([int(lengths[b].sum()) for b in _batches(questions, config)], config.shard_tokens)


def answer_shard(
    store: ArtifactStore,
    config: PromptsConfig,
    teacher_config: TeacherConfig,
    teacher: Artifact,
    questions: Artifact,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Let the teacher answer the prompts of a shard.

    Raises:
        ArtifactError: if the prompts were written with another tokenizer than the teacher's.
        CapacityError: if the device has no memory for one prompt.
    """
    work = Work(
        f"{STAGE}-shard",
        {
            "batch_tokens": config.batch_tokens,
            "batches": [shard.start, shard.stop],
            "decoding": DECODING,
        },
        {"teacher": teacher.fingerprint, "questions": questions.fingerprint},
    )
    if found := store.find(work):
        return found
    tokenizer = load_tokenizer(teacher.folder())
    theirs = questions.record.inputs["tokenizer"]
    check_same_tokenizer(questions, theirs, teacher, tokenizer.fingerprint)
    prompts, prefix = _written(questions)
    limits = questions.table(_TABLE)["answer_tokens"].to_numpy()
    batches = _batches(questions, config)[shard.start : shard.stop]
    with device_lock, store.publish(work) as draft:
        model = load_teacher(teacher, teacher_config)
        draft.computed(model.precision, processor_of(model.device))
        ends = end_tokens_of(model, tokenizer.hf.eos_token_id)
        lengths = _lengths(questions) + limits
        answers, fit = in_batches_that_fit(
            lambda fine: answer_batches(
                model, prompts, prefix, limits, ends, fine, progress=progress
            ),
            batches,
            lengths,
            setting="prompts.batch_tokens",
            cure="prompts.max_prompt_tokens",
        )
        group = draft.write_group(_SHARD)
        put_array(group, "questions", np.concatenate(batches).astype(np.int32))
        put_rows(group, [np.array(answer, dtype=np.int32) for answer in answers])
        draft.counts |= {"prompts": len(answers), "answer_tokens": sum(map(len, answers))}
        draft.report |= fit
    return store.get(work.stage, work.fingerprint)


def collect_prompts(
    store: ArtifactStore,
    config: PromptsConfig,
    teacher: Artifact,
    questions: Artifact,
    shards: Sequence[Artifact],
) -> Artifact:
    """Join prompts and answers into windows that students are trained on.

    Raises:
        ArtifactError: if the shards do not answer every question once.
    """
    tokenizer = load_tokenizer(teacher.folder())
    work = Work(
        STAGE,
        {"batch_tokens": config.batch_tokens, "decoding": DECODING},
        {
            "teacher": teacher.fingerprint,
            "questions": questions.fingerprint,
            "tokenizer": tokenizer.fingerprint,
        },
    )
    if found := store.find(work):
        return found
    prompts, prefix = _written(questions)
    answers = _collected(shards, len(prompts), questions)
    texts = [_text(tokenizer.hf, answer) for answer in answers]
    table = with_answers(questions.table(_TABLE), texts)
    with store.publish(work) as draft:
        draft.computed_as(shards)
        write_windows(draft, prompts, answers, prefix, table)
        draft.write_table(_TABLE, table)
        draft.counts["n_agreeing"] = int(np.sum(table["agrees"].to_pylist(), dtype=np.int64))
        draft.report |= {key: questions.record.report[key] for key in ("chat_template", "sources")}
        draft.report["tasks"] = tasks_report(questions.record.report["tasks"], table)
        draft.report["parts"] = [shard.fingerprint for shard in shards]
    return store.get(work.stage, work.fingerprint)


def _batches(questions: Artifact, config: PromptsConfig) -> list[NDArray[np.int64]]:
    """Return batches of prompts with answers of one length, the same for every sharding."""
    lengths = _lengths(questions)
    limits = questions.table(_TABLE)["answer_tokens"].to_numpy()
    return [
        batch
        for limit in np.unique(limits)
        for batch in plan_batches(
            lengths + limit, np.flatnonzero(limits == limit), config.batch_tokens
        )
    ]


def _lengths(questions: Artifact) -> NDArray[np.int64]:
    return np.diff(get_array(questions.group(_WRITTEN), "offsets"))


def _written(questions: Artifact) -> tuple[list[NDArray[np.int32]], list[int]]:
    group = questions.group(_WRITTEN)
    prefix: Any = group.attrs["prefix"]
    return get_rows(group), list(prefix)


def _collected(
    shards: Sequence[Artifact], n_questions: int, questions: Artifact
) -> list[NDArray[np.int32]]:
    numbers = [get_array(shard.group(_SHARD), "questions") for shard in shards]
    order = np.concatenate([*numbers, np.empty(0, dtype=np.int32)])
    if not np.array_equal(np.sort(order), np.arange(n_questions)):
        raise ArtifactError(
            f"{len(shards)} shards answer {len(order)} questions, not each of the {n_questions} "
            f"of {questions.fingerprint} once; answer every shard of plan_prompts and collect all."
        )
    answers = list(chain(*(get_rows(shard.group(_SHARD)) for shard in shards)))
    return [answers[i] for i in np.argsort(order)]


def _text(hf: Any, answer: NDArray[np.int32]) -> str:
    text = hf.decode(answer.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text).strip()
