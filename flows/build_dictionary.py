"""Corpus and lexicons to the dictionary: two branches that meet in a join."""

from collections.abc import Mapping

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.runners.threads import DEFAULTS, Made, dskd_flow
from tasks import corpus, dictionary, embeddings, lexicon, relations, senses, words
from tasks.artifacts import show_summary
from tasks.shards import in_slots


@dskd_flow("build dictionary of {config.teacher.source}")
def build_dictionary(config: PipelineConfig = DEFAULTS) -> Made:
    """Build the dictionary, or find it done.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage.
    """
    config = begin(config)
    teacher = embeddings.teacher.submit(config)
    # The right branch needs no teacher before its last stage and runs beside the left one.
    pairs = lexicon.lexicon.submit(config)
    related = relations.relations.submit(config, pairs)
    windows = corpus.corpus.submit(config, teacher)
    spelled = words.words.submit(config, related, teacher)

    made: Made = {"teacher": teacher.result(), "corpus": windows.result()}
    made["embeddings"] = extract_embeddings(config, made)
    made["senses"] = cluster_senses(config, made)
    made["lexicon"], made["relations"] = pairs.result(), related.result()
    made["words"] = spelled.result()
    made["dictionary"] = dictionary.dictionary.submit(
        config, made["senses"], made["words"], made["corpus"]
    ).result()
    show_summary(made)
    return made


def extract_embeddings(
    config: PipelineConfig, made: Made, done: Mapping[str, str] | None = None
) -> str:
    """Read the teacher's states shard by shard; ``done`` are URIs of shards not to run."""
    inputs = made["teacher"], made["corpus"]
    parts = in_slots(
        "embeddings",
        embeddings.extract,
        {
            f"embeddings shard {shard.name}": (config, *inputs, shard)
            for shard in embeddings.shards_of(config, made["corpus"])
        },
        done,
    )
    return embeddings.collect.submit(config, *inputs, parts).result()


def cluster_senses(
    config: PipelineConfig, made: Made, done: Mapping[str, str] | None = None
) -> str:
    """Cluster the embeddings range by range; ``done`` are URIs of ranges not to run."""
    inputs = made["embeddings"], made["corpus"]
    parts = in_slots(
        "senses",
        senses.cluster,
        {
            f"senses shard {shard.name}": (config, *inputs, shard)
            for shard in senses.ranges_of(config, made["embeddings"])
        },
        done,
    )
    return senses.collect.submit(config, *inputs, made["teacher"], parts).result()
