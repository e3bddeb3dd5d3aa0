import pytest

from tests.miniature import Built, make


@pytest.fixture(scope="session")
def nexted(tmp_path_factory) -> Built:
    """A miniature filed under the next token.

    So its sample is known beforehand, and every word of the text has senses.
    """
    return Built(make(tmp_path_factory.mktemp("next"), embeddings={"key": "next"}))
