import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dskd_core.config import SensesConfig
from dskd_core.senses import torch_backend
from dskd_core.senses.kmeans import cluster


def tokens(lengths, d=24, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (2 * rng.normal(size=(7, d))[rng.integers(0, 7, n)] + rng.normal(size=(n, d))).astype(
            np.float32
        )
        for n in lengths
    ]


def run(points, ids, **settings):
    return cluster(
        points, ids, SensesConfig(**({"n_senses": 5, "device": "cpu", "n_restarts": 4} | settings))
    )


@pytest.mark.parametrize("d", [24, 64, 576])
def test_the_other_tokens_of_a_call_change_no_bit(d):
    points = tokens([6, 7, 17, 18, 100, 103, 104, 104, 400, 415, 1001], d)
    ids = [3 * i for i in range(len(points))]
    together = run(points, ids)
    backwards = run(points[::-1], ids[::-1])[::-1]
    crowded = run(points, ids, batch_bytes=1 << 20)
    for i, whole in enumerate(together):
        alone = run([points[i]], [ids[i]])[0]
        for other in (backwards[i], crowded[i], alone):
            np.testing.assert_array_equal(whole.labels, other.labels)
            np.testing.assert_array_equal(whole.centroids, other.centroids)
            assert whole.inertia == other.inertia


def test_the_padded_length_depends_on_the_count_alone_and_wastes_little():
    lengths = np.arange(1, 4001)
    padded = np.array([torch_backend.padded_length(int(n)) for n in lengths])
    assert (padded >= lengths).all()
    assert (padded <= np.ceil(lengths * 1.125)).all()
    assert padded.sum() / lengths.sum() < 1.07


def test_batches_hold_one_padded_length_and_keep_their_budget():
    lengths = [100, 30, 104, 104, 31, 104, 2000]
    found = list(torch_backend.batches(lengths, max_rows=208))
    assert found == [[1], [4], [0, 2], [3, 5], [6]]


def test_centroids_count_in_the_budget_of_a_batch():
    found = list(torch_backend.batches([4] * 10, max_rows=100, extra_rows=21))
    assert [len(batch) for batch in found] == [4, 4, 2]


def test_random_numbers_come_from_the_seed_and_the_token_alone():
    one = torch_backend.uniforms(5, 0, 3, 10)
    assert one.shape == (3, 10, 4)
    np.testing.assert_array_equal(one, torch_backend.uniforms(5, 0, 3, 10))
    assert not np.array_equal(one, torch_backend.uniforms(6, 0, 3, 10))
    assert not np.array_equal(one, torch_backend.uniforms(5, 1, 3, 10))


def test_the_nearest_centroid_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    X, C = rng.normal(size=(2, 9, 5)), rng.normal(size=(2, 3, 4, 5))
    labels, gains = torch_backend.nearest(
        torch.tensor(X, dtype=torch.float32), torch.tensor(C, dtype=torch.float32)
    )
    for b in range(2):
        for r in range(3):
            for n in range(9):
                squared = [((X[b, n] - c) ** 2).sum() for c in C[b, r]]
                assert int(labels[b, r, n]) == int(np.argmin(squared))
                distance = (X[b, n] ** 2).sum() - 2 * float(gains[b, r, n])
                assert distance == pytest.approx(min(squared), abs=1e-4)


def test_empty_clusters_move_to_the_farthest_rows():
    X = torch.tensor([[[0.0], [1.0], [10.0], [7.0], [99.0]]])
    mask = torch.tensor([[True, True, True, True, False]])
    labels = torch.zeros(1, 1, 5, dtype=torch.long)
    C = torch.tensor([[[[1.0], [500.0], [600.0]]]])
    distances = torch.tensor([[[1.0, 0.0, 81.0, 36.0, 1e9]]])
    found = torch_backend.means(X, C, labels, distances, mask)
    assert found.flatten().tolist() == [4.5, 10.0, 7.0]


def test_starts_spread_over_far_groups():
    X = torch.zeros(1, 30, 2)
    X[0, 10:20, 0], X[0, 20:, 1] = 100.0, 100.0
    X += 0.01 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    draws = torch.rand(1, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 30, dtype=torch.bool)
    starts = torch_backend.plus_plus(X.bfloat16(), X.square().sum(-1), mask, draws)
    assert all(sorted(row) == [0, 1, 2] for row in (starts[0] // 10).tolist())


class _RunningSums(TorchDispatchMode):
    """Notes how many rows each running sum of floats has."""

    def __init__(self):
        super().__init__()
        self.n_rows = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket is torch.ops.aten.cumsum and args[0].is_floating_point():
            self.n_rows.append(args[0].numel() // args[0].shape[args[1]])
        return function(*args, **(kwargs or {}))


def test_no_running_sum_has_one_row_which_cuda_would_add_in_another_order_each_time():
    rows, draws = torch.randn(1, 30, 4), torch.rand(1, 2, 5, 3)
    mask, norms = torch.ones(1, 30, dtype=torch.bool), rows.square().sum(-1)
    both = torch_backend.plus_plus(rows, norms, mask, draws)
    with _RunningSums() as sums:
        alone = torch_backend.plus_plus(rows, norms, mask, draws[:, 1:])
    assert len(sums.n_rows) == 4
    assert min(sums.n_rows) > 1
    assert torch.equal(alone[:, 0], both[:, 1])


def test_starts_never_fall_on_padding():
    X = torch.zeros(1, 8, 2)
    X[0, :3] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    draws = torch.full((1, 4, 3, 2), 0.9999999)
    mask = torch.arange(8)[None] < 3
    starts = torch_backend.plus_plus(X.bfloat16(), X.square().sum(-1), mask, draws)
    assert int(starts.max()) <= 2


def test_the_rows_of_a_rare_token_keep_their_distances_in_the_dimensions_they_span():
    X = torch.from_numpy(np.stack(tokens([40, 40], d=576)))
    X -= X.mean(1, keepdim=True)
    few = torch_backend._in_few_dimensions(X)
    assert few.shape == (2, 40, 40)
    gaps, wanted = (rows[:, :, None] - rows[:, None] for rows in (few, X))
    torch.testing.assert_close(gaps.norm(dim=-1), wanted.norm(dim=-1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n", [145, 30])
def test_rows_that_span_no_far_smaller_space_stay_as_they_are(n):
    X = torch.zeros(1, n, 59)
    assert torch_backend._in_few_dimensions(X) is X


def test_rare_tokens_find_the_clusters_of_scikit_learn():
    points, ids = tokens([12, 30, 60, 144], d=576), [1, 2, 3, 4]
    ours = sum(found.inertia for found in run(points, ids, n_restarts=10))
    theirs = sum(f.inertia for f in run(points, ids, n_restarts=10, backend="sklearn"))
    assert ours == pytest.approx(theirs, rel=2e-3)


def test_a_device_that_is_asked_less_often_finds_the_same_clusters(monkeypatch):
    rng = np.random.default_rng(3)
    points = [rng.normal(size=(n, 8)).astype(np.float32) for n in (40, 300, 300, 700)]
    points[1][:290] = points[1][0]  # so that clusters lose all their rows
    asked = cluster(points, range(4), SensesConfig(n_senses=6, n_restarts=3))
    n_asked = []

    def waits(X):
        n_asked.append(len(X))
        return True

    monkeypatch.setattr(torch_backend, "_asking_waits", waits)
    for one, other in zip(
        asked, cluster(points, range(4), SensesConfig(n_senses=6, n_restarts=3)), strict=True
    ):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.centroids, other.centroids)
    assert n_asked
