"""What transformers and tokenizers raise of a model that contradicts itself, as a refusal.

A tokenizer's own library is written in Rust. Where it gives up, as its expressions do on a text
that they would take for ever to match, it raises what is no ``Exception``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

from dskd_core.errors import DskdError, says_no_memory, shown

CONFIG_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""What transformers raises of a configuration that contradicts itself."""


@contextmanager
def faults_told(
    what: str | Path, kind: type[DskdError], *, verb: str = "read", cure: str = "copy it again"
) -> Iterator[None]:
    """Raise what a library finds wrong with a model as a refusal.

    Args:
        what: the model's file or folder, or its tokenizer.
        kind: of the refusal.
        verb: what could not be done.
        cure: ends the sentence.

    Raises:
        DskdError: of that kind.
    """
    try:
        yield
    except (DskdError, MemoryError, OSError, ImportError):
        raise
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        is_fault = isinstance(error, CONFIG_FAULTS) or type(error) is Exception  # of tokenizers
        if not (is_panic or is_fault) or says_no_memory(str(error)):
            raise
        said = " ".join(str(error).split())
        raise kind(f"{what} cannot be {verb} ({shown(said)}); {cure}.") from (
            None if is_panic else error
        )
