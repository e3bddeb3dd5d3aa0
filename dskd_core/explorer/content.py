"""What pages show, from a dictionary that is open: for the server, and for pages without one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.errors import CapacityError, DataError, DskdError
from dskd_core.explorer.jobs import Job
from dskd_core.explorer.maps import Layout, draw, lay_out
from dskd_core.explorer.odd import OddOnes, texts_of
from dskd_core.explorer.opened import OpenDictionary
from dskd_core.explorer.pairs import Contradictions, not_told, read_pair, verdict
from dskd_core.store.artifacts import Artifact

if TYPE_CHECKING:
    from dskd_core.explorer.training import Choice, Training

_PAGE_ROWS = 100
"""Rows of a table that is shown page by page."""
PATIENCE_SECONDS = 0.4
"""How long a page waits for what may be quick, before it says how far it is."""
_OF_THE_ARTICLE = ("bank", "spring", "light")


def pair_content(opened: OpenDictionary, a: str, b: str) -> dict[str, Any]:
    """Return what the template of a pair shows.

    Raises:
        DataError: if one of the words is not known.
    """
    found = read_pair(opened, a, b)
    least = largest = (-1, -1)
    if found.mse.size:
        places = list(np.ndindex(found.mse.shape))
        least, largest = places[found.mse.argmin()], places[found.cosine.argmax()]
    said = {"verdict": verdict(found), "not_told": not_told(found)}
    return {"pair": found, "least": least, "largest": largest} | said


def map_content(
    opened: OpenDictionary, text: str, place: Callable[[Layout], Job] | None = None
) -> dict[str, Any]:
    """Return what the template of the map shows.

    Args:
        opened: the dictionary.
        text: words and commas between them; those of the article where it is empty.
        place: begins work that places senses otherwise than by PCA, which is drawn until it ends.
    """
    asked = [word.strip() for word in text.split(",") if word.strip()]
    known, unknown = opened.known_words(asked or _OF_THE_ARTICLE)
    if not asked:
        known = [word for word in known if opened.has_senses(word)] or opened.most_frequent(3)
    problems = []
    if asked and unknown:
        problems.append(f"The dictionary knows no {', '.join(map(repr, unknown))}.")
    if bare := [word for word in known if not opened.has_senses(word)]:
        problems.append(f"No senses of {', '.join(bare)}: the corpus has too little.")
    drawn = job = None
    try:
        if layout := lay_out(opened, known) if known else None:
            job = place(layout) if place else None
            drawn = draw(opened, layout)
            if job and job.is_done():
                drawn = draw(opened, layout, job.result())
    except (DataError, CapacityError) as error:
        problems.append(str(error))
    return {
        "chosen": text or ", ".join(known),
        "method": "tsne" if place else "pca",
        "map": drawn,
        "job": None if job is None or job.is_done() else job,
        "problem": " ".join(problems),
    }


def contradictions_content(job: Job, page: int) -> dict[str, Any]:
    """Return what the template of the contradictions shows: one page, or how far the work is.

    Raises:
        DataError: if there is no such page.
    """
    return _page_of_work(job, page, "contradictions")


def odd_content(opened: OpenDictionary, job: Job, page: int) -> dict[str, Any]:
    """Return what the template of the odd ones out shows: one page, or how far the work is.

    Raises:
        DataError: if there is no such page.
    """
    content = _page_of_work(job, page, "odd ones out")
    return content | {"texts": texts_of(opened, content.get("shown", []))}


def _page_of_work(job: Job, page: int, what: str) -> dict[str, Any]:
    if not job.is_done(PATIENCE_SECONDS):
        return {"job": job, "looked": None}
    looked: Contradictions | OddOnes = job.result()
    return {"job": None, "looked": looked} | page_of(looked.found, page, what)


def page_of(found: Sequence[Any] | pa.Table, page: int, what: str) -> dict[str, Any]:
    """Return one page of a list, the number of its first line, and how many pages there are.

    Raises:
        DataError: if there is no such page.
    """
    n_pages = max(1, -(-len(found) // _PAGE_ROWS))
    if page > n_pages:
        raise DataError(f"There is no page {page} of the {what}; the last is {n_pages}.")
    first = (page - 1) * _PAGE_ROWS
    shown = found[first : first + _PAGE_ROWS]
    return {"shown": shown, "first": first + 1, "page": page, "n_pages": n_pages}


def training_content(
    opened: OpenDictionary,
    run: Callable[["Training"], Job] | None = None,
    score_before: Callable[[Artifact], Job] | None = None,
    *,
    choice: "Choice | None" = None,
) -> dict[str, Any]:
    """Return what the template of training shows.

    Args:
        opened: the dictionary.
        run: begins to run the students at the positions shown, which are shown without until it
            ends.
        score_before: begins to score the student before training, whose row is missing until then.
        choice: which students are compared, and where.

    Raises:
        DataError: if no students of the arms chosen were scored.
    """
    from dskd_core.explorer.training import Choice, read_training

    choice = choice or Choice()
    jobs: list[Job] = []

    def result(training: "Training", job: Job, empty: Any) -> Any:
        if not job.is_done():
            jobs.append(job)
            return empty
        try:
            return job.result()
        except DskdError as error:
            training.notes.append(f"The students did not run: {error}")
            return empty

    def states(training: "Training") -> Sequence[NDArray[np.floating]]:
        return result(training, run(training), []) if run else []

    training = read_training(opened, choice, states)
    if score_before and training.scored is not None:
        training.add_before(result(training, score_before(training.scored), {}))
    asked = {name: value for name, value in vars(choice).items() if value}
    return {
        "training": training,
        "job": next(iter(jobs), None),
        "is_asked": run is not None,
        "asked": asked,
    }
