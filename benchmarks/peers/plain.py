"""Distillation as most people would write it with transformers and torch.

Two full models, two full forward passes, full logits of both, log_softmax in float32, in the
precision that is best on the machine. Where that is bfloat16, the frozen weights and all matrix
products have it; the two trainable layers have float32 master weights under autocast, as ours have
(AdamW on bfloat16 weights would lose most of its small updates). Elsewhere all is float32, without
autocast. It is given every ease that changes no result: no key-value cache, and gradients of
nothing frozen.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from benchmarks.peers.process import Tick
from benchmarks.peers.scenario import Scenario
from dskd_core.config import TrainingConfig


def load_models(scenario: Scenario) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return the teacher, and the student with all but its last layers frozen."""
    folder, settings = scenario.model_folder, scenario.config.student
    dtype = scenario.dtype
    teacher = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    student = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, num_hidden_layers=settings.n_layers
    )
    student.requires_grad_(False)
    student.model.layers[-settings.n_trainable_layers :].float().requires_grad_(True)
    return teacher.eval().requires_grad_(False), student.train()


def train(scenario: Scenario, tick: Tick) -> None:
    """Distil: CE + alpha T^2 KL(teacher || student), both means over the labelled positions."""
    config = scenario.config.training
    teacher, student = load_models(scenario)
    trainable = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    batches = np.load(scenario.batches)
    schedule = get_cosine_schedule_with_warmup(optimizer, 0, scenario.n_steps)
    for batch in batches:
        loss, ce, kl = losses(teacher, student, torch.from_numpy(batch).long(), config)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, config.max_grad_norm)
        optimizer.step()
        schedule.step()
        tick(loss=loss.item(), ce=ce.item(), kl=kl.item())


def losses(
    teacher: torch.nn.Module, student: torch.nn.Module, ids: Tensor, config: TrainingConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the objective of windows [n, length], its CE and its KL, from full logits of both."""
    dtype = next(teacher.parameters()).dtype
    with torch.autocast(ids.device.type, dtype, enabled=dtype != torch.float32):
        with torch.no_grad():
            wanted = teacher(ids, use_cache=False).logits[:, :-1].flatten(0, 1).float()
        logits = student(ids, use_cache=False).logits[:, :-1].flatten(0, 1).float()
    ce = functional.cross_entropy(logits, ids[:, 1:].flatten())
    kl = functional.kl_div(
        functional.log_softmax(logits / config.temperature, dim=-1),
        functional.log_softmax(wanted / config.temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    return ce + config.kl_weight * config.temperature**2 * kl, ce, kl
