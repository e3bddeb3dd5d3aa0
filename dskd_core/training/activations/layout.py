"""What a shard of the activations stores, whole windows.

``part.zarr`` of an ``activations-shard`` artifact holds, of P positions with the prefix,

    windows    [w]      int32    window numbers of the corpus
    documents  [w]      uint64   hash of each window's document
    heldout    [w]      bool     kept for evaluation
    offsets    [w + 1]  int64    positions of window i are offsets[i]:offsets[i + 1]
    labels     [P]      int32    x_(t+1), -1 where there is none or it is not scored
    roles      [P]      int8     what the label is: 0 text, 1 of a prompt, 2 of an answer
    entering   [P, d]            h, the state that enters the first trainable layer
    teacher_states [P, d]        m_t, the teacher's final state
    bridge     [P, d]            the state that enters the teacher's layer behind the widest gap
                                 between the student's; only where a recipe needs it
    expected   [P, d]   float16  e_t = W^T softmax(W m_t / T), see losses/vocabulary.py
    entropy    [P]      float32  of the teacher at T, in nats
    predicted  [P]      int32    argmax of the teacher
    expected_i, entropy_i        both again at the i-th of the attribute ``temperatures``, from 1:
                                 those besides T that a recipe has

The bits of ``entering``, ``teacher_states`` and ``bridge`` are those of the teacher's dtype, which
is the attribute ``dtype``.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from dskd_core.corpus.store import Windows
from dskd_core.decoder.states import encode_states, stored_states
from dskd_core.store.arrays import get_array, open_array, put_array
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.losses.targets import TeacherTargets

SHARD = "part.zarr"
_CHUNK_BYTES = 1 << 20
_BY_WINDOW = ("windows", "documents", "heldout", "offsets")
_STATES = {"labels": torch.int32, "roles": torch.int8, "entering": None, "teacher_states": None}
_TARGETS = {"expected": torch.float16, "entropy": torch.float32, "predicted": torch.int32}
"""What is stored of each position, in this order, and as what: states (None) as their bits."""
_BRIDGE = "bridge"
_WIDE = ("entering", "teacher_states", "expected", _BRIDGE)
"""The arrays that may be too large for memory."""


def position_bytes(hidden_size: int, *, reads_gap: bool = False, n_others: int = 0) -> int:
    """Return the bytes of one position: h, m_t and e_t in 16 bits, and 13 of ids and entropy.

    Where a recipe reads the state behind the student's gap, one state more; for each temperature
    besides T that recipes have, one e_t and one entropy more.
    """
    return (4 if reads_gap else 3) * 2 * hidden_size + 13 + n_others * (2 * hidden_size + 4)


def write_shard(
    group: zarr.Group,
    windows: Windows,
    captured: list[WindowActivations],
    dtype: str,
    shard_name: str = "",
) -> int:
    """Write the arrays of a shard in window order; return its number of positions.

    Raises:
        DataError: if a state is NaN or infinite.
    """
    captured = sorted(captured, key=lambda window: window.window)
    numbers = np.array([window.window for window in captured], dtype=np.int32)
    lengths = [len(window.labels) for window in captured]
    put_array(group, "windows", numbers)
    put_array(group, "documents", windows.document_hashes[windows.documents[numbers]])
    put_array(group, "heldout", windows.heldout[numbers])
    put_array(group, "offsets", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    has_bridge = bool(captured) and captured[0].bridge is not None
    kept = _STATES | ({_BRIDGE: None} if has_bridge else {})
    columns = {name: torch.cat([getattr(w, name) for w in captured]) for name in kept}
    for name, whole in columns.items():
        if stored := kept[name]:
            values = whole.to(stored).cpu().numpy()
        else:
            values = encode_states(whole, dtype, shard_name, cure="set teacher.dtype to float32")
        put_array(group, name, values, chunk_bytes=_CHUNK_BYTES)
    others = list(captured[0].other_targets) if captured else []
    _put_targets(group, [window.targets for window in captured], {name: name for name in _TARGETS})
    for number, other in enumerate(others, start=1):
        _put_targets(group, [window.other_targets[other] for window in captured], _others(number))
    group.attrs["dtype"] = dtype
    if others:
        group.attrs["temperatures"] = others
    return sum(lengths)


def _others(number: int) -> dict[str, str]:
    """Return the arrays of the targets at another temperature; their argmax is the same."""
    return {name: f"{name}_{number}" for name in ("expected", "entropy")}


def _put_targets(
    group: zarr.Group, windows: Sequence[TeacherTargets], arrays: Mapping[str, str]
) -> None:
    whole = TeacherTargets.from_windows(windows)
    for name, array in arrays.items():
        values = getattr(whole, name).to(_TARGETS[name]).cpu().numpy()
        put_array(group, array, values, chunk_bytes=_CHUNK_BYTES)


class StoredShard:
    """The windows of a shard, read one by one.

    Attributes:
        windows: [w] int32, their numbers in the corpus, ascending.
        document_hashes: [w] uint64, of their documents.
        heldout: [w] bool, kept for evaluation.
        dtype: the teacher's, whose bits ``entering`` and ``teacher_states`` are.
    """

    def __init__(
        self,
        group: zarr.Group,
        *,
        in_memory: bool,
        reads_gap: bool = True,
        temperatures: Collection[float] | None = None,
    ) -> None:
        """Open a shard.

        Its states are read now (``in_memory``), or window by window when asked for. Targets at
        other temperatures than T are read where it has them; all if None.
        """
        bridge = [_BRIDGE] if reads_gap and _BRIDGE in group else []
        kept: Any = group.attrs.get("temperatures", [])
        numbers = {float(other): number for number, other in enumerate(kept, start=1)}
        wanted = numbers if temperatures is None else temperatures
        self._others = {other: n for other, n in numbers.items() if other in wanted}
        more = [name for number in self._others.values() for name in _others(number).values()]
        self._arrays = {
            name: (get_array if in_memory or not name.startswith(_WIDE) else open_array)(
                group, name
            )
            for name in (*_STATES, *_TARGETS, *_BY_WINDOW, *bridge, *more)
        }
        self._states = ("entering", "teacher_states", *bridge)
        self.dtype = str(group.attrs["dtype"])
        self.windows: NDArray[np.int32] = self._arrays["windows"]
        self.document_hashes: NDArray[np.uint64] = self._arrays["documents"]
        self.heldout: NDArray[np.bool_] = self._arrays["heldout"]

    def length(self, index: int) -> int:
        """Return the positions of the window ``windows[index]``."""
        start, stop = self._span(index)
        return stop - start

    def rows(self, index: int, name: str) -> NDArray[Any]:
        """Return what an array holds at the positions of the window ``windows[index]``."""
        start, stop = self._span(index)
        return np.asarray(self._arrays[name][start:stop])

    def read(self, index: int) -> WindowActivations:
        """Return the activations of the window ``windows[index]``, in the dtypes of the store."""
        states = {name: stored_states(self.rows(index, name), self.dtype) for name in self._states}
        ids = {
            name: torch.from_numpy(self.rows(index, name).astype(np.int64))
            for name in ("labels", "roles", "predicted")
        }
        predicted = ids.pop("predicted")
        return WindowActivations(
            int(self.windows[index]),
            **states,
            **ids,
            targets=self._targets(index, predicted, expected="expected", entropy="entropy"),
            other_targets={
                other: self._targets(index, predicted, **_others(number))
                for other, number in self._others.items()
            },
        )

    def _targets(
        self, index: int, predicted: torch.Tensor, *, expected: str, entropy: str
    ) -> TeacherTargets:
        return TeacherTargets(
            torch.from_numpy(self.rows(index, expected)),
            torch.from_numpy(self.rows(index, entropy)),
            predicted,
        )

    def _span(self, index: int) -> tuple[int, int]:
        start, stop = self._arrays["offsets"][index : index + 2]
        return int(start), int(stop)


def places_of(shards: Sequence[StoredShard]) -> dict[int, tuple[StoredShard, int]]:
    """Return the shard of every window, and its index there."""
    return {
        int(window): (shard, index)
        for shard in shards
        for index, window in enumerate(shard.windows)
    }
