"""The model card of a student: what it is, what made it, and under which licences."""

from typing import Any

from dskd_core.artifacts import Artifact, Work

_TEMPLATE = """---
library_name: transformers
tags: [distillation, dskd]
---
# A {n_layers}-layer student of {source}

Made by [dskd](https://arxiv.org/abs/2602.22351) (arm `{arm}`, seed {seed}): {n_layers} of the
teacher's {n_teacher_layers} layers ({layers}), of which the last {n_trainable} were trained for
{steps} steps; the rest, embeddings and head too, is the teacher's. {parameters:,} parameters,
{trainable:,} trained.

It is a plain transformers checkpoint and needs nothing of dskd:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("this folder")

| made from | fingerprint |
|---|---|
{inputs}

| last training step | |
|---|---|
{terms}

Settings: `{config}`

Data licences follow the inputs: Wikipedia and Wiktionary are CC BY-SA, MorphyNet CC BY-SA,
MorphoLEX CC BY-NC-SA; the teacher's own licence holds for its weights.

    @article{{dskd2026, title={{Decoder-based Sense Knowledge Distillation}},
      author={{Wang and Zaki and Kollias and Kalantzis}},
      journal={{arXiv:2602.22351}}, year={{2026}}}}
"""


def model_card(
    work: Work, untrained: Artifact, last: dict[str, Any], counts: dict[str, int]
) -> str:
    """Return the Markdown of a student's card."""
    start = untrained.record.report
    return _TEMPLATE.format(
        source=start["source"],
        n_layers=len(start["layers"]),
        n_teacher_layers=start["teacher_layers"],
        layers=", ".join(str(layer) for layer in start["layers"]),
        n_trainable=len(start["layers"]) - start["entry"],
        arm=work.config["arm"],
        seed=work.config["seed"],
        steps=counts["steps"],
        parameters=counts["parameters"],
        trainable=counts["trainable_parameters"],
        inputs="\n".join(f"| {name} | `{value}` |" for name, value in work.inputs.items()),
        terms="\n".join(f"| {name} | {value} |" for name, value in last.items()),
        config=work.config,
    )
