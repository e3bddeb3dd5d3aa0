import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dskd_core.config import CorpusConfig
from dskd_core.corpus import hub
from dskd_core.corpus.readers import read_documents, source_fingerprint
from dskd_core.errors import ConfigError, DataError
from tests.core.corpus.fake_hub import COMMIT, FakeHub

ROW = b'{"text": "from the hub"}\n'
OUTSIDE = [
    "http://127.0.0.1:9/x.jsonl",
    " http://127.0.0.1:9/x.jsonl",
    "https://huggingface.co/datasets/c/d/resolve/main/x.jsonl",
    "hf://datasets/c/d/x.jsonl",
    "file:///etc/passwd",
    "/etc/*",
    "../../c/d/*",
    "data/../../x",
    "x.jsonl::http://127.0.0.1:9/x.jsonl",
    "zip://x.jsonl::http://127.0.0.1:9/x.zip",
    "s3://bucket/x.jsonl",
    "C:\\x.jsonl",
]


class Hub(types.SimpleNamespace):
    """What ``huggingface_hub.HfApi()`` says of one dataset, without a server."""

    def dataset_info(self, name, revision=None):
        siblings = [types.SimpleNamespace(rfilename=path) for path in self.files]
        return types.SimpleNamespace(id=self.id, sha=f"commit-of-{revision}", siblings=siblings)

    def hf_hub_download(self, name, path, **where):
        place = self.folder / path
        place.write_bytes(self.files[path])
        return str(place)


@pytest.fixture
def on_hub(monkeypatch, tmp_path):
    def put(files, name="a/b", builder=None):
        def load_dataset_builder(*args, **settings):
            assert builder is not None, "the library was asked"
            builder.asked = (args, settings)
            return builder

        api = Hub(files=files, id=name, folder=tmp_path)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
        library = types.SimpleNamespace(load_dataset_builder=load_dataset_builder)
        monkeypatch.setitem(sys.modules, "datasets", library)

    return put


def built(files, commit, name):
    return types.SimpleNamespace(
        config=types.SimpleNamespace(data_files={"train": files}), hash=commit, name=name
    )


@pytest.mark.parametrize("place", OUTSIDE)
@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_a_card_that_leads_out_is_refused_before_the_library_is_asked(on_hub, place, card):
    for data in (place, [place], [{"split": "train", "path": ["data/*", place]}]):
        for setting in ({"data_files": data}, {"data_dir": place}):
            text = json.dumps({"configs": [{"config_name": "x"}, {"config_name": "y"} | setting]})
            text = f"---\n{text}\n---\n# A card" if card == "README.md" else text
            on_hub({card: text.encode(), "data/a.jsonl": ROW})
            with pytest.raises(DataError, match=r"leads out of the dataset; download"):
                list(hub.dataset_rows("a/b", "c0", config=None, split="train"))


@pytest.mark.parametrize("name", ["data/a.jsonl::http:/127.0.0.1:9/x", "../x", "/etc/x"])
def test_a_file_whose_name_leads_out_is_refused(on_hub, name):
    on_hub({name: ROW})
    with pytest.raises(DataError, match="leads out"):
        list(hub.dataset_rows("a/b", "c0", config=None, split="train"))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (b"---\na: &a [x]\nb: [*a, *a]\n---\n", "has YAML aliases"),
        (b"---\na: [\n---\n", "is no YAML"),
        (b"---\n" + b"[" * 20_000 + b"\n---\n", "more than 50 levels"),
        (b"---\n" + b"# \n" * (1 << 19) + b"---\n", "1,572,872 bytes, more than 1,048,576"),
    ],
    ids=["aliases", "broken", "deep", "long"],
)
def test_a_card_that_costs_too_much_to_read_is_refused(on_hub, card, said):
    on_hub({"README.md": card})
    with pytest.raises(DataError, match=said):
        list(hub.dataset_rows("a/b", "c0", config=None, split="train"))


@pytest.mark.parametrize(
    ("files", "commit", "kind", "said"),
    [
        (["/home/a/b/x.jsonl"], "c0", "json", "'/home/a/b/x.jsonl', not from commit c0"),
        (["hf://datasets/c/d@c0/x.jsonl"], "c0", "json", "hf://datasets/c/d@c0"),
        (["hf://datasets/a/b@c0/x"], "c1", "json", "a cache of an earlier run"),
        (["hf://datasets/a/b@c0/x"], "c0", "imagefolder", "files of the kind imagefolder"),
    ],
)
def test_only_files_of_the_dataset_at_its_commit_are_read(on_hub, files, commit, kind, said):
    on_hub({"x.jsonl": ROW}, builder=built(files, commit, kind))
    with pytest.raises(DataError, match=said):
        list(hub.dataset_rows("a/b", "c0", config=None, split="train"))


@pytest.mark.parametrize("name", ["text", "buckets/a", "a/b/c", "../a"])
def test_a_name_is_an_owner_and_a_name(on_hub, name):
    # Without an owner the library takes json, csv and text for formats, and reads where it stands.
    on_hub({"x.jsonl": ROW}, name=name)
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        hub.dataset_commit(f"hf:{name}", "corpus.source")
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        hub.dataset_commit("hf:short", "corpus.source")


@pytest.mark.parametrize("given", [{}, {"format": "dataset"}])
def test_a_dataset_is_read_from_the_hub_whatever_folder_is_here(
    on_hub, given, tmp_path, monkeypatch
):
    (tmp_path / "org/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DSKD_ROOTS", str(tmp_path / "elsewhere"))
    rows = [{"text": "one", "id": "a"}, {"text": "two"}]
    builder = types.SimpleNamespace(
        config=types.SimpleNamespace(
            data_files={"test": ["hf://datasets/org/name@commit-of-v2/x"]}
        ),
        hash="commit-of-v2",
        name="json",
        as_streaming_dataset=lambda split: types.SimpleNamespace(
            features={"text": split}, decode=lambda on: rows if on is False else None
        ),
    )
    on_hub({"x": ROW}, name="org/name", builder=builder)
    source = "org/name@v2" if given else "hf:org/name@v2"
    config = CorpusConfig(source=source, dataset_config="en", dataset_split="test", **given)
    assert [d.id for d in read_documents(config)] == ["a", "org/name:2"]
    assert source_fingerprint(config) == "hf:org/name@commit-of-v2"
    assert builder.asked == (("hf://datasets/org/name", "en"), {"revision": "commit-of-v2"})


SCRIPT = """
import json, sys
from dskd_core.config import CorpusConfig
from dskd_core.corpus.readers import read_documents
said = {}
for source in json.loads(sys.argv[1]):
    try:
        said[source] = [d.text for d in read_documents(CorpusConfig(source=source))]
    except Exception as error:
        said[source] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


def card(place):
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files: {json.dumps(place)}\n---\n".encode()
    )


def pictures(address):
    """A Parquet file whose schema says that its column is a picture to be fetched."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "seen": {"_type": "Image"}}
    seen = pa.array([{"bytes": None, "path": address}])
    table = pa.table({"text": ["a picture"], "seen": seen})
    said = json.dumps({"info": {"features": features}})
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": said}), file)
    return file.getvalue()


@pytest.mark.slow
def test_the_library_reads_a_hub_on_loopback_and_asks_nobody_else(tmp_path):
    """The real library and client, with the address of a fake hub, in a folder of decoys."""
    for decoy in ("a/b", "text", "c/d"):
        (tmp_path / "decoys" / decoy).mkdir(parents=True)
        (tmp_path / "decoys" / decoy / "README.md").write_text("x")
        (tmp_path / "decoys" / decoy / "train.jsonl").write_text('{"text": "from the folder"}')
    with FakeHub({}) as stranger:
        address = f"{stranger.endpoint}/x.jsonl"
        datasets = {
            "a/b": {"README.md": card("data/*.jsonl"), "data/train.jsonl": ROW},
            "a/plain": {"train.jsonl": ROW},
            "a/url": {"README.md": card(address), "train.jsonl": ROW},
            "a/absolute": {"README.md": card(f"{tmp_path}/decoys/a/b/*"), "train.jsonl": ROW},
            "a/seen": {"train.parquet": pictures(address)},
        }
        with FakeHub(datasets) as there:
            sources = [f"hf:{name}" for name in datasets] + ["hf:text"]
            environment = os.environ | {
                "HF_ENDPOINT": there.endpoint,
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_OFFLINE": "0",
                "PYTHONPATH": str(Path(__file__).parents[3]),
            }
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, json.dumps(sources)],
                cwd=tmp_path / "decoys",
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["hf:a/b"] == said["hf:a/plain"] == ["from the hub"]
    assert said["hf:a/seen"] == ["a picture"]
    assert "leads out of the dataset" in said["hf:a/url"]
    assert "leads out of the dataset" in said["hf:a/absolute"]
    assert "RepositoryNotFoundError" in said["hf:text"]
    assert stranger.asked == []
    assert any(COMMIT in path for path in there.asked)
