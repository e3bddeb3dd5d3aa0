import numpy as np

from dskd_core.dictionary.composition import compose


def _naive(senses: list[np.ndarray]) -> np.ndarray:
    mean = senses[0].astype(np.float64)
    for j, later in enumerate(senses[1:], start=2):
        rows = []
        for row in mean:
            distances = [np.linalg.norm(row - s) for s in later.astype(np.float64)]
            rows.append(((j - 1) * row + later[int(np.argmin(distances))]) / j)
        mean = np.array(rows)
    return mean


def test_composed_senses_equal_the_naive_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 6, 20)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    centroids = rng.normal(size=(int(offsets[-1]), 8)).astype(np.float32)
    for span in (1, 2, 3, 4):
        spellings = rng.integers(0, 20, (50, span))
        composed = compose(centroids, offsets, spellings)
        for spelling, senses in zip(spellings, composed, strict=True):
            own = [centroids[offsets[t] : offsets[t + 1]] for t in spelling]
            n = len(own[0])
            np.testing.assert_allclose(senses[:n], _naive(own), atol=1e-5)
            assert np.isnan(senses[n:]).all()


def test_later_tokens_align_to_the_running_mean_and_not_to_the_first_token():
    # After the second token the mean is 5, nearest to 6 of the third; the first token's 0 is
    # nearest to -1.
    centroids = np.array([[0.0], [10.0], [-1.0], [6.0]], dtype=np.float32)
    offsets = np.array([0, 1, 2, 4])
    composed = compose(centroids, offsets, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(composed, [[[(0.0 + 10.0 + 6.0) / 3]]], rtol=1e-6)


def test_every_token_weighs_one_part_in_m():
    centroids = np.array([[3.0], [6.0], [12.0]], dtype=np.float32)
    composed = compose(centroids, np.array([0, 1, 2, 3]), np.array([[0, 1, 2]]))
    assert composed.item() == 7.0
