"""The explorer as a web application: GET only, for a browser on this machine.

No address names a file: words are parameters, and what is served is rendered from the dictionary
or is one of two files of this package. Names of other hosts are refused, so a page elsewhere
cannot read a dictionary by pointing its own name at 127.0.0.1.
"""

import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dskd_core.dictionary.difference import Difference, compare
from dskd_core.errors import DataError, DskdError
from dskd_core.explorer.comparison import draw_moves
from dskd_core.explorer.maps import Method, draw_map
from dskd_core.explorer.nearest import nearest_senses
from dskd_core.explorer.opened import OpenDictionary, open_newest
from dskd_core.explorer.pages import SCRIPT, SECURITY, STYLE, Pages, ServerLinks
from dskd_core.explorer.pairs import (
    Contradictions,
    contradictions,
    exclude_lines,
    pair_lines,
    read_pair,
    verdict,
)
from dskd_core.explorer.training import read_training
from dskd_core.explorer.words import Senses, add_nearest, read_token, read_word
from dskd_core.store.artifacts import Artifact, ArtifactStore

HOSTS = ("127.0.0.1", "localhost")
_HEADERS = {
    "Content-Security-Policy": f"{SECURITY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MAX_LETTERS = 200
Text = Annotated[str, Query(max_length=_MAX_LETTERS)]
Rows = Annotated[list[int], Query(min_length=1, max_length=400)]
Picks = Annotated[list[str] | None, Query(max_length=2 * 200)]
_N_CONTRADICTIONS = 200
_OF_THE_ARTICLE = ("bank", "spring", "light")
Number = Annotated[int, Query(ge=0, lt=1 << 40)]


class Shelf:
    """The newest dictionary of a root, opened when a page first asks for it.

    A root without one is looked at again with the next page, so a run may still be making it.
    """

    def __init__(self, root_uri: str, *, in_memory_bytes: int | None = None) -> None:
        self.store, self._in_memory_bytes = ArtifactStore(root_uri), in_memory_bytes
        self._opened: OpenDictionary | None = None
        self._lock, self._slow = threading.Lock(), threading.Lock()
        self._contradictions: Contradictions | None = None
        self._differences: dict[tuple[str, str], Difference] = {}

    def dictionary(self) -> OpenDictionary:
        """Return the dictionary.

        Raises:
            ArtifactError: if the root has none, or a file of it is damaged.
        """
        with self._lock:
            if self._opened is None:
                self._opened = open_newest(self.store, in_memory_bytes=self._in_memory_bytes)
            return self._opened

    def contradictions(self) -> Contradictions:
        """Return the contradicted pairs of the dictionary, looked for once."""
        opened = self.dictionary()
        with self._slow:
            if self._contradictions is None:
                self._contradictions = contradictions(opened)
            return self._contradictions

    def difference(self, before: Artifact, after: Artifact) -> Difference:
        """Return what changed between two dictionaries, looked for once."""
        names = (before.fingerprint, after.fingerprint)
        with self._slow:
            if names not in self._differences:
                self._differences[names] = compare(before.uri, after.uri)
            return self._differences[names]

    def warm(self) -> None:
        """Open the dictionary and the teacher's head, so that the first page does not wait."""
        with contextlib.suppress(DskdError):
            _ = self.dictionary().head

    def close(self) -> None:
        """Let the dictionary go."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def about(self) -> dict[str, Any] | None:
        """Return what every page's foot says of the dictionary; None before it is open."""
        return about(self._opened) if self._opened else None


def about(opened: OpenDictionary) -> dict[str, Any]:
    """Return what every page's foot says of a dictionary."""
    counts = opened.artifact.record.counts
    return {
        "fingerprint": opened.artifact.fingerprint,
        "words": counts["words"],
        "tokens": counts["tokens_with_senses"],
        "rows": counts["rows"],
        "source": opened.sources.teacher.record.report["source"],
    }


def head_note(opened: OpenDictionary) -> str:
    """Return why the teacher's head cannot be read; nothing where it can."""
    return opened.head if isinstance(opened.head, str) else ""


def make_app(shelf: Shelf) -> FastAPI:
    """Return the application that shows the newest dictionary of a root."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    pages = Pages(ServerLinks())

    def show(name: str, *, status: int = 200, here: str = "", **content: Any) -> HTMLResponse:
        html = pages.render(name, here=here, about=shelf.about(), **content)
        return HTMLResponse(html, status)

    def refused(message: str, status: int, title: str = "", **content: Any) -> HTMLResponse:
        named = title or {404: "Not here"}.get(status, "This cannot be shown")
        return show(
            "message",
            status=status,
            title=named,
            message=message,
            **({"suggestions": []} | content),
        )

    _add_guards(app, refused)
    _add_files(app, pages)
    _add_words(app, shelf, show, refused)
    _add_pairs(app, shelf, show)
    _add_map(app, shelf, show)
    _add_comparison(app, shelf, show)
    return app


Show = Callable[..., HTMLResponse]


def _add_guards(app: FastAPI, refused: Show) -> None:
    """Add the headers of every answer, the check of the host, and pages for refusals."""

    @app.middleware("http")
    async def with_headers(
        request: Request, call: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        answer = await call(request)
        answer.headers.update(_HEADERS)
        return answer

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)

    @app.exception_handler(DskdError)
    def of_ours(request: Request, error: DskdError) -> Response:
        return refused(str(error), 404 if isinstance(error, DataError) else 500)

    @app.exception_handler(RequestValidationError)
    def of_parameters(request: Request, error: RequestValidationError) -> Response:
        names = ", ".join(str(one["loc"][-1]) for one in error.errors())
        return refused(
            f"The address is missing {names}, or gives too much for it; search for a word instead.",
            400,
        )

    @app.exception_handler(HTTPException)
    def of_http(request: Request, error: HTTPException) -> Response:
        return refused("There is no such page; search for a word instead.", error.status_code)


def _add_files(app: FastAPI, pages: Pages) -> None:
    @app.get(f"/{SCRIPT}")
    def script() -> Response:
        return Response(pages.read(SCRIPT), media_type="text/javascript")

    @app.get(f"/{STYLE}")
    def style() -> Response:
        return Response(pages.read(STYLE), media_type="text/css")


def _add_words(app: FastAPI, shelf: Shelf, show: Show, refused: Show) -> None:
    """Add the search, and the pages of words, tokens and senses."""

    @app.get("/")
    def home(q: Text = "") -> Response:
        opened = shelf.dictionary()
        return show("home", **_results(opened, q))

    @app.get("/search")
    def search(q: Text = "") -> Response:
        return show("results", **_results(shelf.dictionary(), q))

    @app.get("/word")
    def word(q: Text) -> Response:
        opened = shelf.dictionary()
        if opened.queries.spelled(q) is None:
            near = opened.suggestions(q)
            return refused(str(opened.queries.unknown(q)), 404, q, suggestions=near)
        found = read_word(opened, q, with_nearest=opened.rows.fits)
        return show("word", word=found, head_note=head_note(opened))

    @app.get("/token")
    def token(id: Number) -> Response:
        opened = shelf.dictionary()
        found: Senses = read_token(opened, id)
        if opened.rows.fits:
            add_nearest(opened, found.senses)
        return show("token", token=found, head_note=head_note(opened))

    @app.get("/sense")
    def sense(row: Number) -> Response:
        owner = shelf.dictionary().owner(row)
        parameters = {"id": owner.token_id} if owner.word is None else {"q": owner.word}
        page = ServerLinks().to("token" if owner.word is None else "word", **parameters)
        return RedirectResponse(f"{page}#row-{row}")

    @app.get("/nearest")
    def nearest(row: Rows) -> Response:
        opened = shelf.dictionary()
        for one in row:
            opened.owner(one)  # refuses a row that is not there
        return show("nearest", found=dict(zip(row, nearest_senses(opened, row), strict=True)))


def _add_pairs(app: FastAPI, shelf: Shelf, show: Show) -> None:
    """Add the page of a pair, the contradicted pairs and the two files of them."""

    @app.get("/pair")
    def pair(a: Text, b: Text) -> Response:
        return show("pair", **pair_content(shelf.dictionary(), a, b))

    @app.get("/contradictions")
    def contradicted() -> Response:
        looked = shelf.contradictions()
        shown = looked.found[:_N_CONTRADICTIONS]
        return show(
            "contradictions",
            here="contradictions",
            looked=looked,
            shown=shown,
            total=len(looked.found),
        )

    def picked(pick: list[str]) -> list[tuple[str, str, str]]:
        rows = [tuple(value.split("\t")) for value in dict.fromkeys(pick)] or [
            (row.word, row.synonym, "synonym")
            for row in shelf.contradictions().found[:_N_CONTRADICTIONS]
        ]
        return [row for row in rows if len(row) == 3 and not any("\n" in field for field in row)]

    def as_file(name: str, text: str) -> Response:
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="text/tab-separated-values", headers=disposition)

    @app.get("/exclude.tsv")
    def exclude_list(pick: Picks = None) -> Response:
        return as_file("exclude.tsv", exclude_lines(picked(pick or [])))

    @app.get("/pairs.tsv")
    def pair_file(pick: Picks = None) -> Response:
        return as_file("pairs.tsv", pair_lines(picked(pick or [])))


def pair_content(opened: OpenDictionary, a: str, b: str) -> dict[str, Any]:
    """Return what the template of a pair shows.

    Raises:
        DataError: if one of the words is not known.
    """
    found = read_pair(opened, a, b)
    least: tuple[int, int] = (-1, -1)
    if found.mse.size:
        row, column = np.unravel_index(int(found.mse.argmin()), found.mse.shape)
        least = (int(row), int(column))
    return {"pair": found, "least": least, "verdict": verdict(found)}


def _add_map(app: FastAPI, shelf: Shelf, show: Show) -> None:
    @app.get("/map")
    def page(q: Text = "", method: Literal["pca", "tsne"] = "pca") -> Response:
        opened = shelf.dictionary()
        return show("map", here="map", **map_content(opened, q, method))


def map_content(opened: OpenDictionary, text: str, method: Method = "pca") -> dict[str, Any]:
    """Return what the template of the map shows; without words, those of the article."""
    asked = [word.strip() for word in text.split(",") if word.strip()]
    known, unknown = opened.known_words(asked or _OF_THE_ARTICLE)
    if not asked and not known:
        known = opened.most_frequent(3)
    problem = (
        f"The dictionary knows no {', '.join(map(repr, unknown))}." if asked and unknown else ""
    )
    drawn = None
    bare = [word for word in known if not opened.has_senses(word)]
    if bare:
        problem = f"{problem} No senses of {', '.join(bare)}: the corpus has too little.".strip()
    if known:
        try:
            drawn = draw_map(opened, known, method)
        except DataError as error:
            problem = f"{problem} {error}".strip()
    chosen = text or ", ".join(known)
    return {"chosen": chosen, "method": method, "map": drawn, "problem": problem}


def _add_comparison(app: FastAPI, shelf: Shelf, show: Show) -> None:
    """Add the comparison of two dictionaries, and what training did."""

    @app.get("/compare")
    def page(
        before: Text = "", after: Text = "", word: Text = "", token: Number | None = None
    ) -> Response:
        artifacts = {a.fingerprint: a for a in shelf.store.of_stage("dictionary")}
        names = list(artifacts)
        content: dict[str, Any] = dict.fromkeys(("difference", "moves", "problem", "text"))
        content |= {"before": before, "after": after, "word": word}
        content["dictionaries"] = [
            {"fingerprint": name, "created": a.record.created_at[:16].replace("T", " ")}
            for name, a in artifacts.items()
        ]
        if len(names) > 1:
            one = before if before in artifacts else names[-2]
            other = after if after in artifacts else names[-1]
            content |= {"before": one, "after": other}
            content |= _compared(shelf, artifacts[one], artifacts[other], word, token)
        return show("compare", here="compare", **content)

    @app.get("/training")
    def training() -> Response:
        return show("training", here="training", training=read_training(shelf.dictionary()))


def _compared(
    shelf: Shelf, before: Artifact, after: Artifact, word: str, token: int | None
) -> dict[str, Any]:
    opened = shelf.dictionary()
    content: dict[str, Any] = {"difference": shelf.difference(before, after)}
    try:
        if word:
            known = opened.queries.spelled(word)
            tokens = opened.queries.tokens(known) if known else []
            if not tokens:
                raise opened.queries.unknown(word)
            token = max(tokens, key=lambda t: (opened.counts.occurrences_of(t), -t))
        if token is not None:
            text = opened.text_of(token)
            content |= {"text": text, "moves": draw_moves(before, after, token, text)}
    except DataError as error:
        content["problem"] = str(error)
    return content


def _results(opened: OpenDictionary, q: str) -> dict[str, Any]:
    results = opened.search(q)
    return {"q": q, "results": results, "suggestions": [] if results else opened.suggestions(q)}
