import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dskd_core.explorer.app import make_app
from dskd_core.explorer.shelf import Shelf
from tests.miniature import Built, make


@pytest.fixture(scope="session")
def explored(tmp_path_factory) -> Built:
    """A miniature with two dictionaries, the second without a struck-out pair, and two students."""
    folder = tmp_path_factory.mktemp("explored")
    config = make(folder, embeddings={"key": "next"})
    with (folder / "pairs.csv").open("a") as pairs:
        pairs.write("light,river water,synonym\n")
    first = Built(config)
    first.dictionary()
    excluded = folder / "exclude.tsv"
    excluded.write_text("word_a\tword_b\trelation\nHeavy\tlight\tantonym\nkind\tfriendly\n")
    lexicon = first.config.lexicon.model_copy(update={"exclude_uri": str(excluded)})
    built = Built(first.config.model_copy(update={"lexicon": lexicon}))
    for arm in ("kd", "paper"):
        built.scores(built.student(arm))
    return built


@pytest.fixture(scope="session")
def client(explored) -> Iterator[TestClient]:
    with contextlib.closing(Shelf(explored.config.root_uri)) as shelf:
        shelf.head().wait()
        yield TestClient(make_app(shelf), base_url="http://127.0.0.1")


@pytest.fixture(scope="session")
def settled() -> Callable[[TestClient, str], str]:
    """Ask for a page again until what it computes in the background is on it."""

    def ask(client: TestClient, path: str) -> str:
        for _ in range(600):
            page = client.get(path).text
            if "data-job" not in page:
                return page
            time.sleep(0.2)
        raise AssertionError(f"{path} is not ready after two minutes")

    return ask


@pytest.fixture
def client_of() -> Iterator[Callable[..., TestClient]]:
    with contextlib.ExitStack() as stack:

        def open_root(root: Path | str, **options: int) -> TestClient:
            shelf = stack.enter_context(contextlib.closing(Shelf(str(root), **options)))
            return TestClient(make_app(shelf), base_url="http://127.0.0.1")

        yield open_root
