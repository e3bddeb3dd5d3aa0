"""A decoder: a causal language model with its head, frozen, read at its final norm."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dskd_core.config import TeacherConfig
from dskd_core.decoder.causality import check_causal
from dskd_core.decoder.head import Head, find_head
from dskd_core.decoder.loading import load_model
from dskd_core.decoder.model_files import model_view
from dskd_core.decoder.padding import even_width
from dskd_core.decoder.precision import check_computes, resolved_teacher, torch_device
from dskd_core.decoder.pretrained import check_token_ids, local_folder, pointed_to
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.decoder.unpacked import one_sequence_a_window
from dskd_core.errors import ConfigError
from dskd_core.store import access
from dskd_core.store.artifacts import Artifact

LOGIT_BYTES = 48 << 20
device_lock = threading.RLock()
"""Held by whoever runs a model: two shards in one process take turns on its device."""

Slot = Callable[[], AbstractContextManager[None]]
_slot: ContextVar[Slot] = ContextVar("slot", default=nullcontext)


@contextmanager
def on_device() -> Iterator[Callable[[], None]]:
    """Hold the device of this process, and a slot of it where one was asked for.

    Yields:
        What lets go of both before the block ends: the rest of it computes nothing.
    """
    with ExitStack() as held:
        held.enter_context(device_lock)
        held.enter_context(_slot.get()())
        yield held.close


@contextmanager
def slot_on_device(slot: Slot) -> Iterator[None]:
    """Let work in this thread hold a slot while it holds the device, and no longer.

    Args:
        slot: returns what is held, such as one of the GPUs a server counts.
    """
    before = _slot.set(slot)
    try:
        yield
    finally:
        _slot.reset(before)


@dataclass(frozen=True)
class Decoder:
    """A decoder with its head, in evaluation mode, on one device.

    Attributes:
        model: any ``AutoModelForCausalLM`` with a plain stack of decoder layers.
        n_tokens: ids the tokenizer knows; the model's head may have more rows (padding).
    """

    model: Any
    n_tokens: int

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(iter(self.model.parameters())).device  # type: ignore[no-any-return]

    @property
    def precision(self) -> str:
        """Of the weights and the arithmetic: bfloat16, float16, float32."""
        return str(next(iter(self.model.parameters())).dtype).removeprefix("torch.")

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, first to last."""
        return decoder_layers(self.model)

    @property
    def head(self) -> Tensor:
        """The output matrix W, [n_tokens, d], without padded vocabulary rows."""
        return self.model.get_output_embeddings().weight[: self.n_tokens]  # type: ignore[no-any-return]

    @cached_property
    def output(self) -> Head:
        """The whole head, W with whatever bends its logits, checked on the model's own logits.

        Raises:
            ConfigError: if the model's logits cannot be formed from its states.
        """
        return find_head(self.model, self.n_tokens)

    @cached_property
    def has_plain_head(self) -> bool:
        """Whether :meth:`predictions` are the model's own: no layer stands before the head."""
        try:
            return self.output is not None
        except torch.OutOfMemoryError:
            raise
        except (ConfigError, RuntimeError):  # the latter where a layer between changes the width
            return False

    def states(self, token_ids: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Return the final states (after the final norm) of right-padded windows.

        No attention mask is needed: the model is causal, so what pads on the right is never seen,
        neither by attention nor by a recurrence or convolution. Positions count from the left.
        Only RoPE that follows the longest position of a batch sees the width (decoder/padding.py):
        beyond it windows of one length are run at a time, where their lengths are told.

        Args:
            token_ids: [n_windows, length], int64.
            lengths: of each window, its tokens before the padding; needed beyond ``even_width``.

        Returns:
            [n_windows, length, d] in the model's dtype.
        """
        body = self.model.base_model
        if lengths is None or token_ids.shape[1] <= self.even_width:
            with one_sequence_a_window():
                return body(input_ids=token_ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]
        states = self.head.new_zeros(*token_ids.shape, self.head.shape[1])
        own = torch.as_tensor(lengths, device=token_ids.device)
        for length in sorted(set(own.tolist())):
            rows = torch.nonzero(own == length)[:, 0]
            self.forget_width()
            found = body(input_ids=token_ids[rows, :length], use_cache=False).last_hidden_state
            states[rows, :length] = found
        return states

    @cached_property
    def even_width(self) -> float:
        """Positions up to which a window's states do not depend on its batch's longest."""
        return even_width(self.model)

    def forget_width(self) -> None:
        """Let RoPE forget the longest window it has seen, which ``dynamic`` RoPE remembers."""
        if self.even_width < math.inf:
            token = torch.ones(1, 1, dtype=torch.int64, device=self.device)
            self.model.base_model(input_ids=token, use_cache=False)

    @torch.no_grad()
    def predictions(self, states: Tensor) -> Tensor:
        """Return the argmax token after each state; padded vocabulary rows never win.

        Args:
            states: [n, d]; logits are formed in chunks, never upcast, and all in the same memory.

        Returns:
            [n], int64.
        """
        rows = max(1, LOGIT_BYTES // (2 * self.n_tokens))
        head, bias = self.head, getattr(self.model.get_output_embeddings(), "bias", None)
        logits = states.new_empty(min(rows, len(states)), len(head))
        found = []
        for chunk in torch.split(states, rows):
            z = torch.mm(chunk, head.T, out=logits[: len(chunk)])
            if bias is not None:  # a scale or a soft cap moves no argmax
                z += bias[: self.n_tokens]
            # On the CPU max is twice as fast as argmax; the first of equal logits wins in both.
            found.append(z.max(dim=1).indices)
        return torch.cat(found)


def decoder_layers(model: Any) -> nn.ModuleList:
    """Return the list of decoder layers of a transformers model.

    Raises:
        ConfigError: if the model is no plain stack of decoder layers.
    """
    body = model.base_model
    for name in ("layers", "h", "blocks"):
        if isinstance(found := getattr(body, name, None), nn.ModuleList):
            return found
    raise ConfigError(
        f"{type(model).__name__} has no list of decoder layers under layers, h or blocks; "
        "use a llama-, mistral-, qwen-, gemma- or gpt2-like teacher."
    )


def load_teacher(artifact: Artifact, config: TeacherConfig) -> Decoder:
    """Load the teacher of an artifact onto its device, once a process."""
    return load_decoder(artifact.folder(weights=True), config)


def load_decoder(folder: Path, config: TeacherConfig) -> Decoder:
    """Load a transformers folder as the settings say: a teacher, or a student before training."""
    config, device = resolved_teacher(config), torch_device(config.device)
    check_computes("teacher.dtype", config.dtype, config.device)
    return _load(str(folder), config.dtype, str(device), config.trust_remote_code)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own bars and warnings out of the log."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(max(level, logging.WARNING))


def empty_model(config: Any, dtype: torch.dtype | None = None) -> Any:
    """Make the model of a transformers configuration without memory for its weights.

    A model of 70 billion takes a second or two.
    """
    from transformers import AutoModelForCausalLM

    with quiet_transformers(), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


@lru_cache(maxsize=2)  # a teacher and its student
def _load(folder: str, dtype: str, device: str, trust_remote_code: bool) -> Decoder:
    source, revision = pointed_to(Path(folder)) or (folder, None)
    if trust_remote_code:
        access.check_code(source)
    place = local_folder(source, revision, weights=True, code=trust_remote_code)
    with quiet_transformers(), model_view(place, weights=True, code=trust_remote_code) as view:
        model = load_model(view, source, dtype=getattr(torch, dtype), code=trust_remote_code)
    model.name_or_path = model.config.name_or_path = source
    model.to(torch.device(device)).eval().requires_grad_(False)
    tokenizer = load_tokenizer(Path(folder))
    check_token_ids(tokenizer.hf.get_vocab(), _n_rows(model), source)
    decoder = Decoder(model, tokenizer.n_tokens)
    with device_lock:
        check_causal(lambda ids: decoder.states(ids.to(decoder.device)), decoder.n_tokens, source)
    return decoder


def _n_rows(model: Any) -> int:
    """Return how many ids a model can read and say."""
    inner, output = model.get_input_embeddings(), model.get_output_embeddings()
    return int(min(inner.weight.shape[0], output.weight.shape[0]))
