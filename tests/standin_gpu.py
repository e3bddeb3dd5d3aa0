"""A stand-in for two GPUs: it computes real values, on the CPU, and refuses to mix.

A tensor on it says that it is on ``cuda:0`` or ``cuda:1``, so the code under test takes the
branches it would take on a GPU. Whatever CUDA refuses is refused: a tensor of the host or of the
other GPU beside one of the device, a generator of the other kind, numpy. What CUDA would copy by
itself and wait for (an index on the host) is refused too. Copies that do not wait arrive when their
device is waited for; until then the host reads nonsense. ``cuda`` without a number is the device
that its thread has set, the first if none. It knows no speed, no memory, no order of sums and no
kernels.

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

COUNT = 2
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
    def __new__(cls, held, number):
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held, number):
        self.held, self.number = held, number  # for C++ all are on one device

    device = property(lambda self: torch.device("cuda", self.number))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self):
        return f"OnGpu({self.held})"

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copied = OnGpu(self.held.clone(), self.number)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def to(self, *args, copy=False, **kwargs):
        place, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        stays = place is None or (place.type == "cuda" and _number_of(place) == self.number)
        if stays and dtype in (None, self.dtype):
            return self.clone() if copy else self
        return super().to(*args, **kwargs)

    def numpy(self, **_):
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu()."
        )

    def __array__(self, *_):
        self.numpy()

    def untyped_storage(self):
        return self.held.untyped_storage()

    def data_ptr(self):
        return self.held.data_ptr()

    def tolist(self):
        flights.land(self.number)
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, *args, **(kwargs or {}))


class Flights:
    """Copies that nobody waited for yet, in their order, each with the device that makes it."""

    def __init__(self):
        self.leaving, self.coming, self.number = [], [], 0
        self.lock = threading.RLock()

    def leave(self, target, values, device):
        """Fill the target with nonsense until the device is waited for."""
        with self.lock:
            self.number += 1
            self.leaving.append((self.number, device, target, values.clone()))
            odd = float("nan") if target.is_floating_point() else _NONSENSE.get(target.dtype, -99)
            target.fill_(odd)

    def come(self, source, device):
        """Remember pinned memory: it must stay as it is until the copy from it is over."""
        with self.lock:
            self.number += 1
            self.coming.append((self.number, device, source, source.clone()))

    def land(self, device, until=None):
        """Wait for all copies of a device, or those up to a number."""
        with self.lock:
            until = self.number if until is None else until
            for number, where, target, values in self.leaving:
                if where == device and number <= until:
                    with torch.no_grad():
                        target.copy_(values)
            for number, where, source, was in self.coming:
                same = torch.equal(source.nan_to_num(), was.nan_to_num())
                over = where == device and number <= until
                assert same or not over, "pinned memory was written while it was copied"
            self.leaving = [o for o in self.leaving if o[1] != device or o[0] > until]
            self.coming = [o for o in self.coming if o[1] != device or o[0] > until]


flights = Flights()
_pinned: dict[int, Tensor] = {}
_here = threading.local()


def _current():
    return getattr(_here, "current", 0)


def _number_of(place):
    """Return the number of a CUDA device; that of its thread if it has none."""
    number = _current() if place.index is None else place.index
    if number >= COUNT:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return number


def _numbered(value):
    """Return a CUDA device without a number as the one that is meant; all else as it is."""
    if isinstance(value, str | torch.device) and torch.device(value) == torch.device("cuda"):
        return torch.device("cuda", _current())
    return value


def _number_for(place, leaves):
    """Return where a result belongs: where it is asked for, or where the arguments are.

    C++ knows one device, and asks for that where it makes a tensor like another by itself.
    """
    if place is not None and torch.device(place).type == "cuda":
        return _number_of(torch.device(place))
    there = [one.number for one in leaves if isinstance(one, OnGpu)]
    _here.last = there[0] if there else getattr(_here, "last", _current())
    return _here.last


def compute(operation, *args, **kwargs):
    """Do on the host what the device was asked for, or refuse it."""
    name = operation.overloadpacket.__name__
    if name in ("copy_", "_copy_from"):
        return _copy(name, *args, **kwargs)
    if name == "_to_copy":
        return _moved(*args, **kwargs)
    place, leaves = kwargs.get("device"), tree_leaves((args, kwargs))
    _check(operation, name, leaves)
    number = _number_for(place, leaves)
    if name in _WAITING:
        flights.land(number)
    stays = place is None or torch.device(place).type in ("cuda", NAME)
    if place is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    inner, named = tree_map_only(OnGpu, lambda one: one.held, (args, kwargs))
    found = operation(*inner, **named)
    if operation._schema.is_mutable:
        return _written(operation, args, kwargs, found, number)
    return tree_map_only(Tensor, lambda one: OnGpu(one, number), found) if stays else found


def _written(operation, args, kwargs, found, number):
    """Return what an operation wrote to as it was given; nothing may have changed its shape."""
    held = {id(one.held): one for one in tree_leaves((args, kwargs)) if isinstance(one, OnGpu)}
    for one in held.values():
        assert one.held.shape == one.shape, f"{operation} changes the shape of a tensor in place"
    return tree_map_only(
        Tensor, lambda one: held[id(one)] if id(one) in held else OnGpu(one, number), found
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
            values = source.held.to(target.dtype).expand_as(target)
            flights.leave(target, values, source.number)
            return
        flights.land(source.number)
    if to_gpu and not from_gpu and unwaited and id(source) in _pinned:
        flights.come(source, target.number)
    inner = target.held if to_gpu else target
    inner.copy_(source.held if from_gpu else source)


def _moved(values, *, device=None, non_blocking=False, pin_memory=None, **changes):
    on_gpu = isinstance(values, OnGpu)
    converted = torch.ops.aten._to_copy.default(values.held if on_gpu else values, **changes)
    if device is None or torch.device(device).type in ("cuda", NAME):
        number = _number_for(device, [values])
        if not on_gpu and non_blocking and id(values) in _pinned:
            flights.come(values, number)
        return OnGpu(converted, number)
    if non_blocking:  # torch itself takes pinned memory for it
        host = torch.empty_like(converted)
        _pinned[id(host)] = host
        flights.leave(host, converted, values.number)
        return host
    flights.land(values.number)
    return converted


def _check(operation, name, leaves):
    """Refuse what CUDA refuses, or would copy by itself and wait for."""
    tensors = [one for one in leaves if isinstance(one, Tensor)]
    lone = torch.Tag.pointwise in operation.tags or name in _TAKES_NUMBERS
    found = {str(one.device) for one in tensors if isinstance(one, OnGpu)}
    if found:
        found |= {
            "cpu" for one in tensors if not isinstance(one, OnGpu) and (one.dim() or not lone)
        }
    if len(found) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(sorted(found, reverse=True))}! ({operation})"
        )
    for one in leaves:
        if isinstance(one, torch.Generator):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


_TAKES_NUMBERS = {"where", "masked_fill", "masked_fill_", "fill_", "index_put_", "index_fill_"}


def _made(size, *_, dtype=None, device=None, **__):
    return OnGpu(torch.empty(size, dtype=dtype), _number_for(device, []))


def _made_strided(size, stride, *, dtype=None, device=None, **_):
    return OnGpu(torch.empty_strided(size, stride, dtype=dtype), _number_for(device, []))


class _Event:
    def __init__(self, **_):
        self.number, self.device = 0, _current()

    def record(self, stream=None):
        self.number, self.device = flights.number, stream.device.index if stream else _current()

    def synchronize(self):
        flights.land(self.device, self.number)

    def elapsed_time(self, other):
        return 1.0


def is_installed():
    """Say whether this process has the stand-in."""
    return torch.version.cuda == VERSION


def install():
    """Give this process two GPUs."""
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
    """Pin memory, number devices, and keep what is tied tied when a module moves."""
    empty, moved, copied_to = torch.empty, torch.nn.Module.to, Tensor.to

    def pinned(values, *_):
        copied = values.clone()
        _pinned[id(copied)] = copied
        return copied

    def empty_or_pinned(*args, pin_memory=False, **kwargs):
        made = empty(*args, **kwargs)
        if pin_memory:
            _pinned[id(made)] = made
        return made

    def numbered_to(values, *args, **kwargs):  # C++ would take the one device it knows
        args = [_numbered(one) for one in args]
        return copied_to(values, *args, **{name: _numbered(one) for name, one in kwargs.items()})

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
    Tensor.to = numbered_to
    Tensor.is_pinned = lambda values, *_: id(values) in _pinned


def _install_cuda():
    cuda = torch.cuda
    one = SimpleNamespace(total_memory=MEMORY, name=NAME, major=9, minor=0, multi_processor_count=1)
    answers = {
        "is_available": True,
        "device_count": COUNT,
        "is_initialized": True,
        "_is_in_bad_fork": False,
        "get_device_properties": one,
        "get_device_capability": (9, 0),
        "get_device_name": NAME,
        "is_bf16_supported": True,
        "max_memory_allocated": 1 << 20,
        "memory_allocated": 1 << 20,
        "mem_get_info": (MEMORY, MEMORY),
    }
    for name, answer in answers.items():
        setattr(cuda, name, lambda *_, _answer=answer, **__: _answer)
    for name in ("_lazy_init", "init", "empty_cache", "reset_peak_memory_stats"):
        setattr(cuda, name, lambda *_, **__: None)
    cuda.current_device = _current
    cuda.current_stream = lambda device=None: SimpleNamespace(
        device=torch.device("cuda", _meant(device))
    )
    cuda.synchronize = lambda device=None: flights.land(_meant(device))
    cuda.set_device = lambda device: setattr(_here, "current", _meant(device))
    cuda.Event, cuda.device = _Event, _set_meanwhile
    torch.version.cuda = VERSION


def _meant(device):
    """Return the number of what CUDA's functions take for a device."""
    if device is None or isinstance(device, int):
        return _current() if device is None else device
    return _number_of(torch.device(device))


@contextlib.contextmanager
def _set_meanwhile(device):
    before, _here.current = _current(), _meant(device)
    try:
        yield
    finally:
        _here.current = before


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
