"""The sizes of a run, the model on its device, its text, and what dskd plan says of it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dskd_core.config import PipelineConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import Head
from dskd_core.decoder.precision import torch_device
from dskd_core.planning.architecture import PUBLISHED
from dskd_core.planning.plan import Plan, make_plan
from dskd_core.training.student.shape import Shape

RECIPE = "measured"
"""The paper's objective under a name of its own."""


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        model: of transformers' LlamaConfig.
        window_tokens: positions of a window, the prefix counted.
        batch_windows: windows of a training step.
        extraction_windows: windows of a batch of extraction.
        n_batches: measured batches of extraction.
        n_steps: measured steps of training.
        n_clustered: tokens for k-means.
        n_rows: embeddings of each.
        n_words: words to compose.
        n_spelled: tokens they are spelled with.
        square: side of the matrices whose product is the device's rate.
    """

    model: dict[str, Any]
    window_tokens: int
    batch_windows: int
    extraction_windows: int
    n_batches: int
    n_steps: int
    n_clustered: int
    n_rows: int
    n_words: int
    n_spelled: int
    square: int


LLAMA = Sizes(
    PUBLISHED["meta-llama/Meta-Llama-3-8B-Instruct"],
    window_tokens=512,
    batch_windows=8,
    extraction_windows=128,
    n_batches=3,
    n_steps=10,
    n_clustered=96,
    n_rows=2000,
    n_words=60_000,
    n_spelled=8000,
    square=8192,
)
TOY = Sizes(
    LLAMA.model
    | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "vocab_size": 400}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1},
    window_tokens=16,
    batch_windows=2,
    extraction_windows=4,
    n_batches=2,
    n_steps=2,
    n_clustered=3,
    n_rows=40,
    n_words=200,
    n_spelled=30,
    square=64,
)


def planned_bytes(plan: Plan, stage: str) -> int:
    """Return the most memory of the accelerator that a stage takes by the plan."""
    return next(one.device_bytes for one in plan.stages if one.stage == stage)


@dataclass(frozen=True)
class Scene:
    """Where a part runs and how large it is.

    Attributes:
        sizes: of everything.
        device: cuda, or cpu for the toy.
        folder: for what a part writes.
    """

    sizes: Sizes
    device: torch.device
    folder: Path

    @classmethod
    def begin(cls, folder: Path, *, toy: bool) -> "Scene":
        """Return the scene of the toy on the CPU, or of the true shape on the GPU.

        Raises:
            ConfigError: if there is no GPU that torch can use.
        """
        return cls(TOY if toy else LLAMA, torch_device("cpu" if toy else "cuda"), folder)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and the products: as the parameter file of Llama-3-8B has it."""
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16

    @property
    def n_layers(self) -> int:
        """Of the student: half of the teacher's."""
        return int(self.sizes.model["num_hidden_layers"]) // 2

    @property
    def shape(self) -> Shape:
        """The student's layers, of which the last two train."""
        return Shape(tuple(range(self.n_layers)), self.n_layers - 2)

    def config(self, mode: str = "cached") -> PipelineConfig:
        """Return the settings, where they are not the defaults those of the parameter file."""
        sizes, precision = self.sizes, str(self.dtype).removeprefix("torch.")
        terms = [{"term": "ce"}, {"term": "kl", "weight": 0.7}]
        terms += [{"term": "positive"}, {"term": "negative"}]
        return PipelineConfig.model_validate(
            {
                "root_uri": str(self.folder / "artifacts"),
                "teacher": {"source": "random", "dtype": precision, "device": self.device.type},
                "corpus": {"source": "random", "window_tokens": sizes.window_tokens},
                "embeddings": {
                    "batch_tokens": sizes.extraction_windows * sizes.window_tokens,
                    "max_occurrences": 2000,
                    "state_dtype": "bfloat16",
                },
                "senses": {"batch_bytes": 8 << 30, "device": self.device.type},
                "student": {"n_layers": self.n_layers, "n_trainable_layers": 2},
                "training": {
                    "mode": mode,
                    "batch_windows": sizes.batch_windows,
                    "compute_dtype": precision,
                    "max_activation_bytes": 1 << 40,
                    "max_train_tokens": 20_000_000,
                    "recipes": [{"name": RECIPE, "terms": terms}],
                },
            }
        )

    def plan(self, mode: str = "cached") -> Plan:
        """Return what dskd plan says of these settings, with a billion tokens of text."""
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.sizes.model), "utf-8")
        return make_plan(self.config(mode), n_tokens=10**9, config_json=file)

    def model(self, n_layers: int | None = None) -> Decoder:
        """Make a model with random weights on the device, in its precision."""
        from transformers import LlamaConfig, LlamaForCausalLM

        layers = {"num_hidden_layers": n_layers} if n_layers else {}
        torch.manual_seed(0)
        usual = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                model = LlamaForCausalLM(LlamaConfig(**self.sizes.model | layers))
        finally:
            torch.set_default_dtype(usual)
        made = Decoder(model.eval().requires_grad_(False), int(self.sizes.model["vocab_size"]))
        vars(made)["output"] = Head(made.head)
        return made

    def text(self, n_windows: int) -> Windows:
        """Return windows of random tokens, each a document of its own, whole with their prefix."""
        rng, length = np.random.default_rng(0), self.sizes.window_tokens - 1
        numbers = np.arange(n_windows, dtype=np.int32)
        n_tokens = int(self.sizes.model["vocab_size"])
        return Windows(
            token_ids=rng.integers(2, n_tokens, n_windows * length, dtype=np.int32),
            offsets=np.arange(n_windows + 1, dtype=np.int64) * length,
            documents=numbers,
            starts=np.zeros(n_windows, dtype=np.int32),
            heldout=np.zeros(n_windows, dtype=np.bool_),
            document_hashes=rng.integers(0, 1 << 63, n_windows).astype(np.uint64),
            prefix=(int(self.sizes.model["bos_token_id"]),),
        )

    @cached_property
    def is_gpu(self) -> bool:
        """Whether figures mean anything."""
        return self.device.type == "cuda"

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return how long work takes until the device has done it."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Wait until the device has nothing to do."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def forget_peak(self) -> None:
        """Begin to look for the most memory held from here on."""
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int | None:
        """Return the most memory that tensors held on the GPU; None on a CPU."""
        return int(torch.cuda.max_memory_allocated()) if self.is_gpu else None
