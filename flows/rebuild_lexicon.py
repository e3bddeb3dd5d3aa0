"""The right branch alone: lexicons to words, without embeddings."""

from dskd_core.config import PipelineConfig
from dskd_core.store.access import check_settings
from flows.flow import DEFAULTS, dskd_flow
from tasks import whole
from tasks.stage_uris import StageUris


@dskd_flow("rebuild lexicon for {config.teacher.source}")
def rebuild_lexicon(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Read the lexicons again and spell their words; unchanged files are found done.

    The next ``build_dictionary`` joins the new words with the senses that stand.

    Args:
        config: the settings of all stages; those of the left branch are not used.

    Returns:
        The URIs of teacher, lexicon, relations and words.
    """
    check_settings(config)
    pairs = whole.lexicon.submit(config)
    related = whole.relations.submit(config, pairs)
    model = whole.teacher.submit(config)
    spelled = whole.words.submit(config, related, model)
    return StageUris(
        teacher=model.result(),
        lexicon=pairs.result(),
        relations=related.result(),
        words=spelled.result(),
    )
