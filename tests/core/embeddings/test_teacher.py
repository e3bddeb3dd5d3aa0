import ast
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import load_decoder, load_teacher
from dskd_core.decoder.precision import torch_device
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings import teacher as teacher_module
from dskd_core.embeddings.teacher import in_other_precisions, prepare_teacher
from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import ArtifactStore


def test_states_are_the_last_hidden_states_after_the_final_norm(miniature):
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        out = teacher.model(ids, output_hidden_states=True)
        states = teacher.states(ids)
        before = teacher.layers[-1]
    torch.testing.assert_close(states, out.hidden_states[-1])
    torch.testing.assert_close(states @ teacher.model.lm_head.weight.T, out.logits)
    assert before is teacher.model.model.layers[-1]


def test_padding_on_the_right_changes_no_state(miniature):
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    ids = torch.arange(2, 8)[None]
    longer = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(teacher.states(longer)[:, :6], teacher.states(ids))


def test_padded_vocabulary_rows_never_win(miniature):
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    n_rows = teacher.model.lm_head.weight.shape[0]
    assert n_rows > teacher.n_tokens
    states = teacher.model.lm_head.weight.detach()[-1:] * 100.0  # points at a padded row
    full = (states @ teacher.model.lm_head.weight.T).argmax()
    assert int(full) == n_rows - 1
    assert int(teacher.predictions(states)[0]) < teacher.n_tokens


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "/no/model.gguf"])
def test_a_missing_teacher_is_refused_by_name(tmp_path, source):
    with pytest.raises(ConfigError, match="correct the path"):
        prepare_teacher(ArtifactStore(str(tmp_path)), TeacherConfig(source=source))


def test_a_folder_of_pickled_weights_is_refused_and_never_opened(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(ConfigError, match=r"pickles \(pytorch_model\.bin\).*save_pretrained"):
        prepare_teacher(ArtifactStore(str(tmp_path)), TeacherConfig(source=str(folder)))


def test_a_folder_that_needs_code_of_its_own_is_refused(miniature, tmp_path):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "ours", "auto_map": {"AutoConfig": "code.Ours"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(ConfigError, match="needs Python code of its own"):
        prepare_teacher(ArtifactStore(str(tmp_path / "root")), TeacherConfig(source=str(folder)))


def test_a_folder_whose_code_is_trusted_is_loaded_with_it(miniature, tmp_path):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "ours.OurConfig", "AutoModelForCausalLM": "ours.OurModel"}
    config |= {"model_type": "ours", "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "ours.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OurConfig(LlamaConfig):\n    model_type = 'ours'\n"
        "class OurModel(LlamaForCausalLM):\n    config_class = OurConfig\n"
    )
    trusted = TeacherConfig(
        source=str(folder), dtype="float32", device="cpu", trust_remote_code=True
    )
    teacher = prepare_teacher(ArtifactStore(str(tmp_path / "root")), trusted)
    assert type(load_teacher(teacher, trusted).model).__name__ == "OurModel"


def test_no_model_or_tokenizer_is_loaded_with_code_unless_a_setting_says_so():
    loaders = {}
    for path in sorted(Path(teacher_module.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                loaders[f"{path.name}:{node.lineno}"] = given
    assert len(loaders) == 6
    code = {place: given.get("trust_remote_code") for place, given in loaders.items()}
    assert set(code.values()) == {"False", "code"}, code  # the latter: set


def test_every_loader_reads_a_checked_view_and_asks_no_network():
    for path in sorted(Path(teacher_module.__file__).parents[1].rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                assert ast.unparse(node.args[0]) in {"str(view)", "str(view.parent)"}, path
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert given["local_files_only"] == "True", path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one model: what is fetched of it comes from a folder, into a cache of links."""
    import huggingface_hub

    there, cache = tmp_path / "there", tmp_path / "cache" / "models--a--b"
    there.mkdir()
    here = cache / "snapshots" / ("0" * 40)

    def snapshot_download(source, *, revision, allow_patterns, **_):
        assert (source, revision) == ("owner/model", "0" * 40)
        names = [str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()]
        for name in huggingface_hub.utils.filter_repo_objects(names, allow_patterns=allow_patterns):
            blob = cache / "blobs" / name.replace("/", "-")
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / name, blob)
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).unlink(missing_ok=True)
            (here / name).symlink_to(blob)
        return str(here)

    def model_info(source, *, revision):
        siblings = [SimpleNamespace(rfilename=path.name) for path in there.iterdir()]
        return SimpleNamespace(sha="0" * 40, siblings=siblings)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    return there, here


def test_of_a_hub_s_model_only_what_is_read_is_fetched(miniature, tmp_path, hub):
    there, here = hub
    shutil.copytree(miniature.config.teacher.source, there, dirs_exist_ok=True)
    for name in ("pytorch_model.bin", "code.py", "consolidated.safetensors", "README.md"):
        (there / name).write_text("x")
    config = TeacherConfig(source="owner/model", dtype="float32", device="cpu")
    teacher = prepare_teacher(ArtifactStore(str(tmp_path / "root")), config)
    assert not (here / "model.safetensors").exists()  # whose weights are not needed yet
    found = load_teacher(teacher, config)
    assert found.n_tokens == load_teacher(miniature.teacher(), miniature.config.teacher).n_tokens
    fetched = {path.name for path in here.rglob("*")}
    assert "model.safetensors" in fetched
    assert not fetched & {"pytorch_model.bin", "code.py", "consolidated.safetensors", "README.md"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tokenizer_config.json", {"vocab": "/proc/self/environ"}),
        ("config.json", {"transformers_weights": "x.safetensors.index.json"}),
    ],
)
def test_a_hub_s_model_is_held_to_the_same_keys(miniature, tmp_path, hub, name, said):
    there, _ = hub
    shutil.copytree(miniature.config.teacher.source, there, dirs_exist_ok=True)
    content = json.loads((there / name).read_text())
    (there / name).write_text(json.dumps(content | said))
    config = TeacherConfig(source="owner/model", dtype="float32", device="cpu")
    store = ArtifactStore(str(tmp_path / "root"))
    with pytest.raises(ConfigError, match=f"{name} sets .* take the key out"):
        prepare_teacher(store, config)
    assert store.of_stage("teacher") == []


def test_a_hub_s_index_that_climbs_out_is_refused_before_anything_it_names(
    miniature, tmp_path, hub
):
    there, _ = hub
    shutil.copytree(miniature.config.teacher.source, there, dirs_exist_ok=True)
    (there / "model.safetensors").rename(there / "model-1.safetensors")
    index = {"weight_map": {"a": "../../x.safetensors"}}
    (there / "model.safetensors.index.json").write_text(json.dumps(index))
    config = TeacherConfig(source="owner/model", dtype="float32", device="cpu")
    with pytest.raises(ConfigError, match=r"names '../../x.safetensors'"):
        prepare_teacher(ArtifactStore(str(tmp_path / "root")), config)


def test_a_published_teacher_holds_no_name_of_a_temporary_folder(miniature):
    for path in miniature.teacher().folder().iterdir():
        assert b"dskd-model-" not in path.read_bytes(), path


def test_other_weights_are_another_teacher(miniature, tmp_path):
    config = miniature.config.teacher
    model = AutoModelForCausalLM.from_pretrained(config.source)
    with torch.no_grad():
        model.lm_head.weight[5, 5] += 1.0
    model.save_pretrained(tmp_path / "other")
    for file in Path(config.source).glob("tokenizer*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    other = config.model_copy(update={"source": str(tmp_path / "other")})
    assert prepare_teacher(miniature.store, other).fingerprint != miniature.teacher().fingerprint


@pytest.fixture
def everything(miniature, tmp_path):
    """A folder with all that save_pretrained of a model and of its tokenizer writes."""
    source, folder = miniature.config.teacher.source, tmp_path / "model"
    model = AutoModelForCausalLM.from_pretrained(source)
    model.generation_config.max_new_tokens = 5
    model.save_pretrained(folder, max_shard_size="20KB")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    tokenizer.save_pretrained(folder)
    inner = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(inner["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in inner["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<eos>"}')
    (folder / "added_tokens.json").write_text("{}")
    (folder / "modeling_ours.py").write_text("# code")
    return folder


def _edited(path):
    """Change a file as little as leaves it one of its kind."""
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        next(iter(tensors.values())).view(-1)[0] += 1
        save_file(tensors, path, metadata={"format": "pt"})
    elif path.suffix == ".json":
        path.write_text(path.read_text() + "\n")
    else:
        path.write_text(path.read_text() + "\n# more")


def test_each_file_of_a_teacher_s_folder_that_is_edited_makes_another_teacher(everything, tmp_path):
    config = TeacherConfig(
        source=str(everything), dtype="float32", device="cpu", trust_remote_code=True
    )

    def fingerprint():
        return prepare_teacher(ArtifactStore(str(tmp_path / "root")), config).fingerprint

    files = sorted(path for path in everything.rglob("*") if path.is_file())
    names = {path.name for path in files}
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} < (
        names
    )
    assert {"chat_template.jinja", "tools.jinja", "model.safetensors.index.json"} < names
    assert sum(path.suffix == ".safetensors" for path in files) > 1
    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    for path in files:
        _edited(path)
        seen.append(fingerprint())
        assert len(set(seen)) == len(seen), path
    (everything / "README.md").write_text("which nothing reads")
    assert fingerprint() == seen[-1]


def test_an_edited_chat_template_is_what_the_next_run_asks_with(everything, tmp_path):
    store = ArtifactStore(str(tmp_path / "root"))
    config = TeacherConfig(source=str(everything), dtype="float32", device="cpu")
    chat = [{"role": "user", "content": "warm?"}]
    for written in ("A {{ messages[0].content }}", "B {{ messages[0].content }}"):
        (everything / "chat_template.jinja").write_text(written)
        tokenizer = load_tokenizer(prepare_teacher(store, config).folder())
        said = tokenizer.hf.apply_chat_template(chat, tokenize=False)
        assert said == f"{written[0]} warm?"


def test_a_token_that_the_model_was_not_resized_for_is_refused_before_any_work(miniature, tmp_path):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    n_rows = load_teacher(miniature.teacher(), miniature.config.teacher).model.config.vocab_size
    tokenizer.add_tokens([f"orchardkettle{i}" for i in range(n_rows - len(tokenizer) + 1)])
    tokenizer.save_pretrained(folder)
    config = TeacherConfig(source=str(folder), dtype="float32", device="cpu")
    store = ArtifactStore(str(tmp_path / "root"))
    with pytest.raises(ConfigError, match=rf"1 tokens of .*the id {n_rows}, .* resize the model"):
        prepare_teacher(store, config)
    assert store.of_stage("teacher") == []
    with pytest.raises(ConfigError, match="resize the model"):
        load_decoder(folder, config)


def test_holes_in_the_ids_of_a_tokenizer_are_refused_before_any_work(miniature, tmp_path):
    folder = shutil.copytree(miniature.config.teacher.source, tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    n_tokens = len(AutoTokenizer.from_pretrained(folder))
    content["model"]["vocab"]["orchardkettle"] = n_tokens + 3
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = TeacherConfig(source=str(folder), dtype="float32", device="cpu")
    first, last = n_tokens, n_tokens + 2
    said = rf"no token for 3 ids \({first}, {first + 1}, {last}\) below its last, 'orchardkettle'"
    with pytest.raises(ConfigError, match=said):
        prepare_teacher(ArtifactStore(str(tmp_path / "root")), config)


def test_an_unusable_device_is_refused():
    with pytest.raises(ConfigError, match="set auto"):
        torch_device("cuda:7" if not torch.cuda.is_available() else "nonsense")


def test_one_source_in_two_precisions_is_two_teachers_whose_records_say_so(tmp_path, miniature):
    store = ArtifactStore(str(tmp_path))
    source = miniature.config.teacher.source
    configs = [
        TeacherConfig(source=source, dtype=dtype, device="cpu") for dtype in ("float32", "float16")
    ]
    wide, narrow = (prepare_teacher(store, config) for config in configs)
    assert wide.fingerprint != narrow.fingerprint
    assert [a.record.precision for a in (wide, narrow)] == ["float32", "float16"]
    assert wide.record.processor.startswith("CPU ")
    assert load_teacher(narrow, configs[1]).precision == "float16"


def test_auto_has_the_address_of_the_precision_it_stands_for(tmp_path, miniature, monkeypatch):
    store, source = ArtifactStore(str(tmp_path)), miniature.config.teacher.source
    monkeypatch.setenv("DSKD_PRECISION", "float16")
    by_auto = prepare_teacher(store, TeacherConfig(source=source, device="cpu"))
    named = TeacherConfig(source=source, device="cpu", dtype="float16")
    assert prepare_teacher(store, named).fingerprint == by_auto.fingerprint


def test_teachers_of_other_precisions_are_known_until_there_is_one_of_the_run_s_own(
    tmp_path, miniature
):
    store, source = ArtifactStore(str(tmp_path)), miniature.config.teacher.source
    narrow, wide = (
        TeacherConfig(source=source, dtype=dtype, device="cpu") for dtype in ("float16", "float32")
    )
    assert in_other_precisions(store, wide) == []
    prepare_teacher(store, narrow)
    (other,) = in_other_precisions(store, wide)
    assert other.record.config["dtype"] == "float16"
    prepare_teacher(store, wide)
    assert in_other_precisions(store, wide) == []
