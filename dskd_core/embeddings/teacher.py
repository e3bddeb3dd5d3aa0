"""The teacher: a frozen decoder, found by hub id, folder or GGUF file, read at its final norm."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dskd_core import samples
from dskd_core.config import TeacherConfig
from dskd_core.decoder.head import Head, find_head
from dskd_core.decoder.model_files import (
    CHAT_TEMPLATE,
    GENERATION,
    check_has_vocabulary,
    files_of,
    gguf_view,
    model_view,
)
from dskd_core.decoder.precision import processor_on, resolved_teacher, torch_device
from dskd_core.decoder.pretrained import (
    POINTER,
    check_model_folder,
    check_names,
    local_folder,
    pointed_to,
)
from dskd_core.decoder.tokenizer import load_gguf_tokenizer, load_tokenizer
from dskd_core.errors import ConfigError
from dskd_core.progress import Progress, silent
from dskd_core.store import access, places
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work, fingerprint_of

_LOGIT_BYTES = 48 << 20

device_lock = threading.RLock()
"""Held by whoever runs a model: two shards in one process take turns on its device."""


@dataclass(frozen=True)
class Teacher:
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

    def states(self, token_ids: Tensor) -> Tensor:
        """Return the final states (after the final norm) of right-padded windows.

        No attention mask is needed: attention is causal, so what pads on the right is never seen.

        Args:
            token_ids: [n_windows, length], int64.

        Returns:
            [n_windows, length, d] in the model's dtype.
        """
        body = self.model.base_model
        return body(input_ids=token_ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    @torch.no_grad()
    def predictions(self, states: Tensor) -> Tensor:
        """Return the argmax token after each state; padded vocabulary rows never win.

        Args:
            states: [n, d]; logits are formed in chunks, never upcast, and all in the same memory.

        Returns:
            [n], int64.
        """
        rows = max(1, _LOGIT_BYTES // (2 * self.n_tokens))
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


def prepare_teacher(
    store: ArtifactStore, config: TeacherConfig, *, progress: Progress = silent
) -> Artifact:
    """Return the teacher as an artifact: its tokenizer and configuration, and its weights.

    A GGUF file is converted once into a plain transformers folder inside the artifact. Weights of
    a local folder or a hub id stay where they are: the artifact points to them, and its
    fingerprint holds their hash or their commit.

    Raises:
        ConfigError: if the source is no GGUF file, no transformers folder and no hub id.
    """
    config = resolved_teacher(config)
    source = samples.resolve(config.source)
    path = Path(source)
    access.check_revision(config.revision)
    if config.trust_remote_code:
        access.check_code(config.source)
    if path.suffix == ".gguf" and path.is_file():
        identity = {"gguf": places.sha256_of_file(path)}
    elif path.is_dir():
        identity = {"folder": _folder_fingerprint(path)}
    elif path.suffix == ".gguf" or path.is_absolute() or source.startswith("."):
        raise ConfigError(
            f"teacher.source {config.source!r} is neither a .gguf file nor a folder; "
            "correct the path."
        )
    else:
        identity = {"commit": _hub_commit(source, config)}
    work = Work("teacher", {"dtype": config.dtype}, identity)
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        draft.computed(config.dtype, processor_on(config.device))
        progress(0, 1, "teacher")
        if "gguf" in identity:
            _convert_gguf(path, config, draft)
        else:
            _point_to(source, identity.get("commit"), config, draft)
        progress(1, 1, "teacher")
    return store.get(work.stage, work.fingerprint)


def stored_teachers(store: ArtifactStore, config: TeacherConfig) -> list[Artifact]:
    """Return the teachers of a source that stand under a root, in any precision, oldest first."""
    source = samples.resolve(config.source)
    names = {source, Path(source).name, str(Path(source).resolve())}
    return [t for t in store.of_stage("teacher") if t.record.report.get("source") in names]


def in_other_precisions(store: ArtifactStore, config: TeacherConfig) -> list[Artifact]:
    """Return the teachers of this source under a root, where all are of other precisions.

    Args:
        store: the root.
        config: the source, and the precision that the run computes in, by its name.
    """
    stored = stored_teachers(store, config)
    dtypes = {teacher.record.config["dtype"] for teacher in stored}
    return [] if config.dtype in dtypes else stored


def load_teacher(artifact: Artifact, config: TeacherConfig) -> Teacher:
    """Load the teacher of an artifact onto its device, once a process."""
    return load_decoder(artifact.folder(weights=True), config)


def load_decoder(folder: Path, config: TeacherConfig) -> Teacher:
    """Load a transformers folder as the settings say: a teacher, or a student before training."""
    config, device = resolved_teacher(config), torch_device(config.device)
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


@lru_cache(maxsize=2)  # a teacher and its student
def _load(folder: str, dtype: str, device: str, trust_remote_code: bool) -> Teacher:
    from transformers import AutoModelForCausalLM

    source, revision = pointed_to(Path(folder)) or (folder, None)
    if trust_remote_code:
        access.check_code(source)
    place = local_folder(source, revision, weights=True, code=trust_remote_code)
    with quiet_transformers(), model_view(place, weights=True, code=trust_remote_code) as view:
        model = AutoModelForCausalLM.from_pretrained(
            str(view),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
        )
    model.name_or_path = model.config.name_or_path = source
    model.to(torch.device(device)).eval().requires_grad_(False)
    n_rows = model.get_output_embeddings().weight.shape[0]
    return Teacher(model, min(load_tokenizer(Path(folder)).n_tokens, n_rows))


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once, not three times, and name its tensors once.

    The parser slices a ``numpy.memmap`` for each of 150,000 strings, several times slower than the
    plain array beneath; the table of names is made anew for each of a model's modules.
    """
    import gguf

    class PlainReader(gguf.GGUFReader):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    slow = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = lru_cache(maxsize=1)(PlainReader)
    gguf.get_tensor_name_map = lru_cache(maxsize=1)(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = slow


def _convert_gguf(path: Path, config: TeacherConfig, draft: Draft) -> None:
    """Write the weights of a GGUF file as safetensors: transformers cannot save what it loaded."""
    from transformers import AutoModelForCausalLM, GgufConfig

    dtype = getattr(torch, config.dtype)
    with quiet_transformers(), _gguf_read_once():
        with gguf_view(path) as view:
            loaded = AutoModelForCausalLM.from_pretrained(
                str(view.parent),
                gguf_file=view.name,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
        model_config = loaded.config
        if hasattr(model_config, "quantization_config"):
            del model_config.quantization_config
        plain = AutoModelForCausalLM.from_config(model_config, dtype=dtype)
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(draft.folder)
        load_gguf_tokenizer(path).hf.save_pretrained(draft.folder)
    draft.counts["parameters"] = plain.num_parameters()
    draft.report["source"] = path.name


def _point_to(source: str, commit: str | None, config: TeacherConfig, draft: Draft) -> None:
    from transformers import AutoConfig

    code = config.trust_remote_code
    place = local_folder(source, commit, weights=False, code=code)
    with quiet_transformers(), model_view(place, tokenizer=True, code=code) as view:
        AutoConfig.from_pretrained(
            str(view), local_files_only=True, trust_remote_code=code
        ).save_pretrained(draft.folder)
        load_tokenizer(place).hf.save_pretrained(draft.folder)
        for name in (GENERATION, CHAT_TEMPLATE):
            if (view / name).exists() and not draft.path(name).exists():
                shutil.copy(view / name, draft.path(name))
    if Path(source).is_dir():
        source = str(Path(source).resolve())
    draft.write_json(POINTER, {"source": source, "revision": commit})
    draft.report["source"] = source


def _folder_fingerprint(folder: Path) -> str:
    """Hash every file that is read of a model, and no other."""
    check_model_folder(folder)
    check_has_vocabulary(folder)
    files = files_of(folder, tokenizer=True, weights=True)
    return fingerprint_of([[name, places.sha256_of_file(path)] for name, path in files.items()])


def _hub_commit(source: str, config: TeacherConfig) -> str:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        found = model_info(source, revision=config.revision)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ConfigError(
            f"teacher.source {source!r} is no file here and no model on the hub; correct the name."
        ) from error
    check_names([file.rfilename for file in found.siblings or ()], f"The hub model {source!r}")
    return str(found.sha)
