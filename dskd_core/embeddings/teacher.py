"""The teacher as an artifact: found by hub id, folder or GGUF file, and converted or pointed to."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dskd_core import samples
from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import quiet_transformers
from dskd_core.decoder.faults import faults_told
from dskd_core.decoder.gguf_header import read_header
from dskd_core.decoder.loading import check_not_quantised, load_model
from dskd_core.decoder.model_files import (
    CHAT_TEMPLATE,
    GENERATION,
    check_has_vocabulary,
    files_of,
    gguf_view,
    model_view,
)
from dskd_core.decoder.precision import processor_on, resolved_teacher
from dskd_core.decoder.pretrained import (
    POINTER,
    check_model_folder,
    check_names,
    check_token_ids,
    local_folder,
)
from dskd_core.decoder.tokenizer import load_gguf_tokenizer, load_tokenizer
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.progress import Progress, silent
from dskd_core.store import access, places
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work, fingerprint_of


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
        read_header(path)
        identity = {"gguf": places.sha256_of_file(path)}
    elif path.is_dir():
        identity = {"folder": _folder_fingerprint(path, code=config.trust_remote_code)}
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


def check_weights(teacher: Artifact, *, trust_remote_code: bool) -> None:
    """Refuse a folder of weights that is another on this machine than the artifact was made from.

    Reads the whole of it, once a process. Weights inside the artifact are compared when they are
    loaded, and a hub's have their commit.

    Raises:
        ArtifactError: if it is.
    """
    if not (made_from := teacher.record.inputs.get("folder")):
        return
    source = str(teacher.record.report["source"])
    if made_from != _fingerprint_here(source, trust_remote_code):
        raise ArtifactError(
            f"The teacher's folder {source} is another on this machine than the one "
            f"{teacher.uri} was made from; copy it there whole."
        )


def stored_teachers(store: ArtifactStore, config: TeacherConfig) -> list[Artifact]:
    """Return the teachers of a source that stand under a root, in any precision, oldest first."""
    source = samples.resolve(config.source)
    names = {source, Path(source).name, str(Path(source).resolve())}
    return [t for t in store.of_stage("teacher") if t.record.report.get("source") in names]


def in_other_precisions(store: ArtifactStore, config: TeacherConfig) -> list[Artifact]:
    """Return the teachers of this source under a root, where all are of other precisions.

    ``config`` names the precision that the run computes in.
    """
    stored = stored_teachers(store, config)
    dtypes = {teacher.record.config["dtype"] for teacher in stored}
    return [] if config.dtype in dtypes else stored


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
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, config.dtype)
    with quiet_transformers(), _gguf_read_once():
        with gguf_view(path) as view:
            loaded = load_model(view.parent, path, dtype=torch.float32, gguf=view.name)
        model_config = loaded.config
        if hasattr(model_config, "quantization_config"):
            del model_config.quantization_config
        plain = AutoModelForCausalLM.from_config(model_config, dtype=dtype)
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(draft.folder)
        n_rows = plain.get_input_embeddings().weight.shape[0]
        tokenizer = _without_inventions(load_gguf_tokenizer(path).hf, n_rows)
        check_token_ids(tokenizer.get_vocab(), n_rows, path)
        tokenizer.save_pretrained(draft.folder)
    draft.counts["parameters"] = plain.num_parameters()
    draft.report["source"] = path.name


def _without_inventions(tokenizer: Any, n_rows: int) -> Any:
    """Return a GGUF file's tokenizer without tokens that the file does not have.

    A file has as many tokens as rows, but transformers adds what the tokenizer's class has as its
    defaults (``<|endoftext|>``), under ids that no row has.
    """
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = [token for token in content["added_tokens"] if token["id"] < n_rows]
    if len(kept) == len(content["added_tokens"]):
        return tokenizer
    known = {token for token, number in tokenizer.get_vocab().items() if number < n_rows}
    special = {
        name: token for name, token in tokenizer.special_tokens_map.items() if token in known
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(content | {"added_tokens": kept})),
        chat_template=tokenizer.chat_template,
        model_max_length=tokenizer.model_max_length,
        **special,
    )


def _point_to(source: str, commit: str | None, config: TeacherConfig, draft: Draft) -> None:
    from transformers import AutoConfig

    code = config.trust_remote_code
    place = local_folder(source, commit, weights=False, code=code)
    with quiet_transformers(), model_view(place, tokenizer=True, code=code) as view:
        check_not_quantised(view, source)
        with faults_told(f"The config.json of {source}", ConfigError):
            model = AutoConfig.from_pretrained(
                str(view), local_files_only=True, trust_remote_code=code
            )
        tokenizer = load_tokenizer(place).hf
        if n_rows := getattr(model.get_text_config(), "vocab_size", None):  # else: once it is read
            check_token_ids(tokenizer.get_vocab(), n_rows, source)
        model.save_pretrained(draft.folder)
        tokenizer.save_pretrained(draft.folder)
        for name in (GENERATION, CHAT_TEMPLATE):
            if (view / name).exists() and not draft.path(name).exists():
                shutil.copy(view / name, draft.path(name))
    if Path(source).is_dir():
        source = str(Path(source).resolve())
    draft.write_json(POINTER, {"source": source, "revision": commit})
    draft.report["source"] = source


def _folder_fingerprint(folder: Path, *, code: bool) -> str:
    """Hash every file that is read of a model, its Python code too where that may run."""
    check_model_folder(folder)
    check_has_vocabulary(folder)
    files = files_of(folder, tokenizer=True, weights=True, code=code)
    return fingerprint_of([[name, places.sha256_of_file(path)] for name, path in files.items()])


_fingerprint_here = lru_cache(maxsize=1)(
    lambda source, code: _folder_fingerprint(Path(source), code=code)
)


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
