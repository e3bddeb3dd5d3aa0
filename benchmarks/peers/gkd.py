"""TRL's two distillation trainers, set to forward KL on given text: nothing is generated.

``GKDTrainer`` (trl.experimental.gkd, ``lmbda=0``: no text of the student's own) compares full
logits, always at temperature 1. ``DistillationTrainer`` (trl) walks the logits in tiles and knows
the temperature, but always generates; here its generation is replaced by the given text. In both
``beta=0`` is KL(teacher || student) (read in their sources; beta=1 is the reverse). Neither has a
CE term nor the factor T^2, so they do slightly less than the others, and losses are compared on
the KL alone. Gradient checkpointing, on by default, is off: it would slow them down. Precision,
autocast, AdamW, cosine, clipping and the frozen layers are as in the plain peer.
"""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, TrainerCallback
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from benchmarks.peers.plain import load_models
from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import Scenario


class Ticking(TrainerCallback):
    """Call ``tick`` with the loss whenever the trainer logs one, which is after every step."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Report the step."""
        if "loss" in logs:
            self.tick(kl=logs["loss"])


class InOrder(GKDTrainer):
    """GKD over the rows of its data set as they stand."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class Given(DistillationTrainer):
    """The distillation trainer with the completions given: a prompt is a row of ``rows``."""

    rows: np.ndarray

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        rows = self.rows[[int(prompt) for prompt in prompts]].tolist()
        return [row[:1] for row in rows], [row[1:] for row in rows], None, None, []


def train(scenario: Scenario, tick: Tick, trainer: str) -> None:
    """Distil with one of the trainers: ``gkd`` or ``distillation``."""
    teacher, student = load_models(scenario)
    rows = np.load(scenario.batches).reshape(-1, scenario.window_tokens).astype(np.int64)
    tokenizer = AutoTokenizer.from_pretrained(scenario.model_folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    common: dict[str, Any] = {
        "model": student,
        "teacher_model": teacher,
        "processing_class": tokenizer,
        "callbacks": [Ticking(tick)],
    }
    if trainer == "gkd":
        args = GKDConfig(**_arguments(scenario), lmbda=0.0, beta=0.0, temperature=1.0)
        data = Dataset.from_dict({"input_ids": rows.tolist()})
        InOrder(args=args, train_dataset=data, data_collator=_collate, **common).train()
    else:
        args = DistillationConfig(
            **_arguments(scenario),
            beta=0.0,
            temperature=scenario.config.training.temperature,
            shuffle_dataset=False,
        )
        data = Dataset.from_dict({"prompt": [str(row) for row in range(len(rows))]})
        given = Given(args=args, train_dataset=data, **common)
        given.rows = rows
        given.train()


def _arguments(scenario: Scenario) -> dict[str, Any]:
    config = scenario.config.training
    return {
        "output_dir": str(scenario.batches.parent / "trl"),
        "per_device_train_batch_size": config.batch_windows,
        "max_steps": scenario.n_steps,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "lr_scheduler_type": "cosine",
        "bf16": scenario.dtype == torch.bfloat16,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return a batch whose first tokens are no labels, as nothing predicts them."""
    ids = torch.tensor([row["input_ids"] for row in rows])
    labels = ids.clone()
    labels[:, 0] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
