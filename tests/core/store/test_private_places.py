"""Places of credentials: refused in whatever root they lie."""

import pytest

from dskd_core.config import CorpusConfig
from dskd_core.corpus.readers import read_documents, source_files
from dskd_core.errors import ConfigError
from dskd_core.store.access import check_readable, check_source, check_writable
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.store.private_places import kept_in

REFUSED = "no setting may name it: give a place that holds artifacts or data alone"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root that an operator drew too wide: homes, caches and credentials lie in it."""
    monkeypatch.setenv("DSKD_ROOTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PREFECT_HOME", "HF_HOME", "XDG_CACHE_HOME", "DSKD_PRIVATE", "DSKD_READ_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def written(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("secret words\n")
    return path


NAMES = [
    *(".env", ".env.production", "prod.env", ".netrc", ".pgpass", ".git-credentials", ".pypirc"),
    *(".aws/credentials", ".ssh/config", ".ssh/id_rsa", "keys/id_rsa", "keys/id_ed25519.pub"),
    *(".kube/config", ".docker/config.json", ".config/gcloud/credentials.db", "tls/server.pem"),
    *(".git/config", "profiles.toml", "old/prefect.db", "old/prefect.db-wal", "TLS/SERVER.PEM"),
    *("caches/huggingface/token", "anywhere/stored_tokens", ".prefect/profiles.toml"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_credentials_is_no_corpus_wherever_it_lies(root, monkeypatch, name):
    path = written(root / "deep/below" / name)
    for _ in range(2):
        with pytest.raises(ConfigError, match=REFUSED) as told:
            list(read_documents(CorpusConfig(source=str(path), format="text")))
        assert repr(str(path)) in str(told.value)
        for check in (check_readable, check_writable, check_source):
            with pytest.raises(ConfigError, match=REFUSED):
                check(str(path))
        monkeypatch.delenv("DSKD_ROOTS", raising=False)  # and where no line is drawn


@pytest.mark.parametrize("name", [".env", ".aws/credentials", "server.pem", ".ssh/id_rsa"])
def test_a_link_to_credentials_and_a_link_named_as_they_are_are_refused(root, name):
    path = written(root / name)
    (root / "innocent.txt").symlink_to(path)
    (root / "folder").symlink_to(path.parent)
    for place in (root / "innocent.txt", root / "folder" / path.name):
        with pytest.raises(ConfigError, match=REFUSED):
            check_readable(str(place))
    other = written(root / "other.txt")
    (root / ".netrc").symlink_to(other)
    with pytest.raises(ConfigError, match=REFUSED):
        check_readable(str(root / ".netrc"))
    check_readable(str(other))


def test_a_folder_with_credentials_among_its_files_is_no_corpus(root):
    written(root / "data/a.txt")
    assert list(source_files(str(root / "data"))) == ["a.txt"]
    written(root / "data/server.pem")
    with pytest.raises(ConfigError, match=r"server\.pem.*" + REFUSED):
        source_files(str(root / "data"))


@pytest.mark.parametrize("set_to", ["elsewhere/of-prefect", None])
def test_prefects_home_is_refused_and_so_is_any_folder_with_its_database(root, monkeypatch, set_to):
    home = root / (set_to or "home/.prefect")
    if set_to:
        (root / "link").symlink_to(home)
        monkeypatch.setenv("PREFECT_HOME", str(root / "link"))
    for place in (home, written(home / "storage/result.json")):
        with pytest.raises(ConfigError, match="[Pp]refect.*" + REFUSED):
            check_readable(str(place))
    written(root / "work/prefect/prefect.db")  # of before, or of another server
    with pytest.raises(ConfigError, match="home of Prefect's.*" + REFUSED):
        check_readable(str(written(root / "work/prefect/storage/a.txt")))
    with pytest.raises(ConfigError, match=REFUSED):
        ArtifactStore(str(home / "artifacts"))
    check_readable(str(written(root / "work/artifacts/a.txt")))


@pytest.mark.parametrize("set_to", ["hub-home", None])
def test_of_the_hubs_home_only_files_of_models_and_data_sets_may_be_read(root, monkeypatch, set_to):
    home = root / (set_to or "home/.cache/huggingface")
    if set_to:
        monkeypatch.setenv("HF_HOME", str(home))
    blob = written(home / "hub/models--owner--model/blobs/0f3a")
    snapshot = home / "hub/models--owner--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to(blob)
    for place in (blob, snapshot, snapshot / "config.json"):
        check_readable(str(place))
    for name in ("token", "stored_tokens", "hub", "modules/m.py", "hub/models--o--m/refs/main"):
        with pytest.raises(ConfigError, match=REFUSED):
            check_readable(str(written(home / name) if name != "hub" else home / name))


def test_what_the_environment_names_as_private_is_refused(root, monkeypatch):
    monkeypatch.setenv("DSKD_PRIVATE", f"{root}/serve, {root}/notes")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(root / "aws.txt"))
    monkeypatch.setenv("KUBECONFIG", f"{root}/a.yaml:{root}/b.yaml")
    for name in ("serve/server.log", "notes", "aws.txt", "a.yaml", "b.yaml"):
        with pytest.raises(ConfigError, match=REFUSED):
            check_readable(str(written(root / name)))
    check_readable(str(written(root / "served.txt")))


@pytest.mark.parametrize(
    "place",
    [
        "/proc/self/environ",
        "/proc/self/root/etc/hostname",
        "/sys/class",
        "/run/secrets/password",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "/etc/shadow",
    ],
)
def test_the_systems_own_places_are_refused_even_below_a_root(root, monkeypatch, place):
    monkeypatch.setenv("DSKD_ROOTS", "/")
    (root / "link").symlink_to(place)
    for name in (place, str(root / "link")):
        with pytest.raises(ConfigError, match=REFUSED):
            check_readable(name)


@pytest.mark.parametrize(
    "place",
    [
        "/data/environment.txt",
        "/data/tokens.txt",
        "/data/token",
        "/data/id.tsv",
        "/data/model/.git",
        "/data/all.gold.key.txt",
        "/data/prefect",
        "/data/process/sys/a.txt",
        "/dev/shm/artifacts",
        "s3://bucket/prefix/senses.zarr",
    ],
)
def test_names_that_only_resemble_them_are_no_credentials(root, place):
    assert kept_in(place) is None


def test_credentials_in_an_object_store_are_refused_by_name(root, monkeypatch):
    monkeypatch.setenv("DSKD_ROOTS", "s3://bucket")
    with pytest.raises(ConfigError, match=REFUSED):
        check_readable("s3://bucket/prefix/.env")
