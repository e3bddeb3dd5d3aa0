import logging
import shutil

import pytest
import torch
from torch import nn

from dskd_core.decoder.compilation import Compiled, CompiledLayers, run_compiled

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler here"
)


@pytest.fixture(autouse=True)
def unbroken(monkeypatch):
    monkeypatch.setattr(Compiled, "failed", set())


class Layer(nn.Module):
    """A layer that normalises, squashes and counts how often Python has run it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))
        self.ran = 0

    def forward(self, states, *, scale):
        if not torch.compiler.is_compiling():
            self.ran += 1
        return torch.nn.functional.silu(states @ self.weight) * scale + states


def run(layers, states):
    for layer in layers:
        states = layer(states, scale=0.5)
    return states


@pytest.mark.slow
@needs_a_compiler
def test_layers_run_compiled_at_their_length_and_as_written_at_any_other():
    torch.manual_seed(0)
    layers = nn.ModuleList(Layer() for _ in range(3))
    fast = CompiledLayers(layers, length=5)
    with torch.inference_mode():
        for length, n_written in ((5, 0), (4, 3)):
            states = torch.randn(2, length, 6)
            expected = run(layers, states)
            for layer in layers:
                layer.ran = 0
            with run_compiled(fast, torch.zeros(2, length)):
                found = run(layers, states)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            assert sum(layer.ran for layer in layers) == n_written
    assert not Compiled.failed


def test_the_layers_are_their_own_again_afterwards_even_after_an_error(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda eager, **_: lambda *_args, **_kw: "compiled")
    layers = nn.ModuleList([Layer()])
    fast = CompiledLayers(layers, length=5)
    states = torch.randn(1, 5, 6)
    with run_compiled(fast, torch.zeros(1, 5)):
        assert layers[0](states, scale=1.0) == "compiled"
    with pytest.raises(TypeError, match="scale"), run_compiled(fast, torch.zeros(1, 4)):
        layers[0](states)
    with pytest.raises(ZeroDivisionError), run_compiled(fast, torch.zeros(1, 5)):
        layers[0](states, scale=1 / 0)
    assert layers[0](states, scale=1.0).shape == (1, 5, 6)
    assert "forward" not in vars(layers[0])


def test_what_cannot_be_compiled_runs_as_written_and_that_is_said_once(monkeypatch, caplog):
    def broken(*_args, **_kwargs):
        raise RuntimeError("no g++ found\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_args, **_kwargs: broken)
    layers = nn.ModuleList(Layer() for _ in range(2))
    states = torch.randn(1, 5, 6)
    expected = run(layers, states)
    with (
        caplog.at_level(logging.WARNING),
        run_compiled(CompiledLayers(layers, 5), torch.zeros(1, 5)),
    ):
        assert torch.equal(run(layers, states), expected)
        assert torch.equal(run(layers, states), expected)
    assert len(caplog.records) == 1
    assert "The layers could not be compiled (no g++ found)" in caplog.text
    assert "set training.compile_layers to false" in caplog.text


def test_a_device_that_is_full_does_not_count_as_a_compiler_that_fails(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch, "compile", lambda eager, **_: full)
    fast = Compiled(lambda: "as written", what="The head", setting="training.compile_head")
    with pytest.raises(torch.OutOfMemoryError):
        fast()
    assert not Compiled.failed


def test_a_torch_whose_compile_knows_no_limit_is_given_it_as_a_setting(monkeypatch):
    settings = torch._dynamo.config

    def older(eager, *, fullgraph, dynamic):
        return eager

    monkeypatch.setattr(torch, "compile", older)
    monkeypatch.setattr(settings, "recompile_limit", 8)
    assert Compiled(lambda: 7, what="The head", setting="training.compile_head")() == 7
    assert settings.recompile_limit == 64
