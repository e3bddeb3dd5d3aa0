"""One thing that is wrong with an artifact."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A place in an artifact, and what is wrong there.

    Attributes:
        where: a file, an array and chunk, a column, or an input.
        what: the rest of the sentence, with the offending value.
    """

    where: str
    what: str

    def row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        return {"where": self.where, "what": self.what}
