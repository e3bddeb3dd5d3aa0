"""Which share of every stage stands under a root already: found by records alone, nothing hashed.

An artifact stands for a stage if it was made from those that stand for the stages before it, with
the settings that it names. Large weights are not hashed again and the hub is not asked, so a source
that was changed in place is taken for the old one: an estimate may be wrong by it, a run never is.
"""

from collections.abc import Mapping
from typing import Any

from dskd_core.config import PipelineConfig, StudentConfig, TrainingConfig
from dskd_core.config.settings import Settings
from dskd_core.planning.known import alike, teacher_that_stands
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.losses.recipes import find_recipe, recipe_settings


def share_done(store: ArtifactStore, config: PipelineConfig) -> dict[str, float]:
    """Return the share of each stage that stands, 0 to 1; a stage with none is left out.

    The precisions in ``config`` are named.
    """
    found = _left(store, config) | _right(store, config)
    trained = {"students": 0.0, "scores": 0.0, "report": 0.0}
    if "senses" in found and "words" in found:
        inputs = _fingerprints(found, "senses", "words")
        found |= _found(store, "dictionary", config.dictionary, inputs)
    if "activations" in found and "dictionary" in found:
        inputs = _fingerprints(found, "activations", "dictionary")
        selected = _found(store, "candidates", None, inputs)
        found |= {
            stage: one
            for stage, one in selected.items()
            if not config.training.ranks_synonyms or one.record.config.get("with_synonyms")
        }
        trained = _trained(store, config, found)
    return dict.fromkeys(found, 1.0) | {name: share for name, share in trained.items() if share}


def _left(store: ArtifactStore, config: PipelineConfig) -> dict[str, Artifact]:
    teacher = teacher_that_stands(store, config)
    if teacher is None:
        return {}
    found, made_by = {"teacher": teacher}, {"teacher": teacher.fingerprint}
    found |= _found(store, "corpus", config.corpus, {})
    usual = StudentConfig().model_dump(mode="json")
    found |= _found(store, "untrained-student", config.student, made_by, usual=usual)
    if "corpus" not in found:
        return found
    found |= _found(
        store, "embeddings", config.embeddings, made_by | _fingerprints(found, "corpus")
    )
    if "embeddings" in found:
        found |= _found(store, "senses", config.senses, _fingerprints(found, "embeddings"))
    if "untrained-student" in found:
        inputs = _fingerprints(found, "untrained-student")
        if not config.prompts.sources:
            inputs |= {"text": found["corpus"].fingerprint}
        captured = _found(store, "activations", config.training, inputs, but=("mode",))
        found |= {at: one for at, one in captured.items() if _has_all(one, config.training)}
    return found


def _right(store: ArtifactStore, config: PipelineConfig) -> dict[str, Artifact]:
    found = _found(store, "lexicon", config.lexicon, {}, but=("sources", "morphology"))
    if found:
        found |= _found(
            store,
            "relations",
            config.relations,
            _fingerprints(found, "lexicon"),
            but=("reference",),
        )
    if "relations" in found:
        found |= _found(store, "words", config.words, _fingerprints(found, "relations"))
    return found


def _trained(
    store: ArtifactStore, config: PipelineConfig, found: Mapping[str, Artifact]
) -> dict[str, float]:
    """Return the shares of students and scores, and whether there is a report of them."""
    evaluation = config.evaluation
    wanted = [(arm, seed) for seed in evaluation.seeds for arm in evaluation.arms]
    activations = _fingerprints(found, "activations")
    theirs = {}
    for student in alike(store, "student", config.training, activations, but=("seed",)):
        arm, seed = student.record.config["arm"], student.record.config["seed"]
        dictionary = found["dictionary"].fingerprint
        if arm not in evaluation.arms:
            continue
        recipe = recipe_settings(config.training, arm).get("recipe")
        if student.record.config.get("recipe") != recipe:
            continue
        if (
            not find_recipe(config.training, arm).has_sense_terms
            or student.record.inputs.get("dictionary") == dictionary
        ):
            theirs[arm, seed] = student.fingerprint
    made = {theirs[each] for each in wanted if each in theirs}
    scores = alike(store, "scores", None, activations)
    judged = {score.record.inputs.get("student", "teacher") for score in scores}
    reports = [set(report.record.inputs.values()) for report in store.of_stage("report")]
    whole = len(made) == len(wanted) and any(made <= inputs for inputs in reports)
    return {
        "students": len(made) / max(1, len(wanted)),
        "scores": len(judged & (made | {"teacher"})) / (len(wanted) + 1),
        "report": float(whole),
    }


def _has_all(activations: Artifact, config: TrainingConfig) -> bool:
    """Say whether activations hold what recipes need of the teacher besides its final state."""
    kept = activations.record.config
    temperatures = set(kept.get("other_temperatures", []))
    has_gap = bool(kept.get("bridge")) or not config.reads_gap
    return has_gap and temperatures >= set(config.other_temperatures)


def _found(
    store: ArtifactStore,
    stage: str,
    settings: Settings | None,
    inputs: Mapping[str, str],
    *,
    but: tuple[str, ...] = (),
    usual: Mapping[str, Any] | None = None,
) -> dict[str, Artifact]:
    """Return the newest artifact that stands for a stage under its name; nothing if none does."""
    found = alike(store, stage, settings, inputs, but, usual)
    return {stage: found[-1]} if found else {}


def _fingerprints(found: Mapping[str, Artifact], *stages: str) -> dict[str, str]:
    return {stage: found[stage].fingerprint for stage in stages}
