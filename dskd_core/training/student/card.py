"""The model card of a student: what it is, what made it, and under which licences."""

from typing import Any

from dskd_core import markdown
from dskd_core.markdown import Markdown, code, escape
from dskd_core.store.artifacts import Artifact, Draft, Work

_TEMPLATE = """---
library_name: transformers
tags: [distillation, dskd]
---
# A {n_layers}-layer student of {source}

Made by [dskd](https://arxiv.org/abs/2602.22351) (arm {arm}, seed {seed}): {n_layers} of the
teacher's {n_teacher_layers} layers ({layers}), of which {trained} trained for
{steps} steps; the rest, embeddings and head too, is the teacher's. {parameters:,} parameters,
{trainable:,} trained.

It is a plain transformers checkpoint and needs nothing of dskd:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("this folder")

{inputs}

{terms}

Trained with products in {precision} on {processor}. Settings: {config}

## Data and licences

Trained on {text}, whose licence holds for what is learnt from it (Wikipedia: CC BY-SA 4.0). The
teacher's own licence holds for the weights copied from it.
{sources}

    @article{{dskd2026, title={{Decoder-based Sense Knowledge Distillation}},
      author={{Wang and Zaki and Kollias and Kalantzis}},
      journal={{arXiv:2602.22351}}, year={{2026}}}}
"""


def model_card(
    work: Work, untrained: Artifact, activations: Artifact, dictionary: Artifact, draft: Draft
) -> str:
    """Return the Markdown of a student's card."""
    counts, report = draft.counts, draft.report
    start, text = untrained.record.report, activations.record.report["text"]
    fingerprints = [(name, code(value)) for name, value in work.inputs.items()]
    return _TEMPLATE.format(
        source=escape(start["source"]),
        n_layers=len(start["layers"]),
        n_teacher_layers=start["teacher_layers"],
        layers=", ".join(str(layer) for layer in start["layers"]),
        trained=_trained(start),
        arm=code(work.config["arm"]),
        seed=work.config["seed"],
        steps=counts["steps"],
        parameters=counts["parameters"],
        trainable=counts["trainable_parameters"],
        inputs=markdown.table(("made from", "fingerprint"), fingerprints, is_words=True),
        terms=_table("last training step", report["last_step"]),
        text=escape(text.get("source", "benchmark questions answered by the teacher")),
        sources=_sources(dictionary) if "dictionary" in work.inputs else "",
        config=code(work.config),
        precision=escape(draft.precision),
        processor=escape(draft.processor),
    )


def with_scores(card: str, scores: Artifact) -> str:
    """Return a card with the student's scores on held-out text."""
    report, counts = scores.record.report, scores.record.counts
    means = {name: round(value, 4) for name, value in report["means"].items()}
    title = f"on {counts['positions']:,} held-out positions, mean (ce, kl in nats)"
    return f"{card}\n{_table(title, means)}\n"


def _trained(start: dict[str, Any]) -> str:
    """Say which layers of a student were trained."""
    n_layers, frozen = len(start["layers"]), start.get("frozen", [])
    numbers = [str(n) for n in range(start["entry"], n_layers) if n not in frozen]
    layers = f"the last {len(numbers)}" if not frozen else f"number {', '.join(numbers)} (from 0)"
    return f"{layers} and the final norm were" if start.get("trains_norm") else f"{layers} were"


def _table(title: str, values: dict[str, Any]) -> Markdown:
    return markdown.table((title, ""), values.items() or [("none", "")], is_words=True)


def _sources(dictionary: Artifact) -> str:
    """List the lexicons behind the senses' relations."""
    rows = [
        (f"{source['kind']} ({source['file']})", source["licence"])
        for source in dictionary.record.report["sources"]
    ]
    return f"\n{markdown.table(('relations from', 'licence'), rows, is_words=True)}"
