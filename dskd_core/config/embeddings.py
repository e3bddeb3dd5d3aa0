"""Which of the teacher's final states are kept."""

from typing import Annotated, Literal

from pydantic import Field

from dskd_core.config.settings import BatchTokens, Seed, Settings, ShardTokens


class EmbeddingsConfig(Settings):
    """Which of the teacher's final states are kept, and under which token."""

    key: Literal["predicted", "next", "input"] = "predicted"
    """The token a state is filed under: the teacher's argmax there, the next token, or its own."""
    max_occurrences: Annotated[int, Field(ge=1, le=10**6)] = 2000
    """At most so many occurrences of a token are kept, a uniform sample. k-means has all
    of one token in memory: a million of d = 4096 are 16 GB."""
    safety: Annotated[float, Field(ge=1.0, le=1000.0)] = 4.0
    """How many times the cap is expected to be stored of a common token; only for predicted, whose
    counts are not known beforehand: a token predicted less than 1 / safety times as often as it is
    written may end with fewer rows than its cap, which is counted. Storage grows with it."""
    state_dtype: Literal["int8", "float16", "bfloat16", "float32"] = "float16"
    """How states are stored; bfloat16 is kept as uint16 bits, since Zarr has no such dtype. int8
    has a scale for every 64 values and takes 52 % of the bytes of 16 bits; docs/artifacts.md says
    what it changes."""
    shard_tokens: ShardTokens = 65_536
    """Corpus tokens a shard: the unit of work and of retry."""
    batch_tokens: BatchTokens = 4096
    """Tokens (padding included) of one teacher batch."""
    seed: Seed = 0
    """Seed of the sample."""
