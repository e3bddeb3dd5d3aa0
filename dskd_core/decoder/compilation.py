"""Functions that run compiled where there is a compiler, and as they are written where none is.

Compiled are the element-wise part of the vocabulary pass (training/losses/kernels.py), the layers
that train and, while the teacher runs beside the student, the teacher's: between matrix products a
dozen passes over memory become three. Shapes are fixed, so one process builds the very code
another does.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dskd_core.decoder.fitting import is_out_of_memory

_log = logging.getLogger(__name__)

_MOST_SHAPES = 64


def _limit() -> dict[str, Any]:
    """Return what torch.compile is told of the most shapes of one function.

    transformers runs the layers of all models through one function, so they share the limit. For an
    older torch (2.11) it is a setting of the process, which is raised and never lowered.
    """
    known = signature(torch.compile).parameters
    if "recompile_limit" in known:
        return {"recompile_limit": _MOST_SHAPES}
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, _MOST_SHAPES)
    return {}


class Compiled:
    """A function that is compiled at its first call, or runs as written if it cannot be."""

    failed: ClassVar[set[str]] = set()
    """Settings of which a function could not be compiled: what stops one stops the others."""

    def __init__(self, eager: Callable[..., Any], *, what: str, setting: str) -> None:
        """Take a function.

        Args:
            eager: which has one graph and no state of its own.
            what: names it for the log.
            setting: that turns compiling it off.
        """
        self.eager, self.what, self.setting = eager, what, setting
        self.fast: Callable[..., Any] = torch.compile(
            eager, fullgraph=True, dynamic=False, **_limit()
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        if self.setting in Compiled.failed:
            return self.eager(*args, **kwargs)
        try:
            return self.fast(*args, **kwargs)
        except Exception as error:  # compilers fail in as many ways as there are machines
            if is_out_of_memory(error):
                raise  # as written it would need more
            Compiled.failed.add(self.setting)
            _log.warning(
                "%s could not be compiled (%s) and runs uncompiled, slower; install a C++ "
                "compiler, or set %s to false.",
                self.what,
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
                self.setting,
            )
            return self.eager(*args, **kwargs)


class CompiledLayers:
    """Layers compiled for windows of one length.

    Most windows of a corpus are as long as the longest, and every other length would be compiled
    anew. States and gradients differ from the eager ones as roundings to bfloat16 do, of which
    there are fewer here.
    """

    def __init__(self, layers: nn.ModuleList, length: int) -> None:
        """Take layers and the length, in positions, that is worth compiling for."""
        self.length = length
        what = {"what": "The layers", "setting": "training.compile_layers"}
        self.forwards: Sequence[tuple[nn.Module, Compiled]] = [
            (layer, Compiled(layer.forward, **what))
            for layer in layers
            if "forward" not in vars(layer)  # as accelerate has it where layers are spread
        ]


@contextmanager
def run_compiled(layers: CompiledLayers | None, windows: Tensor) -> Iterator[None]:
    """Let layers run compiled meanwhile, if the windows have their length; else as written.

    The caller holds the device: layers may be the process's own, shared with every stage.

    Args:
        layers: none are never compiled.
        windows: [n, length, ...], ids or states that the layers are about to be run on.
    """
    if layers is None or windows.shape[1] != layers.length:
        yield
        return
    for layer, compiled in layers.forwards:
        layer.forward = compiled
    try:
        yield
    finally:
        for layer, _ in layers.forwards:
            del layer.forward  # which leaves the class's own
