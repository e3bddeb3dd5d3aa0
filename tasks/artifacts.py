"""What a finished stage shows in the Prefect UI: a table of its counts and a link to its place."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.runtime import flow_run

from dskd_core import storage
from dskd_core.artifacts import Artifact, ArtifactStore
from dskd_core.config import PipelineConfig
from dskd_core.progress import Progress
from tasks.curves import columns_of, thinned
from tasks.policy import gpu_slot
from tasks.progress import PrefectProgress, clock_time, key_of

MAX_ROWS = 25


def store_of(config: PipelineConfig) -> ArtifactStore:
    """Return the store all stages of a run share."""
    return ArtifactStore(config.root_uri)


def opened(uri: str) -> Artifact:
    """Open an artifact an earlier task returned the URI of."""
    return ArtifactStore.open(uri)


def shown(
    title: str, build: Callable[[Progress], Artifact], *, parts: Sequence[Artifact] = ()
) -> str:
    """Build an artifact with a progress bar, show it as a table and a link, return its URI.

    Args:
        title: names the work in the log and the table: ``senses``, ``student dskd seed 1``.
        build: makes the artifact or finds it.
        parts: the shards it was collected from, shown as a table of their own.
    """
    began = datetime.now(UTC)
    progress = PrefectProgress(title, get_run_logger())
    try:
        artifact = build(progress)
    finally:
        progress.end()
    show_artifact(title, artifact, began=began)
    get_run_logger().info("%s: %s", title, summary_line(artifact, began=began))
    if parts:
        show_shards(title, parts)
    if progress.history:
        show_terms(title, progress.history)
    return artifact.uri


def shown_shard(title: str, build: Callable[[Progress], Artifact]) -> str:
    """Build one shard on a GPU slot, with a progress bar; its stage shows the table."""
    logger, began = get_run_logger(), datetime.now(UTC)
    with gpu_slot():
        artifact = build(PrefectProgress(title, logger))
    if artifact.record.report.get("n_halved"):
        logger.warning("%s: out of memory; %s", title, halved_line(artifact.record.report))
    logger.info("%s: %s", title, summary_line(artifact, began=began))
    return artifact.uri


def halved_line(report: Mapping[str, Any]) -> str:
    """Say how small batches became.

    >>> halved_line({"batch_tokens": 1024, "n_halved": 2})
    'batches were halved 2 times, to batch_tokens 1,024'
    """
    name = "batch_tokens" if "batch_tokens" in report else "batch_bytes"
    return f"batches were halved {report['n_halved']} times, to {name} {report[name]:,}"


def found_or_made(artifact: Artifact, began: datetime) -> str:
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
    """Show the counts, size and place of an artifact in the UI."""
    record = artifact.record
    rows = [
        {"what": "state", "value": found_or_made(artifact, began)},
        *({"what": in_words(name), "value": f"{value:,}"} for name, value in record.counts.items()),
        {"what": "size", "value": in_bytes(record.n_bytes)},
        {"what": "time", "value": clock_time(_seconds_since(began))},
        {"what": "fingerprint", "value": record.fingerprint},
        {"what": "content", "value": record.content},
        {"what": "place", "value": artifact.uri},
    ]
    create_table_artifact(rows, key=key_of(title), description=f"{title}: what it holds")
    create_link_artifact(
        link_of(artifact.uri), artifact.uri, key=key_of(f"{title} place"), description=title
    )


def show_shards(title: str, parts: Sequence[Artifact]) -> None:
    """Show one row a shard: what it held, how long it took, whether this run made it."""
    began = flow_run.scheduled_start_time or datetime.now(UTC)
    rows = [
        {
            "shard": f"{index} of {len(parts)}",
            "state": found_or_made(part, began),
            **{in_words(name): count for name, count in part.record.counts.items()},
            "size": in_bytes(part.record.n_bytes),
            "seconds": round(part.record.seconds, 1),
            "place": part.uri,
        }
        for index, part in enumerate(parts)
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


def show_summary(made: Mapping[str, Any]) -> None:
    """Show every artifact of a run in one table: stage, size, time and place."""
    began = flow_run.scheduled_start_time or datetime.now(UTC)
    rows = []
    for stage, uris in made.items():
        for uri in [uris] if isinstance(uris, str) else uris:
            record = opened(uri).record
            rows.append(
                {
                    "stage": stage,
                    "state": found_or_made(opened(uri), began),
                    "size": in_bytes(record.n_bytes),
                    "seconds": round(record.seconds, 1),
                    "place": uri,
                }
            )
    create_table_artifact(rows, key="summary", description="every artifact of this run")


def show_page(title: str, artifact: Artifact, name: str) -> None:
    """Show an artifact's markdown with its pictures inside it, so the UI needs no file access."""
    folder = artifact.folder()
    text = (folder / name).read_text("utf-8")
    create_markdown_artifact(
        re.sub(r"!\[([^]]*)\]\(([\w.-]+\.png)\)", lambda m: _picture(folder, m), text),
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
    return uri if storage.is_remote(uri) else Path(uri).as_uri()


def in_words(name: str) -> str:
    """Write the name of a count as people do.

    >>> in_words("n_sure_antonyms")
    'sure antonyms'
    """
    return name.removeprefix("n_").replace("_", " ")


def _seconds_since(began: datetime) -> float:
    return (datetime.now(UTC) - began).total_seconds()


def in_bytes(n_bytes: int) -> str:
    """Write a size as people do.

    >>> in_bytes(900), in_bytes(2_060_000_000)
    ('900 B', '2.06 GB')
    """
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
