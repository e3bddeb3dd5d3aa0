"""Counts what would make a GPU wait, on a machine that has none.

Everything computes on the CPU. A tensor that comes from numpy, and what is made of such tensors
alone, counts as the host's until it is moved by ``to``; every other one stands for a tensor on a
GPU. To wait is to ask one of those for its values, or for a shape that depends on them, or to copy
between the two without ``non_blocking``.
"""

from collections import Counter
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READS = {
    *("item", "tolist", "numpy", "cpu", "__array__", "__float__", "__int__", "__bool__"),
    *("__index__", "__contains__", "__iter__", "nonzero", "argwhere", "masked_select", "unique"),
}
_DYNAMIC = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero"}
_FROM_HOST = {"as_tensor", "tensor"}


@contextmanager
def counted_waits():
    """Count the waits of a block by what is called; yield the counter, filled as it goes."""
    counter: Counter = Counter()
    calls, from_numpy = _Calls(counter), torch.from_numpy
    torch.from_numpy = lambda array: calls.of_host(from_numpy(array))
    try:
        with calls, _Operations(counter, calls):
            yield counter
    finally:
        torch.from_numpy = from_numpy


class _Calls(TorchFunctionMode):
    """What Python asks of tensors; on a CPU much of it never reaches the dispatcher."""

    def __init__(self, counter):
        super().__init__()
        self.counter, self.host, self.is_counted = counter, {}, False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", str(function))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        of_host = bool(tensors) and all(self._is_host(tensor) for tensor in tensors)
        if name in _FROM_HOST and not tensors:
            of_host = kwargs.get("device") is None
            self.counter[name] += not of_host
        moves = (
            name == "to" and (len(args) > 1 or "device" in kwargs) and _names_device(args, kwargs)
        )
        if moves and of_host:
            self.counter["to"] += not kwargs.get("non_blocking", False)
        reads = name in _READS and not of_host
        self.counter[name] += reads
        before, self.is_counted = self.is_counted, reads or of_host or self.is_counted
        try:
            out = function(*args, **kwargs)
        finally:
            self.is_counted = before
        if moves and of_host and out is args[0]:
            out = out.view_as(out)
        if of_host and not moves:
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    self.of_host(leaf)
        return out

    def of_host(self, tensor):
        self.host[id(tensor)] = tensor  # kept, so that no other gets its id
        return tensor

    def _is_host(self, tensor):
        return id(tensor) in self.host


class _Operations(TorchDispatchMode):
    """What reaches the dispatcher, on the way back too."""

    def __init__(self, counter, calls):
        super().__init__()
        self.counter, self.calls = counter, calls

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = name in {"index", "index_put", "index_put_"} and any(
            isinstance(leaf, Tensor) and leaf.dtype in {torch.bool, torch.uint8}
            for leaf in tree_leaves(args[1])
        )
        if (name in _DYNAMIC or masks) and not self.calls.is_counted:
            self.counter[name] += 1
        return function(*args, **(kwargs or {}))


def _names_device(args, kwargs):
    return "device" in kwargs or any(isinstance(arg, (str, torch.device)) for arg in args[1:])
