import pickle

import pytest

from dskd_core import errors

CASES = [
    (errors.ConfigError, ValueError),
    (errors.DataError, ValueError),
    (errors.ArtifactError, LookupError),
    (errors.CapacityError, MemoryError),
]


@pytest.mark.parametrize(("refusal", "builtin"), CASES)
def test_a_refusal_is_also_a_builtin_and_survives_pickling(refusal, builtin):
    error = refusal("window_tokens 3 is too small; raise it.")
    assert isinstance(error, builtin)
    assert isinstance(error, errors.DskdError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is refusal
    assert str(again) == str(error)
