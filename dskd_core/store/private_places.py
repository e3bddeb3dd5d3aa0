"""Where credentials lie: no setting may name such a place, in whatever root it is.

Roots hold artifacts and data. If one also holds Prefect's database, a token of the hub or a private
key, because an operator drew it too wide, whoever starts a run could have that read as a corpus and
find it in the artifact. So these are refused by their names, in any folder, and by what the
environment says of this process's own.

    PREFECT_HOME    (~/.prefect)               and any other folder with a prefect.db in it
    HF_HOME         (~/.cache/huggingface)     but the files of models and data sets in its cache
    DSKD_PRIVATE    further folders and files, parted by commas or line ends
"""

import os
import re
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

PRIVATE = "DSKD_PRIVATE"

_FOLDERS = frozenset(
    (".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".kaggle", ".prefect")
)
_FOLDERS_OF_CONFIG = frozenset(("gcloud", "gh", "rclone", "op"))
_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", "pgpass.conf"),
    *(".my.cnf", ".mylogin.cnf", ".git-credentials", ".pypirc", ".npmrc", ".boto", ".s3cfg"),
    *(".passwd-s3fs", ".htpasswd", ".dockercfg", ".vault-token", ".condarc"),
    *("*.pem", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "ssh_host_*_key", "kubeconfig"),
    *("application_default_credentials.json", "stored_tokens"),
    *("prefect.db*", "profiles.toml", "memo_store.toml"),
)
_FILE = re.compile("|".join(map(translate, _FILES)))
_PAIRS = (("huggingface", "token"), (".huggingface", "token"), (".cargo", "credentials.toml"))
_SYSTEM = (
    *("/proc", "/sys", "/run/secrets", "/var/run/secrets", "/run/credentials"),
    *("/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/ssl/private", "/etc/kubernetes"),
    "/var/lib/kubelet",
)
_NAMED_BY = (
    *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "NETRC"),
    *("PGPASSFILE", "KUBECONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "DOCKER_CONFIG"),
    *("HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH", "PREFECT_PROFILES_PATH"),
)
_CACHED = re.compile(r"hub/[^/]+/(snapshots|blobs)/.+")
_DATABASE = "prefect.db"


def kept_in(place: str) -> str | None:
    """Say which place of credentials a place is or lies in; None if in none.

    It is judged by its name alone, upper case or lower, and by where the environment says that
    credentials lie: no file is opened, and links are the caller's to follow. The place is an
    absolute path without ``..``, or an ``s3://`` prefix.

    >>> kept_in("/data/shop/.env"), kept_in("/data/shop/environment.txt")
    ("'.env', a file of credentials", None)
    """
    if said := _by_name(place):
        return said
    if not place.startswith("/"):
        return None
    for folder in _SYSTEM:
        if _within(place, folder):
            return f"{folder}, which belongs to the system"
    return _by_environment(place)


@lru_cache(maxsize=1 << 12)
def _by_name(place: str) -> str | None:
    parts = [part.casefold() for part in place.split("/") if part]
    for above, part in zip(["", *parts], parts, strict=False):
        if part in _FOLDERS or (above == ".config" and part in _FOLDERS_OF_CONFIG):
            return f"{part!r}, a folder of credentials"
        if above == ".git":
            return "'.git', whose settings may hold credentials"
        if (above, part) in _PAIRS or _FILE.match(part):
            return f"{part!r}, a file of credentials"
    return None


def _by_environment(place: str) -> str | None:
    home = _path(os.environ.get("PREFECT_HOME") or "~/.prefect")
    if _within(place, home):
        return f"{home}, Prefect's home (PREFECT_HOME)"
    folder = place
    while folder:
        if os.path.lexists(f"{folder}/{_DATABASE}"):
            return f"{folder}, a home of Prefect's with its database"
        folder = folder.rpartition("/")[0]
    hub = _path(os.environ.get("HF_HOME") or f"{_caches()}/huggingface")
    if _within(place, hub) and not _CACHED.fullmatch(place[len(hub) :].lstrip("/")):
        return f"{hub}, where the hub's tokens lie (HF_HOME)"
    for variable, private in _named():
        if _within(place, private):
            return f"{private}, which {variable} keeps private"
    return None


def _named() -> Iterator[tuple[str, str]]:
    for variable in _NAMED_BY:
        if value := os.environ.get(variable):
            yield from ((variable, _path(name)) for name in value.split(os.pathsep) if name)
    for name in re.split(r"[,\n]", os.environ.get(PRIVATE, "")):
        if name.strip():
            yield PRIVATE, _path(name.strip())


def _caches() -> str:
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


def _path(name: str) -> str:
    return _resolved(name, os.environ.get("HOME"), Path.cwd())


@lru_cache(maxsize=64)  # asked before every file
def _resolved(name: str, _home: str | None, _working_folder: Path) -> str:
    return str(Path(os.path.expandvars(name)).expanduser().resolve())


def _within(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder.rstrip('/')}/")
