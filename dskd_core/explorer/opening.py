"""The first page, before there is anything to show: imports take seconds, a page must not.

Nothing heavy is imported here. Until the explorer is made, the first page says that the dictionary
is being opened and looks again by itself; every other page waits.
"""

import asyncio
import threading
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dskd_core.explorer.guards import HEADERS, HOSTS
from dskd_core.explorer.jobs import Job
from dskd_core.explorer.pages import SCRIPT, STYLE, Pages, ServerLinks


class LateApp:
    """An application that is still being made.

    Attributes:
        thread: makes it; a daemon, begun at once.
    """

    def __init__(self, make: Callable[[], ASGIApp], afterwards: Callable[[], None]) -> None:
        """Begin to make it.

        Args:
            make: returns it.
            afterwards: called in the same thread once it answers.
        """
        self._job = Job("opening")
        self._first = _first_page(self._job)
        self._make, self._afterwards = make, afterwards
        self._job.future.set_running_or_notify_cancel()  # no page that goes away cancels it
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the application; what the first page needs is answered before it is made."""
        is_early = scope["path"] in _EARLY and not self._job.is_done()
        app = self._first if is_early else await asyncio.wrap_future(self._job.future)
        await app(scope, receive, send)

    def _run(self) -> None:
        try:
            self._job.future.set_result(self._make())
        except BaseException as error:
            self._job.future.set_exception(error)
            raise
        self._afterwards()


_EARLY = ("/", "/progress", f"/{SCRIPT}", f"/{STYLE}")


def _first_page(job: Job) -> ASGIApp:
    pages = Pages(ServerLinks())

    def first(request: Request) -> Response:
        q = request.query_params.get("q", "")
        return HTMLResponse(
            pages.render("opening", here="", about=None, job=job, q=q), headers=HEADERS
        )

    def progress(request: Request) -> Response:
        return JSONResponse(job.as_json(), headers=HEADERS)

    def script(request: Request) -> Response:
        return Response(pages.read(SCRIPT), media_type="text/javascript", headers=HEADERS)

    def style(request: Request) -> Response:
        return Response(pages.read(STYLE), media_type="text/css", headers=HEADERS)

    answers = (first, progress, script, style)
    return Starlette(
        routes=[Route(path, answer) for path, answer in zip(_EARLY, answers, strict=True)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
        ],
    )
