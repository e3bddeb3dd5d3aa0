"""The tasks of the stages that are made in one piece; those made in shards are in sharded.py."""

from dskd_core.config import PipelineConfig
from tasks.artifacts import opened, shown, store_of
from tasks.policy import cpu_task, gpu_task


@gpu_task(name="teacher", task_run_name="teacher {config.teacher.source}")
def teacher(config: PipelineConfig) -> str:
    """Bring the teacher into a plain transformers folder; return its URI."""
    # transformers puts a lazy module in its own place while it is first imported. Tasks that wait
    # for this one start together, and of two threads importing it at once one gets the wrong one.
    import transformers  # noqa: F401

    from dskd_core.embeddings.teacher import prepare_teacher

    return shown(
        "teacher",
        lambda progress: prepare_teacher(store_of(config), config.teacher, progress=progress),
    )


@cpu_task(name="corpus", task_run_name="corpus")
def corpus(config: PipelineConfig, teacher: str) -> str:
    """Cut the documents into windows of the teacher's tokens; return the corpus' URI."""
    from dskd_core.corpus.store import build_corpus

    return shown(
        "corpus",
        lambda progress: build_corpus(
            store_of(config), config.corpus, opened(teacher), progress=progress
        ),
    )


@cpu_task(name="questions", task_run_name="questions")
def questions(config: PipelineConfig, teacher: str) -> str:
    """Write the sampled questions as prompts; return the questions' URI."""
    from dskd_core.prompts.store import build_questions

    return shown(
        "questions",
        lambda progress: build_questions(
            store_of(config), config.prompts, opened(teacher), progress=progress
        ),
    )


@cpu_task(name="lexicon", task_run_name="lexicon")
def lexicon(config: PipelineConfig) -> str:
    """Read the lexicons; return the URI of their pairs."""
    from dskd_core.lexicon.store import build_lexicon

    return shown(
        "lexicon",
        lambda progress: build_lexicon(store_of(config), config.lexicon, progress=progress),
    )


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


@cpu_task(name="words", task_run_name="words")
def words(config: PipelineConfig, relations: str, teacher: str) -> str:
    """Spell every word with the teacher's tokenizer; return the words' URI."""
    from dskd_core.words.store import build_words

    return shown(
        "words",
        lambda progress: build_words(
            store_of(config), config.words, opened(relations), opened(teacher), progress=progress
        ),
    )


@cpu_task(name="dictionary", task_run_name="dictionary")
def dictionary(config: PipelineConfig, senses: str, words: str, corpus: str) -> str:
    """Compose words from senses and join the relations (Eq. 2); return the dictionary's URI."""
    from dskd_core.dictionary.store import build_dictionary

    return shown(
        "dictionary",
        lambda progress: build_dictionary(
            store_of(config),
            config.dictionary,
            opened(senses),
            opened(words),
            opened(corpus),
            progress=progress,
        ),
    )
