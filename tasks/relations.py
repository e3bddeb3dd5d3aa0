"""Word pairs to relations, expanded by negation."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task


@cpu_task(name="relations", task_run_name="relations")
def relations(config: PipelineConfig, lexicon: str) -> str:
    """Join and expand the pairs (Table 1); return the relations' URI."""
    from dskd_core.relations.tables import build_relations

    return shown(
        "relations",
        lambda progress: build_relations(
            store_of(config), config.relations, opened(lexicon), progress=progress
        ),
    )
