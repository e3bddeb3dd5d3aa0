"""What every answer says, and who is answered: a browser on this machine, at our own pages."""

from starlette.requests import Request

from dskd_core.explorer.pages import SECURITY

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": f"{SECURITY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_from_elsewhere(request: Request) -> bool:
    """Say whether a browser says that a page of another site, or port, asks for this."""
    if request.headers.get("sec-fetch-site", "none") in {"none", "same-origin"}:
        return False
    is_link = request.headers.get("sec-fetch-mode") == "navigate"
    return not (is_link and request.url.path == "/" and not request.url.query)
