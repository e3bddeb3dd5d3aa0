"""A stand-in for a GPU: it computes real values, on the CPU, and refuses to mix.

A tensor on it says that it is on ``cuda:0``, so the code under test takes the branches it would
take on a GPU. Whatever CUDA refuses is refused: a tensor of the host beside one of the device, a
generator of the other kind, numpy. What CUDA would copy by itself and wait for (an index on the
host) is refused too. Copies that do not wait arrive when the device is waited for; until then the
host reads nonsense. It knows no speed, no memory, no order of sums and no kernels.

It is for a process of its own (see tests/gpu/on_standin.py): :func:`install` changes
torch for good, and has to come before the first gradient, since autograd counts devices then.
"""

import contextlib
import ctypes
import threading
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda:0")
NAME = "standin"
VERSION = "0.0"
MEMORY = 64 << 30
_NONSENSE = {torch.bool: True, torch.uint8: 171, torch.int8: -85}
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "item"}
_MAKING = [
    *(
        "arange",
        "arange.start",
        "arange.start_step",
        "eye",
        "full",
        "linspace",
        "ones",
        "scalar_tensor",
        "zeros",
    ),
    *("tril_indices", "triu_indices", "rand", "randn", "randint", "randint.low", "randperm"),
    *("rand.generator", "randn.generator", "randint.generator", "randint.low_generator"),
]
_GUARDS, _CUDA, _OURS = "_ZN3c104impl26device_guard_impl_registryE", 1, 20
_kept_alive: list = []


class OnGpu(Tensor):
    """A tensor of the device; what it holds is the host's."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held):
        self.held = held

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self):
        return f"OnGpu({self.held})"

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copied = OnGpu(self.held.clone())
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def to(self, *args, **kwargs):
        place, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if (place is None or place.type == "cuda") and dtype in (None, self.dtype):
            return self.clone() if kwargs.get("copy") else self
        return super().to(*args, **kwargs)

    def numpy(self, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_):
        self.numpy()

    def untyped_storage(self):
        return self.held.untyped_storage()

    def data_ptr(self):
        return self.held.data_ptr()

    def tolist(self):
        flights.land()
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, *args, **(kwargs or {}))


class Flights:
    """Copies that nobody waited for yet, in their order."""

    def __init__(self):
        self.leaving, self.coming, self.number = [], [], 0
        self.lock = threading.RLock()

    def leave(self, target, values):
        """Fill the target with nonsense until it is waited for."""
        with self.lock:
            self.number += 1
            self.leaving.append((self.number, target, values.clone()))
            odd = float("nan") if target.is_floating_point() else _NONSENSE.get(target.dtype, -99)
            target.fill_(odd)

    def come(self, source):
        """Remember pinned memory: it must stay as it is until the copy from it is over."""
        with self.lock:
            self.number += 1
            self.coming.append((self.number, source, source.clone()))

    def land(self, until=None):
        """Wait for all copies, or those up to a number."""
        with self.lock:
            until = self.number if until is None else until
            for number, target, values in self.leaving:
                if number <= until:
                    with torch.no_grad():
                        target.copy_(values)
            for number, source, was in self.coming:
                same = torch.equal(source.nan_to_num(), was.nan_to_num())
                assert number > until or same, "pinned memory was written while it was copied"
            self.leaving = [one for one in self.leaving if one[0] > until]
            self.coming = [one for one in self.coming if one[0] > until]


flights = Flights()
_pinned: dict[int, Tensor] = {}


def compute(operation, *args, **kwargs):
    """Do on the host what the device was asked for, or refuse it."""
    name = operation.overloadpacket.__name__
    if name in ("copy_", "_copy_from"):
        return _copy(name, *args, **kwargs)
    if name == "_to_copy":
        return _moved(*args, **kwargs)
    _check(operation, name, tree_leaves((args, kwargs)))
    if name in _WAITING:
        flights.land()
    place = kwargs.get("device")
    stays = place is None or torch.device(place).type in ("cuda", NAME)
    if place is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    inner, named = tree_map_only(OnGpu, lambda one: one.held, (args, kwargs))
    found = operation(*inner, **named)
    if operation._schema.is_mutable:
        return _written(operation, args, kwargs, found)
    return tree_map_only(Tensor, OnGpu, found) if stays else found


def _written(operation, args, kwargs, found):
    """Return what an operation wrote to as it was given; nothing may have changed its shape."""
    held = {id(one.held): one for one in tree_leaves((args, kwargs)) if isinstance(one, OnGpu)}
    for one in held.values():
        assert one.held.shape == one.shape, f"{operation} changes the shape of a tensor in place"
    return tree_map_only(
        Tensor, lambda one: held[id(one)] if id(one) in held else OnGpu(one), found
    )


def _copy(name, *args, **kwargs):
    target, source = args[:2] if name == "copy_" else args[1::-1]
    unwaited = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    _carry(target, source, unwaited)
    return target


def _carry(target, source, unwaited):
    to_gpu, from_gpu = isinstance(target, OnGpu), isinstance(source, OnGpu)
    if from_gpu and not to_gpu:
        if unwaited and id(target) in _pinned:
            flights.leave(target, source.held.to(target.dtype).expand_as(target))
            return
        flights.land()
    if to_gpu and not from_gpu and unwaited and id(source) in _pinned:
        flights.come(source)
    inner = target.held if to_gpu else target
    inner.copy_(source.held if from_gpu else source)


def _moved(values, *, device=None, non_blocking=False, pin_memory=None, **changes):
    held = values.held if isinstance(values, OnGpu) else values
    converted = torch.ops.aten._to_copy.default(held, **changes)
    if device is None or torch.device(device).type in ("cuda", NAME):
        if not isinstance(values, OnGpu) and non_blocking and id(values) in _pinned:
            flights.come(values)
        return OnGpu(converted)
    if non_blocking:  # torch itself takes pinned memory for it
        host = torch.empty_like(converted)
        _pinned[id(host)] = host
        flights.leave(host, converted)
        return host
    flights.land()
    return converted


def _check(operation, name, leaves):
    """Refuse what CUDA refuses, or would copy by itself and wait for."""
    tensors = [one for one in leaves if isinstance(one, Tensor)]
    there = any(isinstance(one, OnGpu) for one in tensors)
    lone = torch.Tag.pointwise in operation.tags or name in _TAKES_NUMBERS
    for one in tensors:
        if there and not isinstance(one, OnGpu) and (one.dim() or not lone):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! ({operation})"
            )
    for one in leaves:
        if isinstance(one, torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


_TAKES_NUMBERS = {"where", "masked_fill", "masked_fill_", "fill_", "index_put_", "index_fill_"}


def _made(size, *_, dtype=None, **__):
    return OnGpu(torch.empty(size, dtype=dtype))


def _made_strided(size, stride, *, dtype=None, **_):
    return OnGpu(torch.empty_strided(size, stride, dtype=dtype))


class _Event:
    def __init__(self, **_):
        self.number = 0

    def record(self, stream=None):
        self.number = flights.number

    def synchronize(self):
        flights.land(self.number)

    def elapsed_time(self, other):
        return 1.0


def is_installed():
    """Say whether this process has the stand-in."""
    return torch.version.cuda == VERSION


def install():
    """Give this process one GPU."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    library = ctypes.CDLL(str(Path(torch.__file__).with_name("lib") / "libc10.so"))
    guards = (ctypes.c_void_p * (_OURS + 1)).in_dll(library, _GUARDS)
    guards[_CUDA] = guards[_OURS]  # a build for the CPU has none for CUDA
    kernels, other = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
    _kept_alive.extend((kernels, other))
    for key in ("CUDA", "PrivateUse1"):
        kernels.impl("empty.memory_format", _made, key)
        kernels.impl("empty_strided", _made_strided, key)
        for name in _MAKING:
            kernels.impl(name, _maker(name), key)
        kernels.impl("copy_", _maker("copy_"), key)
        kernels.impl("_copy_from", _maker("_copy_from"), key)
        other.fallback(compute, key)
    _install_tensors()
    _install_cuda()
    other.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    # A module's float() would change what a tensor says of itself, and not what it holds.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _install_autocast(kernels)


def _maker(name):
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
    return lambda *args, **kwargs: compute(operation, *args, **kwargs)


def _install_tensors():
    """Pin memory, and keep what is tied tied when a module moves."""
    empty, moved = torch.empty, torch.nn.Module.to

    def pinned(values, *_):
        copied = values.clone()
        _pinned[id(copied)] = copied
        return copied

    def empty_or_pinned(*args, pin_memory=False, **kwargs):
        made = empty(*args, **kwargs)
        if pin_memory:
            _pinned[id(made)] = made
        return made

    def to(module, *args, **kwargs):
        places: dict = {}
        for part in module.modules():
            for name, value in part._parameters.items():
                places.setdefault(id(value), []).append((part, name))
        moved(module, *args, **kwargs)
        for (first, name), *others in places.values():
            for part, other in others:
                part._parameters[other] = first._parameters[name]
        return module

    # A subclass cannot hold what inference makes; without gradients it computes the same.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()
    Tensor.pin_memory, torch.empty, torch.nn.Module.to = pinned, empty_or_pinned, to
    Tensor.is_pinned = lambda values, *_: id(values) in _pinned


def _install_cuda():
    cuda = torch.cuda
    one = SimpleNamespace(total_memory=MEMORY, name=NAME, major=9, minor=0, multi_processor_count=1)
    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_initialized": True,
        "_is_in_bad_fork": False,
        "get_device_properties": one,
        "get_device_capability": (9, 0),
        "get_device_name": NAME,
        "is_bf16_supported": True,
        "current_stream": SimpleNamespace(device=GPU),
        "max_memory_allocated": 1 << 20,
        "memory_allocated": 1 << 20,
        "mem_get_info": (MEMORY, MEMORY),
    }
    for name, answer in answers.items():
        setattr(cuda, name, lambda *_, _answer=answer, **__: _answer)
    for name in ("_lazy_init", "init", "empty_cache", "reset_peak_memory_stats", "set_device"):
        setattr(cuda, name, lambda *_, **__: None)
    cuda.synchronize = lambda *_: flights.land()
    cuda.Event = _Event
    cuda.device = lambda *_: contextlib.nullcontext()
    torch.version.cuda = VERSION


_NARROW = ("mm", "bmm", "linear", "matmul", "addmm", "baddbmm", "scaled_dot_product_attention")


def _install_autocast(kernels):
    """Let products compute in the dtype of ``torch.autocast("cuda", ...)``."""
    backend = getattr(torch, NAME)
    backend.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    whole = torch.autocast

    class autocast(whole):  # noqa: N801 - torch's own name
        def __init__(self, device_type, *args, **kwargs):
            super().__init__(NAME if device_type == "cuda" else device_type, *args, **kwargs)

    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = autocast
    for name in _NARROW:
        operation = getattr(torch.ops.aten, name).default
        kernels.impl(name, _narrowed(operation), "AutocastPrivateUse1")


def _narrowed(operation):
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def product(*args, **kwargs):
        dtype = torch.get_autocast_dtype(NAME)
        with torch._C._ExcludeDispatchKeyGuard(key):
            args, kwargs = tree_map_only(
                Tensor,
                lambda one: one.to(dtype) if one.dtype == torch.float32 else one,
                (args, kwargs),
            )
            return operation(*args, **kwargs)

    return product
