"""Corpus and lexicons to the dictionary: two branches that meet in a join."""

from dskd_core.config import PipelineConfig
from flows.beginning import begin
from flows.flow import DEFAULTS, dskd_flow
from flows.sharded import make_sharded
from tasks import whole
from tasks.artifacts import show_summary
from tasks.stage_uris import StageUris


@dskd_flow("build dictionary of {config.teacher.source}")
def build_dictionary(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Build the dictionary, or find it done.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage.
    """
    config = begin(config)
    model = whole.teacher.submit(config)
    # The right branch needs no teacher before its last stage and runs beside the left one.
    pairs = whole.lexicon.submit(config)
    related = whole.relations.submit(config, pairs)
    windows = whole.corpus.submit(config, model)
    spelled = whole.words.submit(config, related, model)

    uris = StageUris(teacher=model.result(), corpus=windows.result())
    embeddings = make_sharded(config, "embeddings", uris.needed("teacher", "corpus"))
    uris = uris.having(embeddings=embeddings)
    senses = make_sharded(config, "senses", uris.needed("teacher", "corpus", "embeddings"))
    joined = whole.dictionary.submit(config, senses, spelled, windows)
    uris = uris.having(
        senses=senses,
        lexicon=pairs.result(),
        relations=related.result(),
        words=spelled.result(),
        dictionary=joined.result(),
    )
    show_summary(uris.listed())
    return uris
