"""The explorer as a web application: GET only, for a browser on this machine.

No address names a file: words are parameters, and what is served is rendered from the dictionary
or is one of two files of this package. Names of other hosts are refused, so a page elsewhere
cannot read a dictionary by pointing its own name at 127.0.0.1. Nor can it have a browser start
work here: what a page of another site asks for is refused, but for a link to the first page.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dskd_core.errors import DataError, DskdError
from dskd_core.explorer.content import (
    PATIENCE_SECONDS,
    contradictions_content,
    map_content,
    odd_content,
    pair_content,
    training_content,
)
from dskd_core.explorer.curation import exclude_lines, pair_lines, weights
from dskd_core.explorer.guards import HEADERS, HOSTS, is_from_elsewhere
from dskd_core.explorer.nearest import nearest_senses
from dskd_core.explorer.opened import OpenDictionary
from dskd_core.explorer.pages import SCRIPT, STYLE, Pages, ServerLinks
from dskd_core.explorer.shelf import Shelf, head_note
from dskd_core.explorer.words import Senses, add_nearest, read_token, read_top_tokens, read_word

_FROM_ELSEWHERE = (
    "A page of another site asked for this, and pages here may start long work; open it from here."
)
_MAX_LETTERS = 200
Text = Annotated[str, Query(max_length=_MAX_LETTERS)]
Rows = Annotated[list[int], Query(min_length=1, max_length=400)]
Picks = Annotated[list[str] | None, Query(max_length=2 * 200)]
Page = Annotated[int, Query(ge=1, lt=1 << 40)]
Number = Annotated[int, Query(ge=0, lt=1 << 40)]


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
            **({"suggestions": [], "tokens": []} | content),
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
        is_ours = not is_from_elsewhere(request)
        answer = await call(request) if is_ours else refused(_FROM_ELSEWHERE, 403)
        answer.headers.update(HEADERS)
        return answer

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)

    @app.exception_handler(DskdError)
    def refuse_ours(request: Request, error: DskdError) -> Response:
        return refused(str(error), 404 if isinstance(error, DataError) else 500)

    @app.exception_handler(RequestValidationError)
    def refuse_parameters(request: Request, error: RequestValidationError) -> Response:
        names = ", ".join(str(one["loc"][-1]) for one in error.errors())
        return refused(
            f"The address is missing {names}, or gives too much for it; search for a word instead.",
            400,
        )

    @app.exception_handler(HTTPException)
    def refuse_address(request: Request, error: HTTPException) -> Response:
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
        return show("home", dictionaries=shelf.dictionaries(), **_results(opened, q))

    @app.get("/search")
    def search(q: Text = "") -> Response:
        return show("results", **_results(shelf.dictionary(), q))

    @app.get("/word")
    def word(q: Text) -> Response:
        opened = shelf.dictionary()
        if opened.queries.spelled(q) is None:
            near = {"suggestions": opened.suggestions(q), "tokens": opened.tokens_that_read(q)}
            return refused(str(opened.queries.unknown(q)), 404, q, **near)
        is_read = shelf.head().is_done(PATIENCE_SECONDS)
        found = read_word(opened, q, with_nearest=opened.rows.fits, with_head=is_read)
        return show("word", word=found, head_note=head_note(opened) if is_read else "")

    @app.get("/token")
    def token(id: Number) -> Response:
        opened = shelf.dictionary()
        is_read = shelf.head().is_done(PATIENCE_SECONDS)
        found: Senses = read_token(opened, id, with_head=is_read)
        if opened.rows.fits:
            add_nearest(opened, found.senses)
        return show("token", token=found, head_note=head_note(opened) if is_read else "")

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
        job = shelf.index() if opened.rows.wants_index else None
        if job and not job.is_done(PATIENCE_SECONDS):
            return show("nearest", job=job, found={}, is_likely=True)
        found = nearest_senses(opened, row, index=job.result() if job else None)
        by_row = dict(zip(row, found, strict=True))
        return show("nearest", job=None, found=by_row, is_likely=job is not None)

    @app.get("/said")
    def said(row: Rows) -> Response:
        opened, job = shelf.dictionary(), shelf.head()
        for one in row:
            opened.owner(one)  # refuses a row that is not there
        if not job.is_done(PATIENCE_SECONDS):
            return show("said", job=job, found={})
        found = dict(zip(row, read_top_tokens(opened, row), strict=True))
        return show("said", job=None, found=found, head_note=head_note(opened))

    @app.get("/odd")
    def odd(page: Page = 1) -> Response:
        return show("odd", here="odd", **odd_content(shelf.dictionary(), shelf.odd_ones(), page))


def _add_pairs(app: FastAPI, shelf: Shelf, show: Show) -> None:
    """Add the page of a pair, the contradicted pairs and the two files of them."""

    @app.get("/pair")
    def pair(a: Text, b: Text) -> Response:
        return show("pair", **pair_content(shelf.dictionary(), a, b))

    @app.get("/contradictions")
    def contradicted(page: Page = 1) -> Response:
        content = contradictions_content(shelf.contradictions(), page)
        return show("contradictions", here="contradictions", **content)

    def picked(pick: list[str], page: int) -> list[tuple[str, str, str]]:
        rows = [tuple(value.split("\t")) for value in dict.fromkeys(pick)]
        if not rows and page:
            job = shelf.contradictions()
            job.wait()
            shown = contradictions_content(job, page)["shown"]
            rows = [(row.word, row.synonym, "synonym") for row in shown]
        if not rows:
            raise DataError("Nothing is ticked; go back, and tick the pairs that are wrong.")
        return [
            (row[0], row[1], row[2])
            for row in rows
            if len(row) == 3 and not any("\n" in field for field in row)
        ]

    def as_file(name: str, text: str) -> Response:
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="text/tab-separated-values", headers=disposition)

    @app.get("/exclude.tsv")
    def exclude_list(pick: Picks = None, page: Number = 0) -> Response:
        lines = [*shelf.dictionary().exclusions(), *picked(pick or [], page)]
        return as_file("exclude.tsv", exclude_lines(dict.fromkeys(lines)))

    @app.get("/pairs.tsv")
    def pair_file(pick: Picks = None, page: Number = 0) -> Response:
        pairs = picked(pick or [], page)
        return as_file("pairs.tsv", pair_lines(pairs, weights(shelf.dictionary(), pairs)))


def _add_map(app: FastAPI, shelf: Shelf, show: Show) -> None:
    """Add the map, and how far work in the background is."""

    @app.get("/map")
    def page(q: Text = "", method: Literal["pca", "tsne"] = "pca") -> Response:
        place = shelf.tsne if method == "tsne" else None
        return show("map", here="map", **map_content(shelf.dictionary(), q, place))

    @app.get("/progress")
    def progress(job: Text) -> Response:
        found = shelf.job(job)
        return JSONResponse(found.as_json() if found else {"state": "unknown"})


def _add_comparison(app: FastAPI, shelf: Shelf, show: Show) -> None:
    """Add the comparison of two dictionaries, and what training did."""

    @app.get("/compare")
    def page(
        before: Text = "", after: Text = "", word: Text = "", token: Number | None = None
    ) -> Response:
        from dskd_core.explorer.comparison import Compared

        chosen = Compared(shelf, before, after)
        return show("compare", here="compare", **chosen.content(word, token))

    @app.get("/changes")
    def changes(before: Text, after: Text, kind: Text, page: Page = 1) -> Response:
        from dskd_core.explorer.comparison import Compared

        chosen = Compared(shelf, before, after)
        return show("changes", here="compare", **chosen.changes(kind, page))

    @app.get("/training")
    def training(
        run: Literal["", "yes"] = "",
        baseline: Text = "",
        arm: Text = "",
        among: Literal["", "antonyms"] = "",
    ) -> Response:
        from dskd_core.explorer.training import Choice, Training

        works = (shelf.states, shelf.before_training) if run else ()
        choice = Choice(baseline, arm, among)
        head = shelf.head()  # with the tokenizer, which is read before any text is shown
        if not head.is_done(PATIENCE_SECONDS):
            return show("training", here="training", training=Training(), job=head, reads=True)
        content = training_content(shelf.dictionary(), *works, choice=choice)
        return show("training", here="training", **content)


def _results(opened: OpenDictionary, q: str) -> dict[str, Any]:
    results = opened.search(q)
    return {"q": q, "results": results, "suggestions": [] if results else opened.suggestions(q)}
