"""Benchmark questions as prompts that the teacher answers."""

from typing import Annotated, Literal

from pydantic import Field

from dskd_core.config.settings import (
    AnswerTokens,
    BatchTokens,
    Exemplars,
    Items,
    Seed,
    Settings,
    ShardTokens,
    Share,
    Uri,
)


class PromptSourceConfig(Settings):
    """One benchmark's training questions, as a source of prompts."""

    task: Literal["arc", "commonsense_qa", "mmlu", "piqa", "squad"]
    """Which benchmark; it decides the file's format and the prompt's wording."""
    uri: Uri
    """The file or folder its authors publish, or hf:NAME (a datasets name)."""
    labels_uri: Uri | None = None
    """PIQA's separate file of labels."""
    share: Share = 0.25
    """Share of its questions that is taken, a sample fixed by the seed."""
    max_prompts: Items | None = None
    """Most questions taken; unlimited if empty."""
    n_exemplars: Exemplars = 5
    """Answered questions put before each one; squad takes them from the same paragraph."""
    answer_tokens: AnswerTokens = 1
    """Tokens the teacher writes as the answer (10 for squad in the paper)."""


class PromptsConfig(Settings):
    """Few-shot chat prompts, answered by the teacher, that students are trained on."""

    sources: Annotated[tuple[PromptSourceConfig, ...], Field(max_length=100)] = ()
    """The benchmarks; where there are none, students train on the corpus itself."""
    max_prompt_tokens: Annotated[int, Field(ge=32, le=1 << 20)] = 2048
    """Longer prompts are left out and counted."""
    batch_tokens: BatchTokens = 8192
    """Tokens (padding included) of one batch of prompts while the teacher answers."""
    shard_tokens: ShardTokens = 131_072
    """Prompt tokens a shard: the unit of work and of retry."""
    heldout_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Share of the questions kept for evaluation."""
    seed: Seed = 0
    """Fixes the sample, the exemplars and what is held out."""
