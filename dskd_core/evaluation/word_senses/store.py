"""One model, the teacher or a student, on one sense-tagged source.

``items.parquet`` of a ``sense-scores`` artifact has a row for each scored item and measure:

    measure      string   as in ``MEASURES``
    item         string   file and line, or the id the source gives
    word         string   what it is about; of a pair both
    gold         string   its sense; T or F; synonym or antonym; of a rated pair the rating
    predicted    string   empty where the measure is an AUC or a correlation
    score        double   1 right and 0 wrong; of an AUC or a correlation the similarity
    sense        int32    number of the word's nearest sense, of nearest_sense; else null
    text         string   the word in brackets, in as much of its context as one line holds

so that any two models can be compared item by item later, see ``comparison/item_scores.py``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import TaggedSourceConfig, TeacherConfig
from dskd_core.decoder.decoder import Decoder, device_lock, load_decoder
from dskd_core.decoder.precision import processor_on, resolved_teacher
from dskd_core.decoder.tokenizer import Tokenizer, check_same_tokenizer, load_tokenizer
from dskd_core.dictionary.composition import compose
from dskd_core.dictionary.store import Dictionary, load_dictionary
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.models import model_folder
from dskd_core.evaluation.word_senses import STAGE
from dskd_core.evaluation.word_senses.files import content_fingerprint
from dskd_core.evaluation.word_senses.graded import GradedScorer, antonyms_among
from dskd_core.evaluation.word_senses.items import Item
from dskd_core.evaluation.word_senses.readers import PAIRS, read_items
from dskd_core.evaluation.word_senses.scorer import SenseScorer, counted_of, means_of
from dskd_core.evaluation.word_senses.states import Place, states_by_layer, word_states
from dskd_core.progress import Progress, silent
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.words.spelling import spell

TABLE = "items.parquet"
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("measure", "item", "word", "gold", "predicted")]
    + [("score", pa.float64()), ("sense", pa.int32()), ("text", pa.string())]
)
FloatArray = NDArray[np.float32]


def score_senses(
    store: ArtifactStore,
    source: TaggedSourceConfig,
    teacher_config: TeacherConfig,
    dictionary: Artifact,
    model: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Score a model on words whose senses or relations are known.

    Raises:
        ArtifactError: if model and dictionary have different tokenizers.
        ConfigError: if the source is not there.
        DataError: if nothing of it can be scored.
    """
    teacher_config = resolved_teacher(teacher_config)
    place = place_of(store, source, dictionary)
    work = _work(source, place, teacher_config, dictionary, model)
    if found := store.find(work):
        return found
    folder = model_folder(model)
    tokenizer = load_tokenizer(folder)
    check_same_tokenizer(
        dictionary, dictionary.record.report["tokenizer"], model, tokenizer.fingerprint
    )
    items, dirt = read_items(source)
    with device_lock, store.publish(work) as draft:
        draft.computed(teacher_config.dtype, processor_on(teacher_config.device))
        decoder, held = load_decoder(folder, teacher_config), load_dictionary(dictionary)
        scorer, rows, of_layers = _score(source, place, decoder, tokenizer, held, items, progress)
        draft.report |= of_layers
        draft.write_table(TABLE, pa.Table.from_pylist(rows, schema=_SCHEMA))
        draft.counts |= scorer.counts()
        draft.report |= _about(source, place, model) | {
            "means": means_of(rows),
            "items_of_measure": counted_of(rows),
            "most_frequent": scorer.most_frequent(),
            "dirty": dict(dirt.counts),
            "places": dirt.places,
        }
    return store.get(work.stage, work.fingerprint)


def _score(
    source: TaggedSourceConfig,
    place: Place,
    decoder: Decoder,
    tokenizer: Tokenizer,
    dictionary: Dictionary,
    items: Sequence[Item],
    progress: Progress,
) -> tuple[SenseScorer, list[dict[str, Any]], dict[str, Any]]:
    """Return the scorer, a row for each item and measure, and what is reported of layers."""
    contexts = [context for item in items for context in item.contexts]
    senses, n_tokens = senses_of_words(items, tokenizer, dictionary), source.batch_tokens
    if source.kind == "graded_pairs":
        by_layer = states_by_layer(
            decoder, tokenizer, contexts, batch_tokens=n_tokens, progress=progress
        )
        graded = GradedScorer(items, by_layer, antonyms_among(items, tokenizer, dictionary))
        return SenseScorer(items, by_layer[-1], senses), graded.rows(), graded.report()
    states = word_states(
        decoder, tokenizer, contexts, place=place, batch_tokens=n_tokens, progress=progress
    )
    scorer = SenseScorer(items, states, senses)
    return scorer, scorer.rows(source.kind), {}


def _work(
    source: TaggedSourceConfig,
    place: Place,
    teacher_config: TeacherConfig,
    dictionary: Artifact,
    model: Artifact,
) -> Work:
    names = {"kind", "train_share", "max_items", "batch_tokens"}
    settings = source.model_dump(mode="json", include=names)
    settings |= {"task": name_of(source), "state": place, "dtype": teacher_config.dtype}
    inputs = {"source": content_fingerprint(source), "dictionary": dictionary.fingerprint}
    return Work(STAGE, settings, inputs | {model.record.stage: model.fingerprint})


def name_of(source: TaggedSourceConfig) -> str:
    """Return what reports call a source.

    >>> name_of(TaggedSourceConfig(kind="pairs", uri="data/opposites.tsv"))
    'opposites'
    """
    return source.name or source.uri.rstrip("/").rpartition("/")[2].partition(".")[0]


def place_of(store: ArtifactStore, source: TaggedSourceConfig, dictionary: Artifact) -> Place:
    """Return which states stand for a token: before it or at it.

    A pair's words stand in a neutral context, before which is the same for all, so they are ``at``.

    Raises:
        ArtifactError: if ``as_filed`` is asked of a dictionary whose senses are not here.
    """
    if source.kind in PAIRS:
        return "at"
    if source.state != "as_filed":
        return source.state
    try:
        senses = store.get("senses", dictionary.record.inputs["senses"])
    except ArtifactError as error:
        raise ArtifactError(
            f"The senses {dictionary.record.inputs['senses']} of the dictionary are not under "
            f"{store.root_uri}, so their key is not known; set the source's state to before (keys "
            "predicted and next) or at (input)."
        ) from error
    return "at" if senses.group("senses.zarr").attrs["key"] == "input" else "before"


def senses_of_words(
    items: Sequence[Item], tokenizer: Tokenizer, dictionary: Dictionary
) -> dict[str, FloatArray]:
    """Return the senses, [k, d], of every word of the items that has some.

    A word is spelled as after a space, and if that has no senses then Capitalised; of several
    tokens its senses are composed (Eq. 2), whatever their number.
    """
    words = sorted({context.word for item in items for context in item.contexts})
    senses: dict[str, FloatArray] = {}
    for variants in (words, [word[:1].upper() + word[1:] for word in words]):
        for word, (_, ids) in zip(words, spell(tokenizer, variants), strict=True):
            own = [dictionary.own.rows_of(token) for token in ids or ()]
            if word not in senses and own and all(map(len, own)):
                rows = dictionary.rows[np.concatenate(own)].astype(np.float32)
                offsets = np.cumsum([0, *map(len, own)]).astype(np.int64)
                senses[word] = compose(rows, offsets, np.arange(len(own))[None])[0]
    return senses


def _about(source: TaggedSourceConfig, place: Place, model: Artifact) -> dict[str, Any]:
    """Say in the record whose scores these are, and on what."""
    about = {"task": name_of(source), "kind": source.kind, "state": place}
    if model.record.stage == "teacher":
        return about | {"arm": "teacher", "seed": None, "student": None}
    report = model.record.report
    return about | {"arm": report["arm"], "seed": report["seed"], "student": model.fingerprint}
