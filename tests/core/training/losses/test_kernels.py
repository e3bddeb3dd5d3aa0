import logging
import shutil

import pytest
import torch

from dskd_core.decoder.compilation import Compiled
from dskd_core.training.losses.kernels import (
    forward_kl,
    kernel,
    kernel_constants,
    paired,
    single,
    teaching,
)

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler here"
)


def logits(rows=8, v=203):
    torch.manual_seed(0)
    return [(torch.randn(rows, v) * 6.0).bfloat16() for _ in range(2)]


@pytest.fixture
def unbroken(monkeypatch):
    monkeypatch.setattr(Compiled, "failed", set())
    kernel.cache_clear()
    yield
    kernel.cache_clear()


@needs_a_compiler
@pytest.mark.parametrize(
    ("function", "n_blocks", "options"),
    [
        (single, 1, {"squared": True, "gradient": True}),
        (forward_kl, 2, {"squared": True, "softcapped": False, "gradient": True}),
        (paired, 2, {"divergence": "jsd", "softcapped": True, "gradient": True}),
        (teaching, 1, {"softcapped": False}),
    ],
)
def test_a_compiled_kernel_equals_the_eager_one_to_rounding(unbroken, function, n_blocks, options):
    outcomes = []
    for compiled in (False, True):
        blocks = logits()[:n_blocks]
        run = kernel(function, compiled=compiled, **options)
        outcomes.append(
            [*run(*blocks, kernel_constants(2.0, 0.7, 30.0, like=blocks[0])), blocks[0]]
        )
    assert not Compiled.failed
    for eager, fast in zip(*outcomes, strict=True):
        assert fast.dtype == eager.dtype
        # sums in another order; the gradient then rounds to one of two neighbouring bfloat16
        rounding = 2**-7 if eager.dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(fast, eager, rtol=rounding, atol=1e-6)


@needs_a_compiler
def test_a_row_s_result_depends_on_no_other_row_and_not_on_threads(unbroken):
    run = kernel(single, compiled=True, squared=True, gradient=True)
    whole = logits()[0]
    alone = torch.full_like(whole, 7.0)
    alone[3] = whole[3]
    constants = kernel_constants(2.0, 0.7, None, like=whole)
    first = run(whole, constants)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        second = run(alone, constants)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole[3], alone[3])
    assert torch.equal(first[0][3], second[0][3])


def test_without_a_compiler_the_eager_kernel_runs_and_says_so_once(unbroken, monkeypatch, caplog):
    def broken(*_args, **_kwargs):
        def call(*_blocks):
            raise RuntimeError("no g++ found\nand more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    block = logits()[0]
    expected = block.float().logsumexp(dim=1)
    constants = kernel_constants(2.0, 0.7, None, like=block)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            run = kernel(single, compiled=True, squared=True, gradient=False)
            torch.testing.assert_close(run(block, constants)[0], expected)
    assert len(caplog.records) == 1
    assert "no g++ found" in caplog.text
    assert "install a C++ compiler" in caplog.text


def test_another_kl_weight_is_a_number_and_not_another_kernel():
    like = torch.empty(0)
    one, other = (kernel_constants(2.0, weight, None, like=like) for weight in (0.7, 0.3))
    assert one.shape == other.shape
    assert not torch.equal(one, other)
