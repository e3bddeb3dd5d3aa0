"""The right branch alone: lexicons to words, without embeddings."""

from dskd_core.config import PipelineConfig
from dskd_core.store.access import check_settings
from flows.runners.threads import DEFAULTS, Made, dskd_flow
from tasks import embeddings, lexicon, relations, words


@dskd_flow("rebuild lexicon for {config.teacher.source}")
def rebuild_lexicon(config: PipelineConfig = DEFAULTS) -> Made:
    """Read the lexicons again and spell their words; unchanged files are found done.

    The next ``build_dictionary`` joins the new words with the senses that stand.

    Args:
        config: the settings of all stages; those of the left branch are not used.

    Returns:
        The URIs of teacher, lexicon, relations and words.
    """
    check_settings(config)
    pairs = lexicon.lexicon.submit(config)
    related = relations.relations.submit(config, pairs)
    teacher = embeddings.teacher.submit(config)
    spelled = words.words.submit(config, related, teacher)
    return {
        "teacher": teacher.result(),
        "lexicon": pairs.result(),
        "relations": related.result(),
        "words": spelled.result(),
    }
