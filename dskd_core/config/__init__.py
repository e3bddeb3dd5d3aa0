"""Every setting of dskd, a module a stage; here the paper's symbols and numbers.

    name                paper   Llama-3-8B   Mistral-7B   where
    max_occurrences     -       2,000        2,000        EmbeddingsConfig
    n_senses            k       10           5            SensesConfig
    max_span            m       3            3            WordsConfig
    n_candidates        kappa   5            5            TrainingConfig
    positive_weight     beta_p  1.0          1.5          TrainingConfig
    negative_weight     beta_n  1.0          1.5          TrainingConfig
    margin              gamma   1.0          1.0          TrainingConfig
    kl_weight           alpha   0.7          0.7          TrainingConfig
    temperature         T       2.0          2.0          TrainingConfig
    learning_rate       -       1.5e-4       6e-5         TrainingConfig (summed over 3 ranks)

All are frozen pydantic models, so Prefect shows them as a form, with the docstring of each field
as its help text, and refuses a wrong value when a run is created.
"""

from dskd_core.config.corpus import CorpusConfig, OtherTextConfig
from dskd_core.config.dictionary import DictionaryConfig
from dskd_core.config.embeddings import EmbeddingsConfig
from dskd_core.config.evaluation import BenchmarkConfig, EvaluationConfig, TaggedSourceConfig
from dskd_core.config.lexicon import LexiconConfig, SourceConfig
from dskd_core.config.pipeline import PipelineConfig, load_config, parse_config
from dskd_core.config.prompts import PromptsConfig, PromptSourceConfig
from dskd_core.config.recipes import BUILT_IN, Arm, RecipeConfig, TermConfig
from dskd_core.config.relations import RelationsConfig
from dskd_core.config.senses import SensesConfig
from dskd_core.config.student import StudentConfig
from dskd_core.config.teacher import TeacherConfig
from dskd_core.config.training import TrainingConfig
from dskd_core.config.words import WordsConfig

__all__ = [
    "BUILT_IN",
    "Arm",
    "BenchmarkConfig",
    "CorpusConfig",
    "DictionaryConfig",
    "EmbeddingsConfig",
    "EvaluationConfig",
    "LexiconConfig",
    "OtherTextConfig",
    "PipelineConfig",
    "PromptSourceConfig",
    "PromptsConfig",
    "RecipeConfig",
    "RelationsConfig",
    "SensesConfig",
    "SourceConfig",
    "StudentConfig",
    "TaggedSourceConfig",
    "TeacherConfig",
    "TermConfig",
    "TrainingConfig",
    "WordsConfig",
    "load_config",
    "parse_config",
]
