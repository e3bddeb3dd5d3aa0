import pytest

from tests.miniature import Built, make


@pytest.fixture(scope="session")
def nexted(tmp_path_factory) -> Built:
    """A miniature filed under the next token, of which nothing stands before it is planned."""
    return Built(make(tmp_path_factory.mktemp("planned"), embeddings={"key": "next"}))
