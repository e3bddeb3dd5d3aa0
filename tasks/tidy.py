"""What killed work left behind, as a table, and its end."""

from prefect import get_run_logger

from dskd_core.config import PipelineConfig
from dskd_core.progress import in_bytes
from tasks.policy import cpu_task
from tasks.redacted_pages import create_table_artifact

_WHAT = {
    "draft": "draft of a killed process",
    "half": "upload or deletion that broke off",
    "upload": "large upload that broke off",
    "local": "draft in this machine's temporary folder",
}


@cpu_task(name="tidy", task_run_name="tidy {config.root_uri}")
def tidy(config: PipelineConfig, older_than_hours: float, dry_run: bool) -> list[dict[str, str]]:
    """Delete unfinished work that nobody has written to for long; return one row each."""
    from dskd_core.store.garbage import find_garbage, sweep

    found = find_garbage(config.root_uri, older_than_hours=older_than_hours)
    deleted = [] if dry_run else sweep(found)
    rows = [
        {
            "what": _WHAT[garbage.kind],
            "state": "found" if dry_run else "deleted" if garbage in deleted else "in use, kept",
            "files": f"{garbage.n_files:,}",
            "size": in_bytes(garbage.n_bytes),
            "place": garbage.uri,
        }
        for garbage in found
    ]
    n_bytes = sum(garbage.n_bytes for garbage in (found if dry_run else deleted))
    sentence = (
        f"{len(found)} unfinished, older than {older_than_hours:g} h; "
        f"{'would free' if dry_run else f'{len(deleted)} deleted, freed'} {in_bytes(n_bytes)}"
    )
    create_table_artifact(rows, key="garbage", description=sentence)
    get_run_logger().info("%s: %s", config.root_uri, sentence)
    return rows
