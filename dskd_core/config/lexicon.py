"""The human sources of word pairs and derivations."""

from datetime import date
from typing import Annotated, Self

from pydantic import Field, model_validator

from dskd_core.config.settings import Settings, Text, Texts, Uri


class SourceConfig(Settings):
    """One lexicon or morphology file."""

    kind: Text
    """The reader: roget, wiktextract, word_pairs, synonym_pairs, antonym_pairs, wordnet, moby;
    for morphology morphynet, morpholex."""
    uri: Uri
    """The file (for wordnet the folder), or sample:roget or sample:morphynet."""
    licence: Text | None = None
    """Licence of the rows, carried to the end; each reader knows its source's own."""
    made_on: date | None = None
    """The day a Wiktextract file was extracted, where you know it and its name does not say."""


Sources = Annotated[tuple[SourceConfig, ...], Field(max_length=100)]


class LexiconConfig(Settings):
    """The human sources of word relations."""

    sources: Sources = (SourceConfig(kind="roget", uri="sample:roget"),)
    """Where pairs come from."""
    morphology: Sources = (SourceConfig(kind="morphynet", uri="sample:morphynet"),)
    """Where affix segmentations come from, for the negation step."""
    language: Text = "en"
    """Only entries of this language are read, where a source mixes languages."""
    excluded_tags: Texts = ("form-of", "obsolete", "misspelling", "archaic", "alt-of")
    """Wiktextract tags whose senses and items are left out."""
    max_group_words: Annotated[int, Field(ge=1, le=10_000)] = 40
    """A Roget semicolon group with more words than this is too loose and is left out. Pairs grow
    with its square."""
    exclude_uri: Uri | None = None
    """A file of words and pairs to leave out, such as the explorer writes: a word, or two words
    and perhaps their relation, a line. Pairs that negation makes are left out by it too."""
    shard_bytes: Annotated[int, Field(ge=1 << 10, le=1 << 38)] = 256 << 20
    """Bytes of a plain Wiktextract or Moby file a shard: the unit of work and of retry. The
    largest dump of Wiktextract has some 20 GB."""

    @model_validator(mode="after")
    def _some_source(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty; name at least one lexicon, such as sample:roget")
        return self
