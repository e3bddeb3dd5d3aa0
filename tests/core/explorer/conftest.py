from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dskd_core.explorer.app import Shelf, make_app
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
    lexicon = first.config.lexicon.model_copy(update={"exclude": str(excluded)})
    built = Built(first.config.model_copy(update={"lexicon": lexicon}))
    for arm in ("kd", "dskd"):
        built.scores(built.student(arm))
    return built


@pytest.fixture(scope="session")
def client(explored) -> TestClient:
    return TestClient(make_app(Shelf(explored.config.root_uri)), base_url="http://127.0.0.1")


@pytest.fixture
def client_of():
    def open_root(root: Path) -> TestClient:
        return TestClient(make_app(Shelf(str(root))), base_url="http://127.0.0.1")

    return open_root
