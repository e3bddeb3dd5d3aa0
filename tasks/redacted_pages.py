"""Prefect's artifacts, without secrets: all that tasks and flows show goes through here.

Prefect's UI fetches the pictures of a description by itself, so foreign text in it is escaped.
"""

import re
from typing import Any
from uuid import UUID

from prefect import artifacts, get_client
from prefect.client.schemas.actions import ArtifactUpdate

from dskd_core.markdown import escape
from dskd_core.redaction import redact, redacted_value


def create_table_artifact(table: list[dict[str, Any]], *, key: str, description: str) -> UUID:
    """Show rows as a table; return its id."""
    rows = [{_cell(k): _cell(v) for k, v in row.items()} for row in redacted_value(table)]
    return artifacts.create_table_artifact(rows, key=key, description=escape(redact(description)))


def create_markdown_artifact(markdown: str, *, key: str, description: str) -> UUID:
    """Show a page; return its id."""
    page = redact(markdown)
    return artifacts.create_markdown_artifact(
        page, key=key, description=escape(redact(description))
    )


def update_markdown_artifact(page: UUID, markdown: str) -> None:
    """Show something else on a page that is shown."""
    get_client(sync_client=True).update_artifact(page, ArtifactUpdate(data=redact(markdown)))


def create_link_artifact(link: str, text: str, *, key: str, description: str) -> UUID:
    """Show a link; return its id."""
    return artifacts.create_link_artifact(
        redact(link), redact(text), key=key, description=escape(redact(description))
    )


def create_progress_artifact(progress: float, *, key: str, description: str) -> UUID:
    """Show a bar; return its id."""
    return artifacts.create_progress_artifact(
        progress, key=key, description=escape(redact(description))
    )


def update_progress_artifact(bar: UUID, *, progress: float) -> None:
    """Move a bar."""
    artifacts.update_progress_artifact(bar, progress=progress)


def _cell(value: Any) -> Any:
    """Escape text that Markdown would make a picture, a link or HTML; places stay as they are."""
    is_markup = isinstance(value, str) and re.search(r"!\[|\]\s*[(\[:]|<", value)
    return str(escape(value)) if is_markup else value
