"""Where this process may read and write, where whoever started it drew a line.

    DSKD_ROOTS        folders and s3:// prefixes it may read and write
    DSKD_READ_ROOTS   others it may read
    DSKD_PUSH_TO      hub repositories it may push students and dictionaries to
    DSKD_REMOTE_CODE  teachers whose own Python code it may run

Each is a list, parted by commas or line ends. They are the environment's alone: whoever starts a
run chooses parameters and can neither set nor widen them. Where neither of the first two is set, as
in a run started by hand, every place may be used that its user may use; where one is set, even
empty, nothing else may. What no setting may name in any process: a scheme other than s3, a chain of
file systems (``::``), credentials, control characters, and parts such as ``..`` in an s3:// prefix.

A local place is judged by where it leads, after ``~``, ``..`` and links. Where credentials lie
(private_places.py), nothing may be read or written in any process, whatever the roots say.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dskd_core.config import PipelineConfig
from dskd_core.config.settings import Settings
from dskd_core.errors import ConfigError
from dskd_core.store import private_places

ROOTS = "DSKD_ROOTS"
READ_ROOTS = "DSKD_READ_ROOTS"
PUSH_TO = "DSKD_PUSH_TO"
REMOTE_CODE = "DSKD_REMOTE_CODE"

SAMPLE = "sample:"
DATASET = "hf:"
_S3 = "s3://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?!\.))*")
_PART = re.compile(r"(?!\.{1,2}$)[\w.=+ -]*[\w=+-]")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"(?!.*\.\.)[\w.][\w./-]*")
_MAX_LINKS = 40


def is_restricted() -> bool:
    """Say whether a line is drawn."""
    return ROOTS in os.environ or READ_ROOTS in os.environ


def place_of(uri: str) -> str:
    """Return where ``uri`` leads: an absolute path without links, or an ``s3://`` prefix.

    >>> place_of("s3://bucket/root/")
    's3://bucket/root'

    Raises:
        ConfigError: if no setting may name such a place; credentials in it are not repeated.
    """
    if "://" in uri and "@" in uri:
        raise ConfigError(
            "A place carries credentials before an '@'; take them out, change them, since they "
            "may be in a log by now, and give them in the environment (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY)."
        )
    if uri.startswith(_S3):
        return _prefix(uri)
    if _CONTROL.search(uri) or not uri:
        raise ConfigError(f"{uri!r} is no place; give a path without control characters.")
    if "::" in uri or "://" in uri or _SCHEME.match(uri) or _DRIVE.match(uri):
        scheme = uri.partition(":")[0]
        raise ConfigError(f"{uri!r} has the scheme {scheme!r}; give a folder or an s3:// prefix.")
    try:
        return str(Path(uri).expanduser().resolve())
    except (RuntimeError, OSError) as error:  # no such user, a loop of links, a name too long
        raise ConfigError(f"{uri!r} leads nowhere ({error}); correct the path.") from error


def check_readable(uri: str, what: str = "") -> str:
    """Return the place ``uri`` leads to, if this process may read there.

    ``what`` names the setting it comes from in the message.

    Raises:
        ConfigError: if it may not; the message says where it may.
    """
    return _check(uri, what, "read", (ROOTS, READ_ROOTS))


def check_writable(uri: str, what: str = "") -> str:
    """Return the place ``uri`` leads to, if this process may write there.

    Raises:
        ConfigError: if it may not; the message says where it may.
    """
    return _check(uri, what, "write", (ROOTS,))


def check_source(source: str, what: str = "") -> None:
    """Check what a setting reads from: a place, a sample, or a name on the hub.

    ``hf:NAME`` is one on the hub whatever is here. A name such as ``owner/model`` is one on the hub
    only where no such path is here.

    Raises:
        ConfigError: if it is a place that may not be read, or no name.
    """
    if source.startswith(SAMPLE):
        return
    if source.startswith(DATASET):
        name, _, revision = source.removeprefix(DATASET).partition("@")
        if not _HUB_NAME.fullmatch(name) or (revision and not _REVISION.fullmatch(revision)):
            raise ConfigError(
                f"{what or 'The source'} {source!r} names no dataset of the hub; give "
                f"{DATASET}NAME, {DATASET}OWNER/NAME or, for files, their path."
            )
        return
    if _HUB_NAME.fullmatch(source) and not os.path.lexists(source):
        return
    check_readable(source, what)


def check_revision(revision: str | None, what: str = "teacher.revision") -> None:
    """Check the name of a branch, a tag or a commit: it becomes part of a path in the hub's cache.

    Raises:
        ConfigError: if it could climb out of that.
    """
    if revision is not None and not _REVISION.fullmatch(revision):
        raise ConfigError(
            f"{what} {revision!r} is no name of a revision; give a branch, tag or commit."
        )


def check_code(source: str) -> None:
    """Check that the Python code of a teacher, a folder or a hub id, may run here.

    Raises:
        ConfigError: if a line is drawn and nobody named this teacher.
    """
    if is_restricted() and _named(source) not in map(_named, _listed(REMOTE_CODE)):
        raise ConfigError(
            f"teacher.trust_remote_code would run code of {source!r} on this worker; leave it off, "
            f"or have the worker's operator read that code and name {source} in {REMOTE_CODE}."
        )


def check_push(repository: str, what: str = "training.hub_repository") -> None:
    """Check that students and dictionaries may be pushed to a hub repository from here.

    Raises:
        ConfigError: if a line is drawn and nobody named this repository.
    """
    if is_restricted() and repository not in _listed(PUSH_TO):
        raise ConfigError(
            f"{what} {repository!r} is none this worker may push to; leave it "
            f"empty, or have the worker's operator name it in {PUSH_TO}."
        )


def check_settings(config: PipelineConfig) -> None:
    """Check every place, name and permission of a configuration before any work starts.

    Raises:
        ConfigError: at the first one this process may not use.
    """
    check_writable(config.root_uri, "root_uri")
    for name, source in sources_of(config):
        check_source(source, name)
    check_revision(config.teacher.revision)
    if config.teacher.trust_remote_code:
        check_code(config.teacher.source)
    if config.training.hub_repository:
        check_push(config.training.hub_repository)


def sources_of(settings: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting that says where something is read from: ``source``, ``uri``, ``*_uri``.

    >>> dict(sources_of(PipelineConfig()))["corpus.source"]
    'sample:enwiki-206'
    """
    if isinstance(settings, Settings):
        for field in type(settings).model_fields:
            yield from sources_of(getattr(settings, field), f"{name}.{field}".lstrip("."))
    elif isinstance(settings, tuple | list):
        for index, member in enumerate(settings):
            yield from sources_of(member, f"{name}[{index}]")
    elif isinstance(settings, str) and name != "root_uri":
        field = name.rpartition(".")[2]
        if field in {"source", "uri"} or field.endswith("_uri"):
            yield name, settings


def _check(uri: str, what: str, verb: str, variables: tuple[str, ...]) -> str:
    place = place_of(uri)
    named = f"{what + ' ' if what else ''}{uri!r}"
    roots = [place_of(root) for variable in variables for root in _listed(variable)]
    if not is_restricted() or any(_is_within(place, root) for root in roots):
        _refuse_credentials(uri, place, named)
        return place
    leads = f" leads to {place} and" if place != uri.rstrip("/") else ""
    raise ConfigError(
        f"{named}{leads} is none of the places this worker may {verb} "
        f"({', '.join(roots) or 'there are none'}); give one below these, or have the worker's "
        f"operator add it to {' or '.join(variables)}."
    )


def _refuse_credentials(uri: str, place: str, named: str) -> None:
    """Refuse a place that is or lies where credentials do, or leads there or through there."""
    ways = [] if uri.startswith(_S3) else _ways(Path(uri).expanduser().absolute())
    for way in dict.fromkeys((place, *ways)):
        if kept_in := private_places.kept_in(way):
            raise ConfigError(
                f"{named} is or lies in {kept_in}; no setting may name it: give a place that holds "
                "artifacts or data alone."
            )


def _ways(path: Path) -> Iterator[str]:
    """Yield a path and, link by link, what it becomes on its way to where it leads.

    Links in /proc lead elsewhere than they say, so what is passed counts, too.
    """
    path = Path(os.path.normpath(path))
    yield str(path)
    if str(path) == os.path.realpath(path):
        return
    for _ in range(_MAX_LINKS):
        link = next((part for part in (*reversed(path.parents), path) if part.is_symlink()), None)
        if link is None:
            return
        target = link.parent / link.readlink() / path.relative_to(link)
        path = Path(os.path.normpath(target))
        yield str(path)


def _named(source: str) -> str:
    return place_of(source) if os.path.lexists(source) else source


def _is_within(place: str, root: str) -> bool:
    return place == root or place.startswith(f"{root.rstrip('/')}/")


def _prefix(uri: str) -> str:
    bucket, *parts = uri.removeprefix(_S3).rstrip("/").split("/")
    if ":" in bucket or not _BUCKET.fullmatch(bucket) or bucket.endswith("."):
        raise ConfigError(f"{uri!r} names no bucket; give s3://BUCKET/PREFIX.")
    for part in parts:
        if not _PART.fullmatch(part):
            raise ConfigError(
                f"{uri!r} has the part {part!r}; use letters, digits, dots, dashes, underscores, "
                "spaces, '=' and '+', without . or .. or a dot at the end."
            )
    return f"{_S3}{'/'.join((bucket, *parts))}"


def _listed(variable: str) -> list[str]:
    items = re.split(r"[,\n]", os.environ.get(variable, ""))
    return [item.strip() for item in items if item.strip()]
