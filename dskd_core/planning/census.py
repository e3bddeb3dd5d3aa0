"""How much text there is, and how many occurrences each token has: counted, or by a stated law.

Where nothing can be counted, the r-th most frequent of the V tokens has a share of

    p_r ~ (r + b)^-s  up to rank R,  and falls with s' beyond it.

The constants were fitted to the counts of 185,160 tokens of English Wikipedia under SmolLM2's
tokenizer: distinct tokens, rows after a cap of 5 and rows after a cap of 2,000 are each within 3 %
(key next) or 6 % (key predicted, where the teacher's guesses favour frequent tokens more). How far
they hold at a billion tokens was not measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dskd_core.config import CorpusConfig, EmbeddingsConfig
from dskd_core.corpus import windows as cutting
from dskd_core.corpus.documents import Reading
from dskd_core.corpus.readers import is_dataset, source_files
from dskd_core.corpus.store import Windows
from dskd_core.corpus.tokenized import take_documents
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.embeddings.census import take_census
from dskd_core.errors import ConfigError
from dskd_core.store import input_files, places

FloatArray = NDArray[np.float64]

BYTES_PER_TOKEN = 4.4
"""Bytes of English text a token of a vocabulary of 32,000 to 128,000."""
COMPRESSION = 3.5
"""How much gzip, bzip2 and xz shrink text; 8 for a MediaWiki dump's text after its markup."""
TEXT_SHARE_OF_DUMP = 0.5
"""Share of a MediaWiki dump that is left as text."""
TOKENS_PER_DOCUMENT = 700
"""Mean of English Wikipedia; only the count of short last windows depends on it."""
_COMPRESSED = (*input_files.COMPRESSED, ".parquet", ".pq")


@dataclass(frozen=True)
class Law:
    """A law of token frequencies with two exponents."""

    shift: float
    exponent: float
    knee: int
    tail_exponent: float

    def shares(self, n_tokens: int) -> FloatArray:
        """Return the share of each of ``n_tokens`` ranks, [n_tokens] float64, summing to 1.

        >>> Law(0, 1.0, 100, 2.0).shares(3).round(3).tolist()
        [0.545, 0.273, 0.182]
        """
        rank = np.arange(1, n_tokens + 1, dtype=np.float64)
        beyond = np.maximum(rank / self.knee, 1.0) ** (self.exponent - self.tail_exponent)
        weights = (rank + self.shift) ** -self.exponent * beyond
        return np.asarray(weights / weights.sum())


LAWS: Mapping[str, Law] = {
    "next": Law(1, 1.0, 8000, 2.2),
    "input": Law(1, 1.0, 8000, 2.2),
    "predicted": Law(0, 1.1, 4000, 1.8),
}
PAPER_COVERED = {128_256: 69_832, 32_000: 27_541}
"""Vocabulary -> tokens the paper's runs found in English text (Llama-3, Mistral); the rest of such
a vocabulary writes other languages. Of any other vocabulary all tokens are taken to occur."""


@dataclass(frozen=True)
class Corpus:
    """The sizes of a corpus.

    Attributes:
        n_tokens: all of them, held-out ones included, prefixes not.
        n_heldout_tokens: kept for evaluation.
        n_windows: all windows.
        n_heldout_windows: those kept for evaluation.
        n_documents: documents.
        basis: how these were found.
        windows: the windows themselves, where they were counted.
    """

    n_tokens: int
    n_heldout_tokens: int
    n_windows: int
    n_heldout_windows: int
    n_documents: int
    basis: str
    windows: Windows | None = None

    @property
    def n_training_tokens(self) -> int:
        """Tokens that are not held out."""
        return self.n_tokens - self.n_heldout_tokens

    @property
    def n_training_windows(self) -> int:
        """Windows that are not held out."""
        return self.n_windows - self.n_heldout_windows


@dataclass(frozen=True)
class TokenCounts:
    """How often the tokens of the inventory occur.

    Attributes:
        occurrences: [t] float64, per token with at least one; expectations where a law gave them.
        basis: how they were found.
        exact: whether they were counted.
        lengths: [n_windows] int64, tokens of each window that the teacher must run over, where
            they were counted.
    """

    occurrences: FloatArray
    basis: str
    exact: bool
    lengths: NDArray[np.int64] | None = None

    @property
    def n_run_tokens(self) -> int | None:
        """Tokens the teacher must run over, where that was counted."""
        return None if self.lengths is None else int(self.lengths.sum())

    @property
    def n_run_windows(self) -> int | None:
        """Windows with any of them."""
        return None if self.lengths is None else int((self.lengths > 0).sum())

    def rows(self, limit: float) -> int:
        """Return how many rows are kept with at most ``limit`` of a token.

        An expectation lambda stands for a Poisson count N, whose E[min(N, limit)] is summed.
        """
        if self.exact:
            return int(np.minimum(self.occurrences, limit).sum())
        return int(_expected_minimum(self.occurrences, limit).sum())

    @property
    def n_covered(self) -> int:
        """Tokens with at least one occurrence."""
        return self.rows(1)


def counted(windows: Windows, basis: str) -> Corpus:
    """Return the sizes of windows that are there."""
    lengths, heldout = windows.lengths, windows.heldout
    return Corpus(
        int(lengths.sum()),
        int(lengths[heldout].sum()),
        len(lengths),
        int(heldout.sum()),
        len(windows.document_hashes),
        basis,
        windows,
    )


def read_windows(config: CorpusConfig, tokenizer: Tokenizer) -> Windows:
    """Tokenize and cut a local source as the corpus stage would, in memory: 4 bytes a token."""
    taken = list(take_documents(config, tokenizer, Reading()))
    given = [document.given_id for document in taken]
    heldout = cutting.choose_heldout(given, config.heldout_share, config.seed)
    lengths = np.array([len(document.ids) for document in taken], dtype=np.int64)
    cut = cutting.cut(lengths, config.window_tokens - len(tokenizer.prefix))
    ids = np.concatenate([np.empty(0, np.int32), *(document.ids for document in taken)])
    hashes = np.array([cutting.document_hash(d.document_id) for d in taken], dtype=np.uint64)
    return Windows(
        token_ids=ids,
        **cut._asdict(),
        heldout=heldout[cut.documents],
        document_hashes=hashes,
        prefix=tuple(tokenizer.prefix),
    )


def estimated(config: CorpusConfig, n_tokens: int | None, n_prefix: int) -> Corpus:
    """Return the sizes of a corpus that nobody has read yet.

    The size of a local source is taken from its bytes.

    Raises:
        ConfigError: if neither is known and ``max_tokens`` sets no bound.
    """
    basis = "given with --tokens"
    if n_tokens is None:
        n_tokens, basis = _tokens_of(config)
    if config.max_tokens is not None and n_tokens > config.max_tokens:
        n_tokens, basis = config.max_tokens, f"corpus.max_tokens ({basis})"
    n_documents = max(1, n_tokens // TOKENS_PER_DOCUMENT)
    room = config.window_tokens - n_prefix
    # The last window of a document is half full on average.
    n_windows = max(n_documents, int(n_tokens / room + n_documents / 2))
    share = config.heldout_share
    return Corpus(
        n_tokens, int(n_tokens * share), n_windows, int(n_windows * share), n_documents, basis
    )


def census_of(corpus: Corpus, config: EmbeddingsConfig, n_vocabulary: int) -> TokenCounts:
    """Return how often each token occurs in the training part of a corpus.

    Exact for the keys ``next`` and ``input`` where the windows are there; by the law otherwise.
    """
    key = config.key
    if corpus.windows is not None and key != "predicted":
        taken = take_census(corpus.windows, config)
        counts = taken.counts[taken.counts > 0].astype(np.float64)
        return TokenCounts(counts, "counted in the corpus", exact=True, lengths=taken.lengths)
    n_usable = PAPER_COVERED.get(n_vocabulary, n_vocabulary)
    quantities = f"{n_usable:,} of {n_vocabulary:,} tokens"
    source = "as many as the paper covered" if n_vocabulary in PAPER_COVERED else "the vocabulary"
    expected = corpus.n_training_tokens * LAWS[key].shares(n_usable)
    basis = f"a two-part Zipf law for key {key} over {quantities} ({source})"
    return TokenCounts(expected, basis, exact=False)


def _expected_minimum(rates: FloatArray, limit: float) -> FloatArray:
    if limit > 50:
        return np.minimum(rates, limit)  # a Poisson count this large is its mean, near enough
    # The sum of P(X > j) over j: what scipy has too, which a plan would need for this alone.
    total, term = np.zeros_like(rates), np.exp(-rates)
    above = -np.expm1(-rates)
    for j in range(int(limit)):
        total += above
        term = term * rates / (j + 1)
        above = np.maximum(above - term, 0.0)
    return total


def _tokens_of(config: CorpusConfig) -> tuple[int, str]:
    if is_dataset(config):
        if config.max_tokens is None:
            raise ConfigError(
                f"Nobody knows how many tokens {config.source!r} has before it is read; say so "
                "with --tokens, or set corpus.max_tokens."
            )
        return config.max_tokens, f"{config.source} taken to have as many"
    n_bytes = 0.0
    for name, path in source_files(config.source).items():
        size = path.stat().st_size * (COMPRESSION if name.endswith(_COMPRESSED) else 1.0)
        n_bytes += size * (TEXT_SHARE_OF_DUMP if ".xml" in name else 1.0)
    return int(n_bytes / BYTES_PER_TOKEN), f"its bytes, {BYTES_PER_TOKEN} of text a token"


def is_local(config: CorpusConfig) -> bool:
    """Say whether the source is files of this machine, which can be counted."""
    return not is_dataset(config) and not places.is_remote(config.source)
