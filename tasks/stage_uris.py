"""Where the artifacts of a run lie, by stage: what flows hand on to one another."""

from pydantic import BaseModel, ConfigDict


class StageUris(BaseModel):
    """The URI of every artifact that a run has made or found so far.

    None, or an empty list, is what it did not make: all but students, scores and reports where
    everything is precomputed, ``benchmarks`` where none is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str | None = None
    corpus: str | None = None
    embeddings: str | None = None
    senses: str | None = None
    lexicon: str | None = None
    relations: str | None = None
    words: str | None = None
    dictionary: str | None = None
    untrained: str | None = None
    activations: str | None = None
    candidates: str | None = None
    students: list[str] = []
    scores: list[str] = []
    benchmarks: list[str] = []
    sense_scores: list[str] = []
    other_scores: list[str] = []
    continuations: str | None = None
    sweep: str | None = None
    report: str | None = None

    def having(self, **made: str | list[str] | None) -> "StageUris":
        """Return these and others that were made since."""
        return self.model_copy(update=made)

    def needed(self, *names: str) -> dict[str, str]:
        """Return the URIs of some stages by name.

        Raises:
            LookupError: if one of them was not made.
        """
        found = {name: getattr(self, name) for name in names}
        if absent := [name for name, uri in found.items() if uri is None]:
            raise LookupError(f"A run made no {absent[0]}; make it before what is made from it.")
        return found

    def listed(self) -> dict[str, list[str]]:
        """Return what was made, as lists of URIs by stage."""
        stages = {name: [uri] if isinstance(uri, str) else uri for name, uri in self}
        return {name: uris for name, uris in stages.items() if uris}
