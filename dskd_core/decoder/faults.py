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
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""What transformers raises of a configuration that contradicts itself, or that asks for a package
that is not here."""


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
    except (DskdError, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's failure; transformers' own has no number
        if isinstance(error, ImportError):
            cure = "install it, or save the tokenizer as tokenizer.json, or take another model"
        is_panic = type(error).__name__ == "PanicException"
        is_of_tokenizers = is_panic or type(error) is Exception
        is_fault = isinstance(error, (*CONFIG_FAULTS, OSError))
        if not (is_of_tokenizers or is_fault) or says_no_memory(str(error)):
            raise
        said = " ".join(str(error).split())
        raise kind(f"{what} cannot be {verb} ({shown(said)}); {cure}.") from (
            None if is_panic else error
        )
