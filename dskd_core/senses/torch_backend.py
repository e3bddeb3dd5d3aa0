"""k-means of many tokens at once: every restart of every token of a batch in one matrix product.

One token's problem (2,000 x 576, k = 10) is tiny, so tokens of similar count share a batch. Coarse
rounds, in bfloat16 where the device multiplies it natively, tell good starts from bad ones: all
restarts on a sample of the rows, the better ones on all rows, fewer and fewer (``_COARSE``). The
best is polished in float32 until no row changes its cluster, so what is given up is a start, never
the precision of the result. A row's nearest centroid maximises
``x . c - |c|^2 / 2``, one batched product; the new means are another. The rows of a rare token are
first turned into the few dimensions they span, which is exact and makes both products small.

Tensors here have the shapes: points [b, n, d], rows last in everything about rows, so that the
elementwise work runs along memory: scores [b, r, k, n] for r restarts.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core import interruption
from dskd_core.ahead import made_ahead
from dskd_core.config import SensesConfig
from dskd_core.decoder.placement import onto
from dskd_core.decoder.precision import torch_device

_SAMPLE_ROWS = 512
_COARSE = ((6, 6), (5, 3), (12, 1))
"""(Lloyd rounds, restarts kept after them): the first on the sample, the others on all rows. On
tokens of 500 to 3,900 real embeddings, k = 10, the sum of inertia is 1.0003 to 1.0009 of
scikit-learn's with ten full restarts. It is 1.0014 where two restarts of equal rounds are polished,
which takes longer."""
_BUCKETS_PER_OCTAVE = 8
_ROUNDS_UNASKED = 3
_SPANNING_ROWS = 144
_CENTROID_BYTES = 4 + 4 + 2


def assign(
    points: Sequence[NDArray[np.float32]],
    token_ids: Sequence[int],
    config: SensesConfig,
) -> list[NDArray[np.int32]]:
    """Return the cluster of every row of every token, int32 [n_i] each.

    The padded length of a token and its random numbers depend on the token alone, so the result
    is the same whichever tokens share a call. A thread pads the next batch while one is computed.
    Cost: at most ``batch_bytes`` at a time on the device beside the input, or one token's bytes if
    that is more; on the host the padded rows of the next batch, which are two thirds of it.
    """
    place = torch_device(config.device)
    labels: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(points)
    d = points[0].shape[1] if len(points) else 0
    row_bytes = _row_bytes(d, config.n_senses, config.n_restarts)

    def prepared(members: list[int]) -> tuple[list[int], Tensor, Tensor, Tensor]:
        draws = [
            uniforms(token_ids[i], config.seed, config.n_restarts, config.n_senses) for i in members
        ]
        X, lengths = _padded([points[i] for i in members])
        return members, X, lengths, torch.from_numpy(np.stack(draws))

    sized = batches(
        [len(p) for p in points],
        max_rows=config.batch_bytes // row_bytes,
        extra_rows=_CENTROID_BYTES * config.n_restarts * config.n_senses * d // row_bytes,
    )
    for members, X, lengths, draws in made_ahead(prepared, sized):
        interruption.check()
        found = _cluster_batch(
            onto(X, place),
            onto(lengths, place),
            onto(draws, place),
            config.max_iterations,
            getattr(torch, config.coarse_dtype),
        )
        for i, row in zip(members, found.cpu().numpy(), strict=True):
            labels[i] = row[: len(points[i])].astype(np.int32)
    return labels


def padded_length(n: int) -> int:
    """Return the length a token of ``n`` rows is padded to: eight lengths an octave.

    >>> [padded_length(n) for n in (5, 17, 100, 1000, 2000)]
    [5, 18, 104, 1024, 2048]
    """
    step = max(1, (1 << (n - 1).bit_length()) // (2 * _BUCKETS_PER_OCTAVE))
    return -(-n // step) * step


def batches(lengths: Sequence[int], *, max_rows: int, extra_rows: int = 0) -> Iterator[list[int]]:
    """Yield indices of tokens of one padded length, at most ``max_rows`` padded rows at once.

    A token counts ``extra_rows`` more: its centroids, which outweigh the rows of a rare token.
    """
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(padded_length(length), []).append(index)
    for length, members in sorted(groups.items()):
        size = max(1, max_rows // (length + extra_rows))
        for start in range(0, len(members), size):
            yield members[start : start + size]


def uniforms(token_id: int, seed: int, n_restarts: int, n_senses: int) -> NDArray[np.float32]:
    """Return the random numbers of one token's starts, float32 [r, k, trials]."""
    generator = np.random.Generator(np.random.Philox(key=[seed, token_id]))
    n_trials = 2 + int(np.log(n_senses))
    return generator.random((n_restarts, n_senses, n_trials), dtype=np.float32)


def token_bytes(n_rows: int, d: int, n_senses: int, n_restarts: int) -> int:
    """Return the memory that the clustering of one token takes, a batch of it alone.

    >>> token_bytes(2000, 576, n_senses=10, n_restarts=10) // 2**20
    10
    """
    centroids = _CENTROID_BYTES * n_restarts * n_senses * d
    return padded_length(n_rows) * _row_bytes(d, n_senses, n_restarts) + centroids


def _row_bytes(d: int, k: int, r: int) -> int:
    return d * (4 + 2) + 14 * r * k


def _padded(points: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Return the tokens' rows about their means, float32 [b, n, d], and their counts, int64 [b]."""
    lengths = [len(p) for p in points]
    X = np.zeros((len(points), padded_length(max(lengths)), points[0].shape[1]), np.float32)
    for row, p in zip(X, points, strict=True):
        np.subtract(p, p.mean(axis=0), out=row[: len(p)])
    return torch.from_numpy(X), torch.tensor(lengths)


@torch.inference_mode()
def _cluster_batch(
    X: Tensor, lengths: Tensor, draws: Tensor, max_iterations: int, coarse_dtype: torch.dtype
) -> Tensor:
    """Return the clusters of a batch, int64 [b, n]; those of padding mean nothing."""
    X = _in_few_dimensions(X)
    mask = torch.arange(X.shape[1], device=X.device) < lengths[:, None]
    coarse, norms = X.to(coarse_dtype), X.square().sum(-1)
    few, few_norms, few_mask = _sample(coarse, norms, mask, lengths)
    starts = plus_plus(few, few_norms, few_mask, draws)
    C = take(few, starts).float().view(*draws.shape[:3], -1)
    (n_rounds, n_kept), *later = _COARSE
    C = _keep_best(few, C, few_norms, few_mask, min(n_rounds, max_iterations), n_kept)
    for n_rounds, n_kept in later:
        C = _keep_best(coarse, C, norms, mask, min(n_rounds, max_iterations), n_kept)
    return _polish(X, C, norms, mask, max_iterations)


def _in_few_dimensions(X: Tensor) -> Tensor:
    """Return the rows in coordinates of the space they span, [b, n, n], if that is far smaller.

    k-means knows nothing but distances, and n rows have no more than n dimensions: ``X = R^T Q^T``
    with orthonormal Q, so the rows of ``R^T`` are as far from each other as those of X.
    """
    n, d = X.shape[1:]
    if n > _SPANNING_ROWS or 2 * n > d:
        return X
    triangles: Tensor = torch.linalg.qr(X.mT, mode="r").R
    return triangles.mT.contiguous()


def _sample(
    X: Tensor, norms: Tensor, mask: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return evenly spaced rows, at most ``_SAMPLE_ROWS`` of a token, their norms and mask."""
    if X.shape[1] <= _SAMPLE_ROWS:
        return X, norms, mask
    rows = torch.arange(_SAMPLE_ROWS, device=X.device) * lengths[:, None] // _SAMPLE_ROWS
    return take(X, rows), norms.gather(1, rows), mask[:, :_SAMPLE_ROWS]


def _keep_best(
    X: Tensor, C: Tensor, norms: Tensor, mask: Tensor, n_rounds: int, n_kept: int
) -> Tensor:
    """Run Lloyd for some rounds and return the restarts of least inertia, [b, n_kept, k, d]."""
    for _ in range(n_rounds):
        interruption.check()
        labels, gains = nearest(X, C)
        C = means(X, C, labels, norms[:, None] - 2 * gains, mask)
    _, gains = nearest(X, C)
    inertia = ((norms[:, None] - 2 * gains) * mask[:, None]).sum(-1)
    best = inertia.topk(min(n_kept, C.shape[1]), largest=False, sorted=True).indices
    return C.gather(1, best[:, :, None, None].expand(-1, -1, *C.shape[2:]))


def plus_plus(X: Tensor, norms: Tensor, mask: Tensor, draws: Tensor) -> Tensor:
    """Choose starting rows by greedy k-means++ (Arthur and Vassilvitskii 2007).

    A row is drawn with probability proportional to its squared distance from the nearest start so
    far; of a few such trials the one that lowers the sum of these distances most is kept.

    Args:
        X: rows [b, n, d].
        norms: their squared lengths, float32 [b, n].
        mask: True where a row is no padding, bool [b, n].
        draws: uniform numbers in [0, 1), float32 [b, r, k, trials].

    Returns:
        Row indices, int64 [b, r, k].
    """
    b, r, k, trials = draws.shape
    last = mask.sum(-1)[:, None, None] - 1
    first = (draws[:, :, 0, :1] * (last + 1)).long().minimum(last)
    starts, nearest_sq = [first], _squared_distances(X, norms, first).view(b, r, -1) * mask[:, None]
    for step in range(1, k):
        interruption.check()
        mass = _running_sums(nearest_sq)
        target = draws[:, :, step] * mass[..., -1:]
        trial = torch.searchsorted(mass, target.contiguous(), right=True).minimum(last)
        distances = _squared_distances(X, norms, trial).view(b, r, trials, -1)
        lowered = torch.minimum(distances, nearest_sq[:, :, None])
        best = lowered.sum(-1).argmin(-1, keepdim=True)
        nearest_sq = lowered.gather(2, best[..., None].expand(-1, -1, 1, lowered.shape[-1]))[
            :, :, 0
        ]
        starts.append(trial.gather(2, best))
    return torch.cat(starts, -1)


def _running_sums(rows: Tensor) -> Tensor:
    """Return the running sum of each row, the same bits whenever it is asked for.

    CUDA adds up a tensor of one row in whatever order its blocks come to an end, one of several
    rows row by row (torch lists cumsum of floats among what is not deterministic).
    """
    if rows.numel() > rows.shape[-1]:
        return rows.cumsum(-1)
    return torch.cat([rows, rows]).cumsum(-1)[: len(rows)]


def take(X: Tensor, rows: Tensor) -> Tensor:
    """Return the named rows [b, m, d] of ``X`` [b, n, d] for indices of any shape [b, ...]."""
    return X[torch.arange(len(X), device=X.device)[:, None], rows.flatten(1)]


def _squared_distances(X: Tensor, norms: Tensor, rows: Tensor) -> Tensor:
    products = torch.bmm(take(X, rows), X.mT).float()
    return (
        products.mul_(-2)
        .add_(norms[:, None])
        .add_(norms.gather(1, rows.flatten(1))[..., None])
        .clamp_(0)
    )


def nearest(X: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's nearest centroid and its gain ``x . c - |c|^2 / 2``, both [b, r, n]."""
    b, r, k, d = C.shape
    scores = torch.bmm(C.view(b, r * k, d).to(X.dtype), X.mT).float()
    scores -= C.square().sum(-1).view(b, r * k, 1) / 2
    gains, labels = scores.view(b, r, k, -1).max(2)
    return labels, gains


def means(X: Tensor, C: Tensor, labels: Tensor, distances: Tensor, mask: Tensor) -> Tensor:
    """Return the clusters' means, float32 [b, r, k, d].

    A cluster without rows moves to the row farthest from its own centroid, the second such
    cluster to the second farthest row, and so on.
    """
    b, r, k, d = C.shape
    members = (labels[:, :, None] == torch.arange(k, device=X.device)[:, None]) & mask[
        :, None, None
    ]
    members = members.to(X.dtype)
    counts = members.sum(-1, dtype=torch.float32)
    sums = torch.bmm(members.view(b, r * k, -1), X).float().view(b, r, k, d)
    centroids = sums / counts.clamp(min=1)[..., None]
    empty = counts == 0
    if _asking_waits(X) or empty.any():
        far = distances.masked_fill(~mask[:, None], -torch.inf).topk(k, -1).indices
        order = (empty.cumsum(-1) - 1).clamp(min=0)
        rows = take(X, far.gather(2, order)).float().view(b, r, k, d)
        centroids = torch.where(empty[..., None], rows, centroids)
    return centroids


def _polish(X: Tensor, C: Tensor, norms: Tensor, mask: Tensor, max_iterations: int) -> Tensor:
    """Run Lloyd in float32 until no row moves; return the best restart's clusters, int64 [b, n].

    Whether any moves is asked every few rounds where asking is waiting for a GPU: where none does,
    a further round changes nothing.
    """
    result = torch.zeros(mask.shape, dtype=torch.long, device=X.device)
    active = torch.arange(len(X), device=X.device)
    labels, gains = nearest(X, C)
    rounds_unasked = _ROUNDS_UNASKED if _asking_waits(X) else 0
    for number in range(max_iterations):
        interruption.check()
        C = means(X, C, labels, norms[:, None] - 2 * gains, mask)
        before, (labels, gains) = labels, nearest(X, C)
        if number % (rounds_unasked + 1) < rounds_unasked:
            continue
        moving = ((labels != before) & mask[:, None]).flatten(1).any(1)
        n_moving = int(moving.sum())
        if n_moving == 0:
            break
        if n_moving <= len(active) // 2:
            result[active[~moving]] = _best(labels, gains, mask)[~moving]
            X, C, norms, mask = X[moving], C[moving], norms[moving], mask[moving]
            active, labels, gains = active[moving], labels[moving], gains[moving]
    result[active] = _best(labels, gains, mask)
    return result


def _asking_waits(X: Tensor) -> bool:
    """Say whether a value of a tensor's device is waited for longer than a few rounds take."""
    return X.device.type != "cpu"


def _best(labels: Tensor, gains: Tensor, mask: Tensor) -> Tensor:
    best = (gains * mask[:, None]).sum(-1).argmax(1)
    return labels[torch.arange(len(best), device=best.device), best]
