"""Training where the teacher never was: what an earlier run left, found by its settings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dskd_core.config import PipelineConfig, StudentConfig
from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.store import VERSION
from dskd_core.training.student.shape import STAGE

_OF_TRAINING = ("temperature", "max_train_tokens", "max_heldout_tokens")


@dataclass(frozen=True)
class Precomputed:
    """All a student is trained from; candidates are found anew, without the teacher."""

    untrained: Artifact
    activations: Artifact
    dictionary: Artifact


def find_precomputed(store: ArtifactStore, config: PipelineConfig) -> Precomputed:
    """Return the activations that were captured with these settings, and what belongs to them.

    Raises:
        ArtifactError: if there are none, or only others; it says how each one differs.
    """
    stored = store.of_stage("activations")
    differences = {a.fingerprint: list(_differences(store, a, config)) for a in stored}
    fitting = [a for a in stored if not differences[a.fingerprint]]
    if not fitting:
        others = "; ".join(f"{name}: {', '.join(d)}" for name, d in differences.items())
        raise ArtifactError(
            f"No activations under {store.root_uri} fit training.mode precomputed "
            f"({others or 'there are none at all'}); change these settings, or copy the stages "
            f"{STAGE}, activations, activations-shard and dictionary from where they were made."
        )
    activations = fitting[-1]
    untrained = store.get(STAGE, activations.record.inputs[STAGE])
    return Precomputed(untrained, activations, _dictionary(store, activations))


def _differences(
    store: ArtifactStore, activations: Artifact, config: PipelineConfig
) -> Iterator[str]:
    """Yield each setting that stored activations were captured with differently."""
    record = activations.record
    if record.stage_version != VERSION:
        yield f"made by version {record.stage_version} of the stage, this dskd reads {VERSION}"
        return
    start = store.get(STAGE, record.inputs[STAGE]).record
    settings = config.prompts if config.prompts.sources else config.corpus
    text = {key: value for key, value in record.report["text"].items() if key != "stage"}
    asked = settings.model_dump(mode="json")
    yield from _unequal("teacher", {"source": start.report["teacher_source"]}, config.teacher)
    usual = StudentConfig().model_dump(mode="json")  # of settings that are newer than the student
    yield from _unequal("student", usual | start.config, config.student)
    yield from _unequal("text", text, {key: asked[key] for key in text if key in asked})
    yield from _unequal(
        "training", {key: record.config[key] for key in _OF_TRAINING}, config.training
    )
    if config.training.reads_gap and not record.config.get("bridge"):
        yield "captured without the states that the term bridge of a recipe needs"
    kept = record.config.get("other_temperatures", [])
    if lacking := [t for t in config.training.other_temperatures if t not in kept]:
        yield f"captured without targets at the temperatures {lacking} that recipes have"
    if record.config["mode"] != "cached":
        yield "captured for mode online, so without the windows to train on"


def _unequal(name: str, there: Mapping[str, Any], asked: Any) -> Iterator[str]:
    values = asked if isinstance(asked, Mapping) else asked.model_dump(mode="json")
    for key, value in there.items():
        if key in values and values[key] != value:
            yield f"{name}.{key} is {value!r} there, {values[key]!r} here"


def _dictionary(store: ArtifactStore, activations: Artifact) -> Artifact:
    """Return the dictionary that candidates were selected with, or the only one there is."""
    selected = [
        a.record.inputs["dictionary"]
        for a in store.of_stage("candidates")
        if a.record.inputs["activations"] == activations.fingerprint
    ]
    if selected:
        return store.get("dictionary", selected[-1])
    tokenizer = activations.record.report["tokenizer"]
    fitting = [a for a in store.of_stage("dictionary") if a.record.report["tokenizer"] == tokenizer]
    if len(fitting) != 1:
        raise ArtifactError(
            f"{len(fitting)} dictionaries under {store.root_uri} have the tokenizer {tokenizer} of "
            f"the activations {activations.fingerprint}; training.mode precomputed needs one: "
            "copy it there, or delete the others."
        )
    return fitting[0]
