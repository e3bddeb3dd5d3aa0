"""What a plan can count instead of estimate: artifacts that stand, and local files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dskd_core import samples
from dskd_core.config import PipelineConfig
from dskd_core.config.settings import Settings
from dskd_core.corpus.readers import source_fingerprint
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import Tokenizer, load_gguf_tokenizer, load_tokenizer
from dskd_core.embeddings.layout import INDEX
from dskd_core.embeddings.readers import load_embeddings
from dskd_core.embeddings.teacher import stored_teachers
from dskd_core.errors import ConfigError
from dskd_core.planning.census import Corpus, TokenCounts, counted, is_local, read_windows
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.words import SPELLINGS


@dataclass(frozen=True)
class Known:
    """What is known exactly; None for what is not.

    Attributes:
        corpus: sizes of the text.
        census: occurrences of the tokens in the inventory, after the cap.
        n_composed: words of several tokens all of which have senses.
        n_shard_rows: rows of all embedding shards.
        n_prefix: tokens before every window; 1 where the tokenizer is not here.
    """

    corpus: Corpus | None
    census: TokenCounts | None
    n_composed: int | None
    n_shard_rows: int | None
    n_prefix: int


def find_known(store: ArtifactStore, config: PipelineConfig, *, count: bool) -> Known:
    """Look for artifacts of this configuration, and count a local source if asked to.

    Raises:
        ConfigError: if counting is asked for and the source or the tokenizer is not here.
    """
    teacher = teacher_that_stands(store, config)
    # A tokenizer is the same in every precision, and a GGUF file's own takes long to read.
    of_source = stored_teachers(store, config.teacher)
    tokenizer = load_tokenizer(of_source[-1].folder()) if of_source else None
    if tokenizer is None and (count or Path(samples.resolve(config.teacher.source)).is_dir()):
        tokenizer = _local_tokenizer(config)
    built = _corpus(store, config, tokenizer) if tokenizer else None
    corpus = counted(load_windows(built), f"counted in {_name(built)}") if built else None
    if corpus is None and count:
        if tokenizer is None or not is_local(config.corpus):
            raise ConfigError(
                f"--count needs the tokenizer of {config.teacher.source!r} and the text of "
                f"{config.corpus.source!r} on this machine; give --tokens instead."
            )
        corpus = counted(read_windows(config.corpus, tokenizer), "counted in the source")
    embeddings = _embeddings(store, config, teacher, built) if teacher and built else None
    census, n_composed, n_shard_rows = None, None, None
    if embeddings:
        reader = load_embeddings(embeddings, store)
        index = embeddings.group(INDEX)
        met = index["n_occurrences"] if "n_occurrences" in index else index["n_rows"]
        counts = np.asarray(met[:], dtype=np.float64)
        census = TokenCounts(counts, f"counted in {_name(embeddings)}", exact=True)
        n_shard_rows = sum(shard.record.counts["rows"] for shard in reader.shards)
        n_composed = _composed(store, config, tokenizer, set(reader.tokens.tolist()))
    n_prefix = len(tokenizer.prefix) if tokenizer else 1
    return Known(corpus, census, n_composed, n_shard_rows, n_prefix)


def _name(artifact: Artifact) -> str:
    return f"{artifact.record.stage}/{artifact.fingerprint}"


def teacher_that_stands(store: ArtifactStore, config: PipelineConfig) -> Artifact | None:
    """Return the newest teacher of this source and precision."""
    dtype = config.teacher.dtype
    alike = [t for t in stored_teachers(store, config.teacher) if t.record.config["dtype"] == dtype]
    return alike[-1] if alike else None


def _local_tokenizer(config: PipelineConfig) -> Tokenizer | None:
    path = Path(samples.resolve(config.teacher.source))
    if path.is_dir():
        return load_tokenizer(path)
    if path.is_file():
        return load_gguf_tokenizer(path)
    return None


def alike(
    store: ArtifactStore,
    stage: str,
    settings: Settings | None,
    inputs: Mapping[str, str],
    but: Iterable[str] = (),
    usual: Mapping[str, Any] | None = None,
) -> list[Artifact]:
    """Return the artifacts of some inputs that name no other value of a setting, oldest first.

    What a record does not name has its ``usual`` value, or any where that is not told; settings
    in ``but`` are not compared.
    """
    wanted: dict[str, Any] = settings.model_dump(mode="json") if settings else {}
    wanted = {name: value for name, value in wanted.items() if name not in but}

    def stands(artifact: Artifact) -> bool:
        record = artifact.record
        made_with = {**(usual or {}), **record.config}
        same = all(wanted.get(name, value) == value for name, value in made_with.items())
        return same and all(record.inputs.get(name) == made for name, made in inputs.items())

    return [artifact for artifact in store.of_stage(stage) if stands(artifact)]


def _corpus(store: ArtifactStore, config: PipelineConfig, tokenizer: Tokenizer) -> Artifact | None:
    found = alike(store, "corpus", config.corpus, {"tokenizer": tokenizer.fingerprint})
    if not found:
        return None
    source = source_fingerprint(config.corpus)  # reads the source once: only where it may help
    return next((c for c in reversed(found) if c.record.inputs["source"] == source), None)


def _embeddings(
    store: ArtifactStore, config: PipelineConfig, teacher: Artifact, corpus: Artifact
) -> Artifact | None:
    """Return the newest embeddings of this sample, teacher and corpus."""
    inputs = {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint}
    return next(reversed(alike(store, "embeddings", config.embeddings, inputs)), None)


def _composed(
    store: ArtifactStore, config: PipelineConfig, tokenizer: Tokenizer | None, covered: set[int]
) -> int | None:
    """Return the words of several tokens that all have senses, in the newest words."""
    if tokenizer is None:
        return None
    found = alike(store, "words", config.words, {"tokenizer": tokenizer.fingerprint})
    if not found:
        return None
    spellings = found[-1].table(SPELLINGS)["token_ids"].to_pylist()
    return sum(len(ids) > 1 and covered.issuperset(ids) for ids in spellings)
