"""Composition (Eq. 2) of as many words as a large thesaurus has, on the host, where it runs."""

import numpy as np

from benchmarks.gpu.part import Told
from benchmarks.gpu.scene import Scene
from dskd_core.dictionary.composition import compose

_AT_A_TIME = 4096
_N_SENSES = 10


def measure(scene: Scene, told: Told) -> None:
    """Compose words of two and three tokens, a piece at a time as the dictionary stage does."""
    sizes, rng = scene.sizes, np.random.default_rng(0)
    d, n_rows = int(sizes.model["hidden_size"]), sizes.n_spelled * _N_SENSES
    some = rng.standard_normal((max(1, n_rows // 16), d), dtype=np.float32).astype(np.float16)
    centroids = np.resize(some, (n_rows, d))
    offsets = np.arange(sizes.n_spelled + 1, dtype=np.int64) * _N_SENSES
    spellings = rng.integers(0, sizes.n_spelled, (sizes.n_words, 3))

    def run(n_words: int) -> None:
        for n_tokens, start in ((2, 0), (3, n_words // 2)):
            stop = n_words // 2 if n_tokens == 2 else n_words
            for first in range(start, stop, _AT_A_TIME):
                last = min(stop, first + _AT_A_TIME)
                compose(centroids, offsets, spellings[first:last, :n_tokens])

    run(min(64, sizes.n_words))
    tenth = scene.seconds(lambda: run(sizes.n_words // 10))
    told(words_per_second=sizes.n_words // 10 / tenth, n_words=sizes.n_words // 10)
    seconds = scene.seconds(lambda: run(sizes.n_words))
    print(f"{sizes.n_words:,} words in {seconds:.1f} s: {sizes.n_words / seconds:,.0f} a second")
    told(words_per_second=sizes.n_words / seconds, n_words=sizes.n_words, seconds=seconds)
