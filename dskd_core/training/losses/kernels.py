"""The element-wise part of the vocabulary pass: rows of logits in, their gradient in place.

Each function reads a block of logits [rows, V] in the dtype of the products (bfloat16), computes in
float32 (float64 where the logits are), subtracts each row's peak before any exponential, and
overwrites the logits with d(w CE + alpha T^2 D)/d logits, without the label's own -1, which the
caller takes off as a row of W. Nothing here knows of positions, states or W.

Eager, a dozen passes over memory; compiled (:func:`kernel`), three over a block that stays in
cache, with one exponential per logit at T = 2, where exp(z) is the square of exp(z / 2).
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Literal

import torch
from torch import Tensor

from dskd_core.decoder.compilation import Compiled

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]
Kernel = Callable[..., tuple[Tensor, ...]]


def sums_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of softmax and sums: float32, or float64 where the products have it."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32


def kernel_constants(
    temperature: float,
    kl_weight: float,
    softcap: float | None,
    *,
    like: Tensor,
    ce_weight: float = 1.0,
) -> Tensor:
    """Return (1 / T, alpha T, c, w): numbers a compiled kernel takes without recompiling.

    The gradient of alpha T^2 D(p(z / T)) brings a factor 1 / T, so alpha T remains.
    """
    numbers = (1.0 / temperature, kl_weight * temperature, softcap or 1.0, ce_weight)
    return _constants(numbers, sums_dtype(like), like.device)


@lru_cache(maxsize=16)  # made anew, each of them would be a copy to the GPU that waits for it
def _constants(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device)


def single(
    logits: Tensor, constants: Tensor, *, squared: bool, gradient: bool
) -> tuple[Tensor, Tensor]:
    """Return logsumexp(z) and logsumexp(z / T) of each row; leave w s + alpha T q in the logits.

    s = softmax(z), q = softmax(z / T). All of CE and of the forward KL that needs the vocabulary,
    where the teacher has left e_t behind.

    Args:
        logits: [rows, V], overwritten if ``gradient``.
        constants: of :func:`kernel_constants`.
        squared: whether T = 2.
        gradient: whether the logits are overwritten.
    """
    z = logits.to(constants.dtype)
    peak = z.amax(dim=1, keepdim=True)
    soft = ((z - peak) * constants[0]).exp()
    sharp = soft * soft if squared else (z - peak).exp()
    sum_soft, sum_sharp = soft.sum(dim=1, keepdim=True), sharp.sum(dim=1, keepdim=True)
    if gradient:
        logits.copy_(sharp * (constants[3] / sum_sharp) + soft * (constants[1] / sum_soft))
    log_z = (sum_sharp.log() + peak)[:, 0]
    return log_z, (sum_soft.log() + peak * constants[0])[:, 0]


def forward_kl(
    logits: Tensor,
    teacher: Tensor,
    constants: Tensor,
    *,
    squared: bool,
    softcapped: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Return logsumexp(z) and KL(p || q) of each row; leave the gradient in the logits.

    p = softmax(teacher / T), q = softmax(z / T), as in :func:`paired`, without its logarithms: at
    T = 2 two exponentials a token suffice. With a = (z - max z) / T, b = (t - max t) / T:

        KL(p || q) = sum p (b - a) + log sum exp a - log sum exp b,    d / d(z / T) = q - p

    Args:
        logits: [rows, V], before the soft cap; overwritten if ``gradient``.
        teacher: [rows, V], likewise.
        constants: of :func:`kernel_constants`.
        squared: whether T = 2.
        softcapped: whether z = c tanh(logits / c), for both.
        gradient: whether the logits are overwritten.
    """
    z, t = logits.to(constants.dtype), teacher.to(constants.dtype)
    if softcapped:
        z, t = (constants[2] * (x / constants[2]).tanh() for x in (z, t))
    peak = z.amax(dim=1, keepdim=True)
    centred, taught = ((x - x.amax(dim=1, keepdim=True)) * constants[0] for x in (z, t))
    soft, wanted = centred.exp(), taught.exp()
    sharp = soft * soft if squared else (z - peak).exp()
    sum_soft, sum_sharp, sum_wanted = (x.sum(dim=1, keepdim=True) for x in (soft, sharp, wanted))
    drawn = (wanted * (taught - centred)).sum(dim=1, keepdim=True) / sum_wanted
    if gradient:
        pull = soft * (constants[1] / sum_soft) - wanted * (constants[1] / sum_wanted)
        mixed = sharp * (constants[3] / sum_sharp) + pull
        logits.copy_(mixed * (1.0 - (z / constants[2]).square()) if softcapped else mixed)
    log_z = (sum_sharp.log() + peak)[:, 0]
    return log_z, (drawn + sum_soft.log() - sum_wanted.log())[:, 0]


def paired(
    logits: Tensor,
    teacher: Tensor,
    constants: Tensor,
    *,
    divergence: Literal["reverse_kl", "jsd"],
    softcapped: bool,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Return logsumexp(z) and the divergence of each row; leave the gradient in the logits.

    p = softmax(teacher / T), q = softmax(z / T), m = (p + q) / 2:

                    D                                d D / d(z / T)
        reverse_kl  KL(q || p)                       q (log q/p - KL(q || p))
        jsd         KL(p || m) / 2 + KL(q || m) / 2  q (log q/m - KL(q || m)) / 2

    Args:
        logits: [rows, V], before the soft cap; overwritten if ``gradient``.
        teacher: [rows, V], likewise.
        constants: of :func:`kernel_constants`.
        divergence: which one.
        softcapped: whether z = c tanh(logits / c), for both.
        gradient: whether the logits are overwritten.
    """
    z, t = logits.to(constants.dtype), teacher.to(constants.dtype)
    if softcapped:
        z, t = (constants[2] * (x / constants[2]).tanh() for x in (z, t))
    log_z = z.logsumexp(dim=1, keepdim=True)
    log_q = torch.log_softmax(z * constants[0], dim=1)
    log_p = torch.log_softmax(t * constants[0], dim=1)
    q, p = log_q.exp(), log_p.exp()
    if divergence == "reverse_kl":
        distance = (q * (log_q - log_p)).sum(dim=1, keepdim=True)
        slope = q * (log_q - log_p - distance)
    else:
        log_m = (0.5 * (p + q)).clamp(min=torch.finfo(p.dtype).tiny).log()
        to_middle = (q * (log_q - log_m)).sum(dim=1, keepdim=True)
        distance = 0.5 * ((p * (log_p - log_m)).sum(dim=1, keepdim=True) + to_middle)
        slope = 0.5 * q * (log_q - log_m - to_middle)
    if gradient:
        mixed = (z - log_z).exp() * constants[3] + constants[1] * slope
        logits.copy_(mixed * (1.0 - (z / constants[2]).square()) if softcapped else mixed)
    return log_z[:, 0], distance[:, 0]


def teaching(logits: Tensor, constants: Tensor, *, softcapped: bool) -> tuple[Tensor]:
    """Return the entropy of softmax(logits / T), nats a row; leave the probabilities behind."""
    z = logits.to(constants.dtype)
    if softcapped:
        z = constants[2] * (z / constants[2]).tanh()
    centred = (z - z.amax(dim=1, keepdim=True)) * constants[0]
    exponentials = centred.exp()
    total = exponentials.sum(dim=1, keepdim=True)
    mean = (exponentials * centred).sum(dim=1, keepdim=True) / total
    logits.copy_(exponentials * (1.0 / total))
    return ((total.log() - mean)[:, 0],)


@cache
def kernel(function: Kernel, *, compiled: bool, **options: object) -> Kernel:
    """Return a function of this module with its options bound, compiled if asked and possible.

    A compiled kernel takes numbers as tensors, so that another number compiles nothing anew. Where
    compiling fails (no C++ compiler, no Triton) the eager function runs from then on, and the log
    says so once.
    """
    eager = partial(function, **options)
    if not compiled:
        return eager
    return Compiled(eager, what="The vocabulary pass", setting="training.compile_head")
