"""Pages as HTML. All text on them is foreign: Jinja2 escapes it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from dskd_core.evaluation.report import labels
from dskd_core.html import templates_of

if TYPE_CHECKING:
    from dskd_core.explorer.opened import Owner

SECURITY = (
    "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'"
)
SCRIPT, STYLE = "explorer.js", "explorer.css"


class Links(Protocol):
    """Where pages stand; None for a page that is not there."""

    @property
    def is_static(self) -> bool:
        """Whether nothing answers: no search, no forms."""

    def to(self, name: str, /, **parameters: Any) -> str | None:
        """Return the address of a page: home, word, token, pair, map, ..., or of a file."""


class ServerLinks:
    """Addresses of a server's pages: words travel as parameters, never as paths."""

    is_static = False

    def to(self, name: str, /, **parameters: Any) -> str:
        """Return the address of a page or file."""
        path = "/" if name == "home" else f"/{name}"
        return f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path


class Pages:
    """Renders the templates of this room.

    Args:
        links: where pages stand.
        about: said of the dictionary in every page's foot.
    """

    def __init__(self, links: Links) -> None:
        environment = templates_of("dskd_core.explorer")
        environment.filters |= {"count": count, "percent": percent, "number": number}
        environment.filters |= {"visible": visible, "counted": labels.count}
        environment.globals |= {"links": links, "security": SECURITY, "owner_link": _owner(links)}
        self._environment = environment

    def render(self, name: str, **content: Any) -> str:
        """Return a page as HTML."""
        return self._environment.get_template(f"{name}.html.j2").render(**content)

    def read(self, name: str) -> str:
        """Return the script or the style as it is."""
        loader = self._environment.loader
        return loader.get_source(self._environment, name)[0]  # type: ignore[union-attr]


def _owner(links: Links) -> Callable[["Owner", int], str | None]:
    def link(owner: "Owner", row: int) -> str | None:
        page = (
            links.to("word", q=owner.word)
            if owner.word is not None
            else links.to("token", id=owner.token_id)
        )
        return f"{page}#row-{row}" if page and row >= 0 else page

    return link


def count(value: float) -> str:
    """Write a count with commas.

    >>> count(12345)
    '12,345'
    """
    return f"{int(value):,}"


def percent(share: float) -> str:
    """Write a share; what is not nothing is not written as 0.

    >>> percent(0.256), percent(0.0001), percent(0)
    ('26 %', '< 1 %', '0 %')
    """
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def number(value: float) -> str:
    """Write a distance in three digits, zeros too, so that they stand below one another.

    >>> number(3.14159), number(0.00123), number(2.8), number(0), number(128.4)
    ('3.14', '0.00123', '2.80', '0', '128')
    """
    return f"{value:#.3g}".removesuffix(".") if value else "0"


def visible(text: str) -> str:
    r"""Write line ends and tabs as signs, and spaces where there is nothing else: an empty box.

    >>> visible("\n\n"), visible(" light"), visible("  ")
    ('↵↵', ' light', '␣␣')
    """
    text = text if text.strip(" ") else text.replace(" ", "␣")
    return text.translate({ord("\n"): "↵", ord("\r"): "␍", ord("\t"): "⇥"})
