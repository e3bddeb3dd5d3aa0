"""All stages together, and parameter files."""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator

from dskd_core.config.corpus import CorpusConfig
from dskd_core.config.dictionary import DictionaryConfig
from dskd_core.config.embeddings import EmbeddingsConfig
from dskd_core.config.evaluation import EvaluationConfig
from dskd_core.config.lexicon import LexiconConfig
from dskd_core.config.prompts import PromptsConfig
from dskd_core.config.recipes import BUILT_IN, RECOMMENDED
from dskd_core.config.relations import RelationsConfig
from dskd_core.config.senses import SensesConfig
from dskd_core.config.settings import Settings, Uri
from dskd_core.config.size import FILE_BYTES, read_yaml
from dskd_core.config.student import StudentConfig
from dskd_core.config.teacher import TeacherConfig
from dskd_core.config.training import TrainingConfig
from dskd_core.config.words import WordsConfig
from dskd_core.errors import ConfigError, shown
from dskd_core.redaction import redact, redacted_value

_MOST_TOLD = 10
_KEY = 60


class PipelineConfig(Settings):
    """All stages under one root: what every flow takes."""

    root_uri: Uri = "work/artifacts"
    """Where artifacts are kept: a folder, or an s3:// prefix."""
    teacher: TeacherConfig = TeacherConfig()
    corpus: CorpusConfig = CorpusConfig()
    prompts: PromptsConfig = PromptsConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    senses: SensesConfig = SensesConfig()
    lexicon: LexiconConfig = LexiconConfig()
    relations: RelationsConfig = RelationsConfig()
    words: WordsConfig = WordsConfig()
    dictionary: DictionaryConfig = DictionaryConfig()
    student: StudentConfig = StudentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _recommended_is_listed(self) -> Self:
        """List the recipe among the training's, whose stages know no arms, if it is compared."""
        recipes = self.training.recipes
        if RECOMMENDED.name in self.evaluation.arms and RECOMMENDED not in recipes:
            training = self.training.model_copy(update={"recipes": (*recipes, RECOMMENDED)})
            object.__setattr__(self, "training", training)  # frozen, and not yet anybody's
        return self

    @model_validator(mode="after")
    def _stages_agree(self) -> Self:
        if self.embeddings.batch_tokens < self.corpus.window_tokens:
            raise ValueError(
                f"embeddings.batch_tokens {self.embeddings.batch_tokens} is less than one window "
                f"of corpus.window_tokens {self.corpus.window_tokens}; raise the first"
            )
        n_layers = self.student.n_layers
        if n_layers is not None and self.student.n_trainable_layers > n_layers:
            raise ValueError(
                f"student.n_trainable_layers {self.student.n_trainable_layers} exceeds "
                f"student.n_layers {n_layers}; lower the first"
            )
        recipes = [recipe.name for recipe in self.training.recipes]
        if unknown := [a for a in self.evaluation.arms if a not in (*BUILT_IN, *recipes)]:
            known = ", ".join((*BUILT_IN, *recipes))
            raise ValueError(
                f"evaluation.arms names {shown(unknown)}, which are no recipes; choose among "
                f"{known}, or add to training.recipes"
            )
        if self.evaluation.other_texts and self.training.mode == "precomputed":
            raise ValueError(
                "evaluation.other_texts need the teacher, and training.mode 'precomputed' never "
                "reads its weights; leave them out, or choose another mode"
            )
        if self.corpus.heldout_share == 0.0 and self.evaluation.seeds:
            raise ValueError(
                "corpus.heldout_share 0.0 leaves no text to score students on; set it above 0"
            )
        return self


def load_config(path: Path) -> PipelineConfig:
    """Read a parameter file (YAML) into settings.

    Raises:
        ConfigError: if the file cannot be read, is not YAML, stands for too much, or a value is
            refused; the first refused keys are named.
    """
    try:
        with path.open("rb") as file:
            values = read_yaml(file.read(FILE_BYTES + 1))
    except OSError as error:
        told = redact(f"{path} cannot be read ({error.strerror})")
        raise ConfigError(
            f"{told}; name a parameter file, as in deployments/parameters/."
        ) from error
    except ConfigError as error:
        raise ConfigError(redact(f"{path} {error}")) from error
    except yaml.YAMLError as error:
        told = redact(f"{path} is not YAML ({error})")
        raise ConfigError(f"{told}; correct the line it names.") from error
    return parse_config({} if values is None else values, str(path))


def parse_config(values: Any, origin: str) -> PipelineConfig:
    """Turn plain values into settings.

    Raises:
        ConfigError: if a value is refused; the first ten refused keys are named with their values.
    """
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        told = [_told(e) for e in error.errors()[:_MOST_TOLD]]
        if n_more := error.error_count() - len(told):
            told.append(f"and {n_more:,} more")
        refused = redact("; ".join(told))
        raise ConfigError(
            f"{origin} is refused: {refused}. Correct these keys; dskd_core/config/ has them all."
        ) from error


def _told(error: Any) -> str:
    """Return one refusal of pydantic: the key, its value and why."""
    name = ".".join(redact(str(part))[:_KEY] for part in error["loc"]) or "config"
    if error["type"] == "value_error":
        return f"{name}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "string_pattern_mismatch" and "cuda" in error["ctx"]["pattern"]:
        return (
            f"{name}={shown(redacted_value(error['input']))} is no device that computes; give "
            "auto, cpu, cuda, cuda:NUMBER, mps or xpu"
        )
    if error["type"] == "string_pattern_mismatch" and "hf:" not in error["ctx"]["pattern"]:
        return (
            f"{name} has a ':' or an '@', as no name on the hub has, and is not shown here: "
            "it may carry credentials; give those in the environment (HF_TOKEN)"
        )
    if error["type"] == "string_pattern_mismatch":
        return (
            f"{name} carries credentials before an '@' (not shown here); give them in the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    # Redacted first: half a secret would not be known again.
    return f"{name}={shown(redacted_value(error['input']))}: {error['msg']}"
