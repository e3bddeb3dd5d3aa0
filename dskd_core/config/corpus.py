"""The text, and how it is cut into windows."""

from typing import Annotated, Literal

from pydantic import Field

from dskd_core.config.form import TOLD
from dskd_core.config.settings import (
    DocumentTokens,
    Name,
    Seed,
    Settings,
    Text,
    TokenLimit,
    Uri,
    WindowTokens,
)


class TextConfig(Settings):
    """Where text is, and how to read it."""

    source: Uri
    """A file, a folder of files, or hf:NAME (a datasets name)."""
    format: Literal["auto", "mediawiki", "jsonl", "parquet", "text", "dataset"] = "auto"
    """How to read it; auto decides by the file's name."""
    text_field: Text = "text"
    """The field or column with the text (jsonl, parquet, dataset)."""
    id_field: Text = "id"
    """The field or column that names a document; absent values become file name and row."""
    dataset_config: Name | None = None
    """Configuration name of a datasets source."""
    dataset_split: Text = "train"
    """Split of a datasets source."""


class CorpusConfig(TextConfig):
    """The text the teacher reads, and how it is cut into windows."""

    source: Uri = "sample:enwiki-206"
    """A file, a folder of files, hf:NAME (a datasets name), or sample:enwiki-206."""
    window_tokens: WindowTokens = 256
    """Longest window in tokens; a window never crosses a document."""
    min_document_tokens: DocumentTokens = 16
    """Shorter documents are skipped and counted."""
    max_document_tokens: DocumentTokens | None = None
    """Read only the first so many tokens of a document; unlimited if empty."""
    max_tokens: TokenLimit | None = None
    """Stop taking documents (in an order fixed by the seed) beyond so many tokens."""
    heldout_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Share of documents kept for evaluation: never embedded, never trained on."""
    seed: Seed = 0
    """Fixes which documents are taken and which are held out."""


class OtherTextConfig(TextConfig):
    """Text of another domain, to score on; nothing of it is trained on."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[\w.+-]+$",
            json_schema_extra={TOLD: "letters, digits and . + - _"},
        ),
    ]
    """What reports call it: letters, digits and . + - _."""
    min_document_tokens: DocumentTokens = 16
    """Shorter documents are skipped and counted."""
    max_document_tokens: DocumentTokens | None = None
    """Read only the first so many tokens of a document; unlimited if empty."""
    max_tokens: TokenLimit | None = 100_000
    """Stop taking documents, in an order fixed by their ids, beyond so many tokens."""

    def corpus(self, window_tokens: int) -> CorpusConfig:
        """Return it as a corpus, cut into windows as long as those that are trained on."""
        settings = self.model_dump(exclude={"name"})
        return CorpusConfig(**settings, window_tokens=window_tokens, heldout_share=0.0)
