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

_WITHOUT_PACKAGE = "install that package, or take another model"


def cure_of(error: BaseException, cure: str, *, without_package: str = _WITHOUT_PACKAGE) -> str:
    """Return what ends the sentence: no copy of a model brings a package that is not installed.

    >>> cure_of(ImportError("needs mamba_ssm"), "copy it again")
    'install that package, or take another model'
    """
    return without_package if isinstance(error, ImportError) else cure


@contextmanager
def faults_told(
    what: str | Path,
    kind: type[DskdError],
    *,
    verb: str = "read",
    cure: str = "copy it again",
    without_package: str = _WITHOUT_PACKAGE,
) -> Iterator[None]:
    """Raise what a library finds wrong with a model as a refusal.

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
        is_panic = type(error).__name__ == "PanicException"
        is_of_tokenizers = is_panic or type(error) is Exception
        is_fault = isinstance(error, (*CONFIG_FAULTS, OSError))
        if not (is_of_tokenizers or is_fault) or says_no_memory(str(error)):
            raise
        said = " ".join(str(error).split())
        end = cure_of(error, cure, without_package=without_package)
        raise kind(f"{what} cannot be {verb} ({shown(said)}); {end}.") from (
            None if is_panic else error
        )
