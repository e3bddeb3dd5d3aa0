import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from dskd_core.config import TrainingConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ArtifactError, CapacityError, ConfigError, DataError
from dskd_core.evaluation.heldout.store import student_tail
from dskd_core.planning.capacity import check_step
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.activations.store import resolve_mode
from dskd_core.training.candidates.store import (
    calibrated_margin,
    margin_sentence,
    select_candidates,
)
from dskd_core.training.loop import step
from dskd_core.training.loop.loop import Run, _peak_bytes, train_student
from dskd_core.training.losses.objective import run_tail
from dskd_core.training.losses.recipes import Recipe
from dskd_core.training.student.shape import load_student, shape_of
from dskd_core.training.student.tail import capturing, padded_entering
from tests.miniature import Built, make
from tests.reference import objective_terms, ranking, state_term
from tests.waits import counted_waits


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    built = Built(make(tmp_path_factory.mktemp("training"), embeddings={"key": "next"}))
    built.activations()
    return built


def _run(built: Built, arm: str = "paper", seed: int = 0) -> Run:
    config = built.config
    return Run.prepare(built.store, config.training, config.teacher, built.inputs(arm), arm, seed)


def _loss(run: Run, number: int = 0) -> tuple[torch.Tensor, dict[str, float]]:
    step = run.schedule.step(number)
    loss, terms = run.objective.loss(
        run.batch(step), total_weight=step.total_weight, n_chosen=step.n_chosen
    )
    return loss, {name: float(value) for name, value in terms.items()}


def _naive_loss(run: Run, built: Built) -> float:
    """Eq. 3-5 over the windows of step 0: whole models, full logits, a loop over positions."""
    teacher = load_teacher(built.teacher(), built.config.teacher)
    windows, senses = load_windows(built.corpus()), run.objective.rows.double()
    dictionary, weights = load_dictionary(built.dictionary()), run.objective.recipe
    step = run.schedule.step(0)
    student_states, teacher_states, labels, terms, start = [], [], [], [], 0
    chosen = set(run.batch(step).chosen.tolist())
    for window in step.windows:
        ids = torch.tensor(windows.window(window).tolist())[None]
        with torch.no_grad():
            out = teacher.model(ids, output_hidden_states=True)
        m = out.hidden_states[-1][0].double()
        n = run.tail(out.hidden_states[run.shape.entry]).detach()[0].double()
        for t in range(ids.shape[1]):
            document = windows.document(int(windows.documents[window]))
            place = int(windows.starts[window]) + t + 1
            if place >= len(document):
                continue
            label = int(document[place])
            student_states.append(n[t])
            teacher_states.append(m[t])
            labels.append(label)
            if start + t in chosen:
                terms.append(_naive_position(n[t], m[t], label, dictionary, senses, weights))
        start += ids.shape[1]
    head, temperature = teacher.head.double(), weights.temperature
    z, taught = torch.stack(student_states) @ head.T, torch.stack(teacher_states) @ head.T
    ce = functional.cross_entropy(z, torch.tensor(labels))
    p, log_q = (taught / temperature).softmax(1), (z / temperature).log_softmax(1)
    kl = (p * (p.log() - log_q)).sum(1).mean()
    assert len(terms) == len(chosen)
    return float(ce + weights.weight("kl") * weights.temperature**2 * kl + sum(terms) / len(terms))


def _naive_position(n, m, label, dictionary, senses, weights: Recipe) -> float:
    def nearest(rows):
        ordered = sorted(rows.tolist(), key=lambda r: float((senses[r] - m).norm()))
        return [float((senses[r] - n).square().mean()) for r in ordered[:2]]  # kappa = 2

    pull = nearest(np.append(dictionary.own.rows_of(label), dictionary.synonyms.rows_of(label)))
    push = [max(0.0, weights.margin - mse) for mse in nearest(dictionary.antonyms.rows_of(label))]
    return weights.weight("positive") * np.mean(pull) + weights.weight("negative") * (
        np.mean(push) if push else 0.0
    )


def test_the_loss_of_a_step_equals_the_paper_s_equations_computed_naively(built):
    run = _run(built)
    loss, terms = _loss(run)
    assert terms["negative"] > 0.0
    assert loss.item() == pytest.approx(_naive_loss(run, built), rel=2e-3)  # e_t is float16


def test_kd_differs_from_dskd_only_by_the_sense_terms(built):
    loss_kd, _ = _loss(_run(built, "kd"))
    loss_dskd, terms = _loss(_run(built, "paper"))
    difference = terms["positive"] + terms["negative"]
    assert (loss_dskd - loss_kd).item() == pytest.approx(difference, rel=1e-5)


def test_a_recipe_of_the_user_s_is_its_terms_times_their_weights(built):
    terms = [
        {"term": "ce", "weight": 0.5},
        {"term": "kl", "weight": 2.0, "temperature": 1.0},
        {"term": "state_head_mse", "weight": 0.25},
        {"term": "state_cosine", "weight": 3.0, "schedule": "linear"},
        {"term": "positive", "weight": 0.1},
        {"term": "ranking", "weight": 0.7},
    ]
    recipes = {"recipes": [{"name": "mine", "terms": terms}]}
    training = TrainingConfig.model_validate(built.config.training.model_dump() | recipes)
    mine = Built(built.config.model_copy(update={"training": training}))
    run = Run.prepare(mine.store, training, mine.config.teacher, mine.inputs("mine"), "mine", 0)
    step = run.schedule.step(0)
    batch = run.batch(step)
    n = run_tail(run.tail, batch.entering, batch.real, "float32").detach().double()
    m, head = batch.teacher_states.double(), run.objective.head.to(torch.float64)
    kept = batch.labels >= 0
    naive = objective_terms(
        n, m, head, batch.labels, weights=Recipe.from_config(training, "mine", 0.0)
    )
    expected = 0.5 * naive["ce"] + 2.0 * naive["kl"]
    for name, weight in (("state_head_mse", 0.25), ("state_cosine", 3.0 * 0.75)):
        each = [state_term(name, *pair, head) for pair in zip(n[kept], m[kept], strict=True)]
        expected = expected + weight * sum(each) / len(each)
    totals = {"total_weight": step.total_weight, "n_chosen": step.n_chosen}
    totals["n_opposed"] = step.n_opposed
    loss, found = run.objective.loss(batch, **totals, done=0.25)
    assert found["positive"] > 0.0
    expected = expected + 0.1 * found["positive"]
    expected = expected + 0.7 * _naive_ranking(built, batch, n)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    shares = [
        run.objective.loss(run.batch(micro_batch), **totals)[1]["ranking"]
        for micro_batch in step.micro_batches(3)
    ]
    assert sum(shares).item() == pytest.approx(found["ranking"].item(), rel=1e-5)
    row = run.step(0)
    assert {"state_cosine", "state_head_mse", "positive", "ce", "kl", "ranking"} <= row.keys()
    work = mine.inputs("mine").work(training, "mine", 0)
    assert [term["term"] for term in work.config["recipe"]] == [term["term"] for term in terms]
    plain, beside = (b.inputs("kd").work(b.config.training, "kd", 0) for b in (built, mine))
    same = {name: work.config for name, work in (("plain", plain), ("beside", beside))}
    assert same["plain"] == same["beside"], "what other recipes say is not its content"


def test_a_recipe_with_a_temperature_of_its_own_reads_what_was_kept_at_it(built):
    terms = [{"term": "kl", "temperature": 1.5}]
    changes = {"recipes": [{"name": "mine", "terms": terms}]}
    training = TrainingConfig.model_validate(built.config.training.model_dump() | changes)
    assert (training.temperature, training.other_temperatures) == (2.0, (1.5,))
    mine = Built(built.config.model_copy(update={"training": training}))
    run = Run.prepare(mine.store, training, mine.config.teacher, mine.inputs("mine"), "mine", 0)
    step = run.schedule.step(0)
    batch = run.batch(step)
    totals = {"total_weight": step.total_weight, "n_chosen": 0}
    loss, _ = run.objective.loss(batch, **totals)
    formed, _ = run.objective.loss(replace(batch, targets=None), **totals)
    assert batch.targets is not None
    assert loss.item() == pytest.approx(formed.item(), rel=2e-3)  # e_t is float16
    kd = Run.prepare(mine.store, training, mine.config.teacher, mine.inputs("kd"), "kd", 0)
    assert not torch.equal(kd.batch(step).targets.entropy, batch.targets.entropy)
    plain = built.inputs("kd").work(built.config.training, "kd", 0)
    captured = mine.inputs("kd").work(training, "kd", 0)
    assert plain.inputs["activations"] != captured.inputs["activations"]


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_a_bridge_teaches_the_layer_before_the_gap_what_the_one_behind_it_is_fed(built, mode):
    terms = [{"term": "bridge", "weight": 2.0}]
    changes = {"recipes": [{"name": "mine", "terms": terms}], "mode": mode}
    training = TrainingConfig.model_validate(built.config.training.model_dump() | changes)
    shape = {"layers": "first_last", "trainable_layers": "beside_cut"}
    student = built.config.student.model_copy(update=shape)
    mine = Built(built.config.model_copy(update={"training": training, "student": student}))
    run = Run.prepare(mine.store, training, mine.config.teacher, mine.inputs("mine"), "mine", 0)
    step = run.schedule.step(0)
    loss, found = run.objective.loss(run.batch(step), total_weight=step.total_weight, n_chosen=0)
    models = load_teacher(mine.teacher(), mine.config.teacher).model, run.student.model
    windows, gaps = load_windows(mine.corpus()), []
    for number in step.windows:
        ids = torch.from_numpy(windows.window(number).astype(np.int64))[None]
        with torch.no_grad():
            taught, own = (m(ids, output_hidden_states=True).hidden_states for m in models)
        n, m = own[1][0].double(), taught[2][0].double()  # layers 0, 2 and 3 of four are copied
        labels = run.activations.labels(number)
        gaps += [
            1 - (n[t] @ m[t]) / (n[t].norm() * m[t].norm()) for t in np.flatnonzero(labels >= 0)
        ]
    assert found["bridge"].item() == pytest.approx(float(sum(gaps) / len(gaps)), rel=1e-5)
    assert loss.item() == pytest.approx(2.0 * found["bridge"].item(), rel=1e-6)
    loss.backward()
    moved = {name.split(".")[0] for name, p in run.tail.trained().items() if p.grad.abs().sum() > 0}
    assert moved == {"0"}
    run.step(0)
    with counted_waits() as waits:
        assert run.step(1)["bridge"] > 0.0
    assert +waits == {"tolist": 1}


class _KilledError(Exception):
    pass


def _kill(n_done, n_total, unit, **measures):
    if n_done == 6:
        raise _KilledError


def _fitted(built: Built, **training) -> Built:
    recipe = {"name": "mine", "terms": [{"term": "ce"}], "start": "fitted"}
    changes = {"recipes": [recipe, recipe | {"name": "plain", "start": "copied"}], **training}
    student = {"layers": "first_last", "trainable_layers": "beside_cut"}
    return Built(
        built.config.model_copy(
            update={
                "training": TrainingConfig.model_validate(
                    built.config.training.model_dump() | changes
                ),
                "student": built.config.student.model_copy(update=student),
            }
        )
    )


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_a_fitted_start_hands_on_what_the_layer_behind_the_gap_was_fed(built, mode):
    mine = _fitted(built, mode=mode)

    def run_of(arm: str) -> Run:
        config = mine.config
        return Run.prepare(mine.store, config.training, config.teacher, mine.inputs(arm), arm, 0)

    read = run_of("mine").activations

    def missed(arm: str) -> tuple[float, set[str]]:
        run = run_of(arm)
        before = {name: value.clone() for name, value in run.tail.weights().items()}
        run.fit_start()
        after = run.tail.weights()
        errors = []
        for window in read.read(read.training):
            with torch.no_grad(), capturing(run.tail.layers[1]) as left:
                run.tail(window.entering[None].float())
            behind = window.bridge.float()
            errors.append((left[0][0] - behind).norm(dim=1) / behind.norm(dim=1))
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        return float(torch.cat(errors).mean()), moved

    copied, fitted = missed("plain"), missed("mine")
    assert copied[1] == set()
    assert fitted[1] == {"0.mlp.down_proj.weight"}
    assert fitted[0] < copied[0] - 0.1  # 0.58 and 0.71: weights drawn at random hand on little


def test_a_run_that_goes_on_is_not_fitted_again(built, monkeypatch):
    mine, fits = _fitted(built), []
    fit = step.fit_start
    monkeypatch.setattr(step, "fit_start", lambda *given: fits.append(1) or fit(*given))
    undisturbed = mine.student("mine", 1)
    assert undisturbed.record.config["start"] == "fitted"
    assert fits == [1]

    mine.store.discard(undisturbed)
    with pytest.raises(_KilledError):
        mine.student("mine", 1, progress=_kill)
    assert mine.student("mine", 1).record.files == undisturbed.record.files
    assert fits == [1, 1]
    plain = mine.student("plain", 1)
    assert (
        plain.record.files["model/model.safetensors"]
        != undisturbed.record.files["model/model.safetensors"]
    )
    assert fits == [1, 1]


def test_a_start_that_cannot_be_fitted_is_refused_before_there_is_a_dictionary(built):
    mine = _fitted(built)
    training, teacher, untrained = mine.config.training, mine.config.teacher, mine.untrained()
    check_step(training, teacher, untrained)
    assert untrained.record.report["gap_projection"] == "mlp.down_proj"
    untrained.record.report["gap_projection"] = None
    with pytest.raises(ConfigError, match=r"start fitted, but the layers of .*start to copied"):
        check_step(training, teacher, untrained)
    with pytest.raises(ConfigError, match=r"skip none in between; set student\.layers first_last"):
        check_step(training, teacher, built.untrained())


def _naive_ranking(built: Built, batch, states) -> torch.Tensor:
    """The mean ranking over the chosen positions with antonyms, from the dictionary's lists."""
    dictionary, found = load_dictionary(built.dictionary()), []
    rows = torch.from_numpy(dictionary.rows).double()

    def nearest(lists, m):
        return sorted(lists.tolist(), key=lambda row: float((rows[row] - m).norm()))[:2]

    for t in batch.chosen.tolist():
        label, m = int(batch.labels[t]), batch.teacher_states[t].double()
        synonyms, antonyms = dictionary.synonyms.rows_of(label), dictionary.antonyms.rows_of(label)
        near = synonyms if len(synonyms) else dictionary.own.rows_of(label)
        if len(antonyms):
            pair = nearest(near, m), nearest(antonyms, m)
            found.append(ranking(states[t], rows, *pair, temperature=0.3, offset=0.3))
    return sum(found) / len(found)


def test_training_lowers_the_loss(built):
    run = _run(built)
    losses = [run.step(step)["loss"] for step in range(8)]
    assert losses[-1] < losses[0]


def test_a_killed_run_goes_on_to_the_same_bits(built):
    undisturbed = built.student("paper", 3)

    built.store.discard(undisturbed)
    with pytest.raises(_KilledError):
        built.student("paper", 3, progress=_kill)
    steps = []
    resumed = built.student("paper", 3, progress=lambda n, *_, **__: steps.append(n))
    assert steps[0] == 5  # the checkpoint of step 4 was found
    assert resumed.record.files == undisturbed.record.files


def test_a_student_s_record_says_its_peak_memory_and_its_files_do_not(built):
    student = built.student("kd", 0)
    weights = sum(entry["bytes"] for entry in student.record.files.values())
    assert weights < student.record.report["peak_bytes"] < psutil.virtual_memory().total
    assert "peak_bytes" not in (student.folder() / "model/README.md").read_text()


def test_the_peak_is_that_of_the_gpu_that_is_named(monkeypatch):
    held = {torch.device("cuda:0"): 1, torch.device("cuda:1"): 2}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held[device])
    assert _peak_bytes(torch.device("cuda:1")) == 2


def test_a_finished_run_leaves_no_checkpoints(built):
    built.student("paper", 4)
    assert built.store.of_stage("checkpoint") == []


def test_another_seed_is_another_order(built):
    one, other = _run(built, seed=0), _run(built, seed=1)
    assert one.schedule.step(0).windows != other.schedule.step(0).windows


def test_arms_of_one_seed_see_the_same_windows_and_positions(built):
    kd, *others = (_run(built, arm).schedule.step(3) for arm in ("kd", "paper", "paper_own"))
    assert all(step.windows == kd.windows for step in others)
    dskd, own = ([chosen.tolist() for chosen in step.chosen] for step in others)
    assert dskd == own
    assert kd.n_chosen == 0


def test_every_window_is_seen_once_an_epoch(built):
    schedule = _run(built).schedule
    n = len(schedule.activations.training)
    seen = [window for step in range(n // 4) for window in schedule.step(step).windows]
    assert len(set(seen)) == len(seen) == n // 4 * 4


def test_heldout_windows_are_never_trained_on(built):
    activations = StoredActivations(built.activations(), built.store)
    heldout = load_windows(built.corpus()).heldout
    assert not heldout[activations.training].any()
    assert heldout[activations.heldout].all()
    assert len(activations.heldout) > 0


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(built):
    run = _run(built)
    with torch.no_grad():
        next(iter(run.tail.layers.parameters())).fill_(float("nan"))
    with pytest.raises(DataError, match=r"Step 2 .*learning_rate"):
        run.step(2)


def test_the_student_generates_in_a_python_that_has_no_dskd(built):
    folder = built.student().file_uri("model")
    program = f"""
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})
ids = tokenizer("the kind man", return_tensors="pt")
out = model.generate(**{{k: ids[k] for k in ("input_ids", "attention_mask")}}, max_new_tokens=3)
assert "dskd_core" not in sys.modules
print(model.config.num_hidden_layers, out.shape[1] - ids["input_ids"].shape[1])
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "3"]


def test_only_the_trainable_layers_of_the_student_differ_from_the_teacher(built):
    student = AutoModelForCausalLM.from_pretrained(built.student().file_uri("model")).state_dict()
    teacher = AutoModelForCausalLM.from_pretrained(built.config.teacher.source).state_dict()
    differing = {name for name, value in student.items() if not value.equal(teacher[name])}
    assert differing
    assert all(name.startswith(("model.layers.1.", "model.layers.2.")) for name in differing)


def test_listed_layers_and_the_norm_train_nothing_else_does_and_scores_read_both(built):
    shape = {"trainable_layers": (0, 2), "train_final_norm": True}
    student = built.config.student.model_copy(update=shape)
    other = Built(built.config.model_copy(update={"student": student}))
    made = other.student("kd")
    found = AutoModelForCausalLM.from_pretrained(made.file_uri("model"))
    teacher = AutoModelForCausalLM.from_pretrained(built.config.teacher.source).state_dict()
    differing = {
        name: value.numel()
        for name, value in found.state_dict().items()
        if not value.equal(teacher[name])
    }
    tied = {"model.layers.0.", "model.layers.2.", "model.norm."}
    assert {at for at in tied for name in differing if name.startswith(at)} == tied
    assert all(name.startswith(tuple(tied)) for name in differing)
    assert made.record.counts["trainable_parameters"] == sum(differing.values())
    assert (
        "number 0, 2 (from 0) and the final norm were"
        in (made.folder() / "model/README.md").read_text()
    )
    untrained, captured = other.untrained(), other.activations()
    assert untrained.record.config["trainable_layers"] == [0, 2]
    assert not built.untrained().record.config.keys() & shape.keys(), "older ones still stand"
    stored = StoredActivations(captured, other.store)
    tail = student_tail(load_student(untrained, other.config.teacher), shape_of(untrained), made)
    (window,) = stored.read(stored.heldout[:1])
    ids = torch.from_numpy(load_windows(other.corpus()).window(window.window).astype(np.int64))
    with torch.no_grad():
        states = run_tail(tail, *padded_entering([window.entering]), "float32")
        expected = found.base_model(ids[None]).last_hidden_state[0]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def test_a_dictionary_of_another_teacher_is_refused_by_name(built, monkeypatch):
    dictionary = built.dictionary()
    monkeypatch.setitem(dictionary.record.report, "tokenizer", "feedfeedfeedfeed")
    with pytest.raises(ArtifactError, match=r"feedfeedfeedfeed.*teacher"):
        select_candidates(built.store, built.config.training, built.activations(), dictionary)


def test_activations_beyond_their_budget_are_refused_or_made_beside_the_student(built):
    small = built.config.training.model_copy(update={"max_activation_bytes": 1000})
    inputs = built.untrained(), built.corpus()
    with pytest.raises(CapacityError, match=r"max_activation_bytes.*online"):
        resolve_mode(small.model_copy(update={"mode": "cached"}), *inputs)
    assert resolve_mode(small, *inputs) == "online"
    assert resolve_mode(built.config.training, *inputs) == "cached"


def test_a_found_student_is_not_trained_again(built, monkeypatch):
    first = built.student("kd", 0)
    monkeypatch.setattr(Run, "prepare", lambda *_: pytest.fail("trained again"))
    config = built.config
    again = train_student(
        built.store, config.training, config.teacher, built.inputs("kd"), arm="kd", seed=0
    )
    assert again == first


def test_kd_is_not_trained_again_where_only_senses_changed(built):
    first = built.student("kd", 0)
    inputs, training = built.inputs("kd"), built.config.training
    other = training.model_copy(update={"n_candidates": 1, "positive_weight": 0.3, "margin": 9.0})
    assert inputs.work(other, "kd", 0).fingerprint == first.fingerprint
    works = {inputs.work(config, "paper", 0).fingerprint for config in (training, other)}
    assert len(works) == 2


def test_online_training_takes_the_steps_of_cached_training(built):
    config = built.config
    online = Built(
        config.model_copy(
            update={"training": config.training.model_copy(update={"mode": "online"})}
        )
    )
    here, there = (_run(one, "paper") for one in (built, online))
    for number in range(3):
        expected, found = here.step(number), there.step(number)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=5e-3, abs=2e-3), name  # e_t is float16
    assert online.student("paper").fingerprint != built.student("paper").fingerprint


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_layers_are_compiled_for_windows_of_full_length_alone(built, mode, monkeypatch):
    lengths = []

    def counting(eager, **_options):
        def call(states, *args, **kwargs):
            lengths.append(states.shape[1])
            return eager(states, *args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", counting)
    runs = []
    for compiled in (False, True):
        changed = {"mode": mode, "compile_layers": compiled, "batch_windows": 1}
        training = built.config.training.model_copy(update=changed)
        runs.append(_run(Built(built.config.model_copy(update={"training": training})), "kd"))
    n_full, longest = 0, runs[1].activations.lengths.max()
    for number in range(8):
        expected, found = (run.step(number) for run in runs)
        assert found == expected
        step = runs[1].schedule.step(number)
        n_full += len(runs[1].activations.labels(step.windows[0])) == longest
    n_layers = 2 + (4 if mode == "online" else 0)
    assert 0 < n_full < 8
    assert lengths == [longest] * (n_full * n_layers)


def test_accumulated_batches_add_up_to_the_step(built):
    whole, cut = _run(built), _run(built)
    cut.config = cut.config.model_copy(update={"n_accumulated": 3})
    for number in range(3):
        expected, found = whole.step(number), cut.step(number)
        for name in (
            *("loss", "ce", "kl", "positive", "negative"),
            *("active_share", "kd_gradient", "grad_norm"),
        ):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name


def test_controls_change_the_candidates_and_nothing_else(built):
    terms = {arm: _loss(_run(built, arm))[1] for arm in ("paper", "paper_own", "paper_shuffled")}
    assert terms["paper_own"]["negative"] == 0.0
    assert len({round(term["positive"], 6) for term in terms.values()}) == 3
    assert len({term["ce"] for term in terms.values()}) == 1
    unhinged = _loss(_run(built, "paper_no_hinge"))[1]
    assert unhinged["negative"] == 0.0
    assert unhinged["positive"] == terms["paper"]["positive"]


def test_the_margin_is_a_quantile_of_the_distances_to_antonyms(built):
    margins = [calibrated_margin(built.candidates(), q) for q in (0.0, 0.5, 1.0)]
    assert margins == sorted(margins)
    calibrated = built.config.training.model_copy(
        update={"margin": "calibrated", "margin_quantile": 1.0}
    )
    weights = Recipe.from_config(calibrated, "paper", margins[2])
    assert weights.margin == margins[2] > margins[0]
    told = margin_sentence(built.candidates(), calibrated)
    assert f"{margins[1]:.3g} in the median" in told
    assert f"at the calibrated {margins[2]:.3g} 100%" in told


def test_a_teacher_with_a_soft_cap_is_distilled_by_its_own_logits(tmp_path):
    config = make(tmp_path, embeddings={"key": "next"})
    torch.manual_seed(0)
    tokenizer_size = load_config_of(config)["vocab_size"]
    teacher = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=tokenizer_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            final_logit_softcapping=3.0,
        )
    )
    for parameter in teacher.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    teacher.save_pretrained(config.teacher.source)
    built = Built(config)
    run = _run(built, "kd")
    step = run.schedule.step(0)
    batch, logits = run.batch(step), []
    for window in step.windows:
        ids = torch.tensor(load_windows(built.corpus()).window(window).tolist())[None]
        with torch.no_grad():
            logits.append(teacher.eval()(ids).logits[0].double())
    n = run_tail(run.tail, batch.entering, batch.real, "float32").detach()
    n_tokens = run.objective.head.weight.shape[0]
    taught = torch.cat(logits)[:, :n_tokens]
    z = 3.0 * torch.tanh(n.double() @ run.objective.head.weight.double().T / 3.0)
    keep = batch.labels >= 0
    ce = functional.cross_entropy(z[keep], batch.labels[keep])
    p, log_q = (taught[keep] / 2).softmax(1), (z[keep] / 2).log_softmax(1)
    _, terms = _loss(run)
    assert terms["ce"] == pytest.approx(float(ce), rel=1e-4)
    assert terms["kl"] == pytest.approx(float((p * (p.log() - log_q)).sum(1).mean()), rel=1e-3)


def load_config_of(config) -> dict:
    return json.loads((Path(config.teacher.source) / "config.json").read_text())


def test_a_server_that_reads_config_and_weights_alone_finds_a_plain_llama(built):
    folder = built.student().folder() / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["model_type"] == "llama"
    assert not {"auto_map", "quantization_config"} & set(config), "no code of ours, no codec"
    assert config["num_hidden_layers"] == 3
    with safe_open(folder / "model.safetensors", "pt") as file:
        layers = {name.split(".")[2] for name in file.keys() if ".layers." in name}  # noqa: SIM118
    assert layers == {"0", "1", "2"}
    names = {path.name for path in folder.iterdir()}
    assert {"generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))}
