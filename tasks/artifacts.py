"""What a finished stage shows in the Prefect UI: a table of its counts and a link to its place."""

import base64
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.runtime import flow_run, task_run

from dskd_core.config import PipelineConfig
from dskd_core.errors import DskdError
from dskd_core.progress import Progress, clock_time, in_bytes, in_words
from dskd_core.redaction import redact
from dskd_core.store import access, places
from dskd_core.store.artifacts import Artifact, ArtifactStore, Record
from dskd_core.store.rebuild_reason import reason
from tasks.curves import columns_of, thinned
from tasks.listeners import Outcome, told
from tasks.policy import gpu_slot
from tasks.progress import PrefectProgress, key_of
from tasks.redacted_pages import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

MAX_ROWS = 25
_LEFT_OUT = ("skipped", "left_out")


def store_of(config: PipelineConfig) -> ArtifactStore:
    """Return the store all stages of a run share.

    Raises:
        ConfigError: if a setting names a place that the worker this task runs on may not use.
    """
    access.check_settings(config)
    return ArtifactStore(config.root_uri)


def opened(uri: str) -> Artifact:
    """Open an artifact an earlier task returned the URI of."""
    return ArtifactStore.open(uri)


def shown(
    title: str, build: Callable[[Progress], Artifact], *, shards: Sequence[Artifact] = ()
) -> str:
    """Build an artifact with a progress bar, show it as a table and a link, return its URI.

    Args:
        title: names the work in the log and the table: ``senses``, ``student dskd seed 1``.
        build: makes the artifact or finds it.
        shards: the shards it was collected from, shown as a table of their own.
    """
    began = datetime.now(UTC)
    progress = PrefectProgress(title, get_run_logger())
    try:
        artifact = _told(title, build, progress, began)
    finally:
        progress.end()
    show_artifact(title, artifact, began=began)
    get_run_logger().info("%s: %s", title, summary_line(artifact, began=began))
    if shards:
        show_shards(title, shards)
    if progress.history:
        show_terms(title, progress.history)
    return artifact.uri


def shown_on_gpu(title: str, build: Callable[[Progress], Artifact]) -> str:
    """Build an artifact on a GPU slot and show it, as :func:`shown` does."""
    with gpu_slot():
        return shown(title, build)


def shown_shard(
    title: str, build: Callable[[Progress], Artifact], *, writes_beside: bool = False
) -> str:
    """Build one shard on a GPU slot, with a progress bar; its stage shows the table.

    Args:
        title: names it in the log.
        build: makes it, and is told where to report progress.
        writes_beside: the slot is held only while ``build`` holds the device.
    """
    from dskd_core.decoder.decoder import slot_on_device

    logger, began = get_run_logger(), datetime.now(UTC)
    with slot_on_device(gpu_slot) if writes_beside else gpu_slot():
        artifact = _told(title, build, PrefectProgress(title, logger), began, is_shard=True)
    if artifact.record.report.get("n_halved"):
        logger.warning("%s: out of memory; %s", title, halved_line(artifact.record.report))
    logger.info("%s: %s", title, summary_line(artifact, began=began))
    return artifact.uri


def _told(
    title: str,
    build: Callable[[Progress], Artifact],
    progress: Progress,
    began: datetime,
    *,
    is_shard: bool = False,
) -> Artifact:
    return told(
        title,
        lambda: build(progress),
        outcome=lambda artifact: found_or_made(artifact, began),
        counts=lambda artifact: artifact.record.counts,
        is_shard=is_shard,
    )


def halved_line(report: Mapping[str, Any]) -> str:
    """Say how small batches became.

    >>> halved_line({"batch_tokens": 1024, "n_halved": 2})
    'batches were halved 2 times, to batch_tokens 1,024'
    """
    name = "batch_tokens" if "batch_tokens" in report else "batch_bytes"
    return f"batches were halved {report['n_halved']} times, to {name} {report[name]:,}"


def found_or_made(artifact: Artifact, began: datetime) -> Outcome:
    """Say whether an artifact stood there before the work began."""
    return "found" if datetime.fromisoformat(artifact.record.created_at) < began else "made"


def summary_line(artifact: Artifact, *, began: datetime) -> str:
    """Describe an artifact in one line of a log."""
    record = artifact.record
    counts = ", ".join(f"{value:,} {in_words(name)}" for name, value in record.counts.items())
    return (
        f"{found_or_made(artifact, began)} {counts or 'no counts'}; {in_bytes(record.n_bytes)} "
        f"in {clock_time(_seconds_since(began))} at {artifact.uri}"
    )


def show_artifact(title: str, artifact: Artifact, *, began: datetime) -> None:
    """Show the counts, size, rate and place of an artifact in the UI, and why it was made."""
    record = artifact.record
    values = {
        "state": found_or_made(artifact, began),
        "why": reason_of(artifact, began=_run_began()),
        **{in_words(name): f"{value:,}" for name, value in record.counts.items()},
        "skipped": skipped_of(record),
        "size": in_bytes(record.n_bytes),
        "time": clock_time(_seconds_since(began)),
        "rate": rate_of(record),
        "retries": f"{max(0, (task_run.run_count or 1) - 1)}",
        "fingerprint": record.fingerprint,
        "content": record.content,
        "place": artifact.uri,
        "look into it": explore_command(artifact),
    }
    rows = [{"what": what, "value": value} for what, value in values.items() if value]
    create_table_artifact(rows, key=key_of(title), description=f"{title}: what it holds")
    create_link_artifact(
        link_of(artifact.uri), artifact.uri, key=key_of(f"{title} place"), description=title
    )


def explore_command(artifact: Artifact) -> str:
    """Return how to open a dictionary in the browser; nothing for what is none."""
    if artifact.record.stage != "dictionary":
        return ""
    root = shlex.quote(artifact.root_uri)
    return f"dskd explore {root} --dictionary {artifact.fingerprint}"


Standing = Callable[[str], list[Record] | None]
"""The place of a stage -> the records of its artifacts."""


def standing_at(stage_uri: str) -> list[Record] | None:
    """Return the records of a stage; None if one is damaged: what was made stands all the same."""
    root, _, stage = stage_uri.rpartition("/")
    try:
        return [artifact.record for artifact in ArtifactStore(root).of_stage(stage)]
    except DskdError:
        return None


def reason_of(artifact: Artifact, *, began: datetime, standing: Standing = standing_at) -> str:
    """Say why an artifact had to be made since ``began``; nothing where it was found."""
    if found_or_made(artifact, began) == "found":
        return ""
    others = standing(artifact.uri.rpartition("/")[0])
    return "" if others is None else reason(artifact.record, others, before=began)


def skipped_of(record: Record) -> str:
    """Return how much of its input an artifact leaves out, by the counts that say so."""
    named = {n: c for n, c in record.counts.items() if any(word in n for word in _LEFT_OUT)}
    return ", ".join(f"{c:,} {in_words(n)}" for n, c in named.items() if c)


def rate_of(record: Record) -> str:
    """Return how fast an artifact was made, by the first of its counts.

    >>> rate_of(Record("s", "f", {}, {}, {"n_rows": 900}, {}, {}, 2.0, "", {}))
    '450.0 rows/s'
    """
    name, count = next(iter(record.counts.items()), ("", 0))
    if not count or record.seconds <= 0:
        return ""
    return f"{count / record.seconds:,.1f} {in_words(name)}/s"


def show_outcomes(stage: str, outcomes: Mapping[str, str | BaseException]) -> None:
    """Show one row a shard: those that failed first, each with the reason, then those kept.

    Args:
        stage: what the shards are part of.
        outcomes: the URI of each, or what it ended with.
    """
    failed = {n: error for n, error in outcomes.items() if not isinstance(error, str)}
    rows = [
        {"shard": name, "state": "failed", "why": in_one_line(error), "size": "", "place": ""}
        for name, error in failed.items()
    ]
    for name, uri in outcomes.items():
        if isinstance(uri, str):
            size = in_bytes(opened(uri).record.n_bytes)
            rows.append({"shard": name, "state": "kept", "why": "", "size": size, "place": uri})
    create_table_artifact(
        rows,
        key=key_of(f"{stage} failed"),
        description=f"{stage}: {len(failed)} of {len(outcomes)} failed",
    )


def in_one_line(error: object) -> str:
    """Write an error as its type and its message.

    >>> in_one_line(OSError("disk full"))
    'OSError: disk full'
    """
    return redact(f"{type(error).__name__}: {error}")


def show_shards(title: str, shards: Sequence[Artifact]) -> None:
    """Show one row a shard: what it held, how long it took, whether this run made it."""
    began = _run_began()
    rows = [
        {
            "shard": f"{index} of {len(shards)}",
            "state": found_or_made(shard, began),
            **{in_words(name): count for name, count in shard.record.counts.items()},
            "size": in_bytes(shard.record.n_bytes),
            "seconds": round(shard.record.seconds, 1),
            "place": shard.uri,
        }
        for index, shard in enumerate(shards)
    ]
    create_table_artifact(rows, key=key_of(f"{title} shards"), description=f"{title}: its shards")


def show_terms(title: str, history: Sequence[dict[str, Any]]) -> None:
    """Show how the measures of a training run moved, some 25 rows from first to last."""
    names = columns_of(history)
    rows = [
        {name: float(f"{row[name]:.4g}") if name in row else None for name in names}
        for row in thinned(history, MAX_ROWS)
    ]
    create_table_artifact(rows, key=key_of(f"{title} terms"), description=f"{title}: loss terms")


def show_summary(made: Mapping[str, Sequence[str]]) -> None:
    """Show every artifact of a run in one table: whether and why it was made, size and place."""
    began, standing = _run_began(), cache(standing_at)  # students and scores share theirs
    rows = []
    for stage, uris in made.items():
        for artifact in map(opened, uris):
            rows.append(
                {
                    "stage": stage,
                    "state": found_or_made(artifact, began),
                    "why": reason_of(artifact, began=began, standing=standing),
                    "size": in_bytes(artifact.record.n_bytes),
                    "seconds": round(artifact.record.seconds, 1),
                    "place": artifact.uri,
                }
            )
    n_made = sum(row["state"] == "made" for row in rows)
    told = f"every artifact of this run: {n_made} made, {len(rows) - n_made} found"
    create_table_artifact(rows, key="summary", description=told)
    for row in rows:
        if row["state"] == "made":
            get_run_logger().info("%s was made: %s", row["stage"], row["why"])


def show_page(title: str, artifact: Artifact, name: str, more: str = "") -> None:
    """Show an artifact's markdown with its pictures inside it, so the UI needs no file access.

    Args:
        title: its key.
        artifact: which has the file.
        name: of the file.
        more: markdown that follows it.
    """
    folder = artifact.folder()
    text = (folder / name).read_text("utf-8") + more
    create_markdown_artifact(
        re.sub(r"!\[([^]]{0,500})\]\(([\w.-]+\.png)\)", lambda m: _picture(folder, m), text),
        key=key_of(title),
        description=f"{title}: teacher, KD and DSKD compared",
    )


def _picture(folder: Path, match: re.Match[str]) -> str:
    path = folder / match[2]
    if not path.is_file():
        return match[0]
    return f"![{match[1]}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"


def link_of(uri: str) -> str:
    """Return ``uri`` as a link: ``file://`` for a folder, itself for ``s3://``."""
    return uri if places.is_remote(uri) else Path(uri).as_uri()


def _run_began() -> datetime:
    """Return when this run, or this attempt of it, began; a run may be planned for earlier."""
    context = FlowRunContext.get()
    return (context and context.start_time) or flow_run.scheduled_start_time or datetime.now(UTC)


def _seconds_since(began: datetime) -> float:
    return (datetime.now(UTC) - began).total_seconds()
