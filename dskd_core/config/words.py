"""How words are spelled with tokens."""

from typing import Annotated

from pydantic import Field

from dskd_core.config.settings import Settings


class WordsConfig(Settings):
    """How words are spelled with the teacher's tokenizer."""

    max_span: Annotated[int, Field(ge=1, le=8)] = 3
    """m: most tokens of a neighbour's spelling."""
    min_letters: Annotated[int, Field(ge=1, le=100)] = 3
    """Shortest headword, in letters."""
