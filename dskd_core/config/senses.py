"""k-means of each token's embeddings (Eq. 1)."""

from typing import Annotated, Literal

from pydantic import Field

from dskd_core.config.settings import Device, DeviceBytes, Seed, Senses, Settings


class SensesConfig(Settings):
    """k-means of each token's embeddings (Eq. 1)."""

    n_senses: Senses = 5
    """k: senses a token. A token with no more embeddings than this keeps its rows."""
    choice: Literal["fixed", "adaptive"] = "fixed"
    """fixed: k for every token, as in the paper. adaptive: between 1 and max_senses, as many as
    lower a token's inertia by more than one price, which holds the total to max_bytes."""
    max_senses: Senses = 12
    """Most senses of a token where the choice is adaptive."""
    max_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = None
    """Bytes that all senses may take in 16 bits, where adaptive; what n_senses takes if empty."""
    n_sampled: Annotated[int, Field(ge=16, le=10**7)] = 1024
    """Tokens whose curves fix the price before any range is clustered, where adaptive."""
    backend: Literal["torch", "cuml", "sklearn"] = "torch"
    """Who clusters: torch (batched, CPU or GPU), cuml (NVIDIA), sklearn (the slow reference)."""
    device: Device = "auto"
    """A torch device for the torch backend; auto takes CUDA where there is one."""
    n_restarts: Annotated[int, Field(ge=1, le=1000)] = 10
    """k-means runs a token; the one of least inertia is kept. All are in memory at once."""
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Most Lloyd iterations of a run; few need more than a hundred."""
    coarse_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Precision of the rounds that choose among starts, before the best is polished in float32.
    auto: bfloat16 where the device multiplies it natively, else float32."""
    shard_rows: Annotated[int, Field(ge=1, le=1 << 30)] = 100_000
    """Embedding rows a shard of tokens: the unit of work and of retry."""
    batch_bytes: DeviceBytes = 256 << 20
    """Memory the torch backend may use for one batch of tokens."""
    n_examples: Annotated[int, Field(ge=0, le=1000)] = 3
    """Nearest occurrences kept with their text for each sense."""
    context_tokens: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Tokens of text shown on each side of an example."""
    seed: Seed = 0
    """Seed of the starting centroids."""
