"""The loss, its gradients, and whole runs: the same on a GPU as on the CPU."""

import os
import signal
from multiprocessing import get_context

import pytest
import torch

from dskd_core.config import PipelineConfig
from dskd_core.decoder.head import Head
from dskd_core.training.loop.step import Run
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.logits import Walk
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.losses.vocabulary import vocabulary_gradient
from tests.gpu.conftest import CUDA, GPU
from tests.miniature import Built, make

SENSES = {
    "name": "measured",
    "terms": [{"term": name} for name in ("ce", "kl", "state_mse", "positive", "negative")],
}


@pytest.fixture
def numbers():
    torch.manual_seed(0)
    student, teacher, head = (torch.randn(shape) for shape in ((64, 32), (64, 32), (500, 32)))
    return student, teacher, head, torch.randint(0, 500, (64,))


def on(device, config) -> PipelineConfig:
    """Return the settings with all that computes on a device."""
    return config.model_copy(
        update={
            "teacher": config.teacher.model_copy(update={"device": device}),
            "senses": config.senses.model_copy(update={"device": device}),
        }
    )


def test_the_vocabulary_pass_gives_what_it_gives_on_a_cpu(numbers, device):
    student, teacher, head, labels = numbers

    def run(place: str):
        w = head.to(place)
        targets = TeacherTargets.from_states(teacher.to(place), w, temperature=2.0)
        walk = Walk(Head(w), len(labels), 2.0, 0.7, compiled=False)
        return vocabulary_gradient(walk, student.to(place), labels.to(place), targets)

    for here, there in zip(run("cpu"), run(device), strict=True):
        torch.testing.assert_close(here, there.cpu(), atol=1e-4, rtol=1e-4)


def loss_and_gradient(numbers, device, divergence, compiled):
    student, teacher, head, labels = (value.to(device) for value in numbers)
    states = student.clone().requires_grad_()
    kind = Distillation(2.0, 0.7, divergence, compiled)
    found = distillation_loss(states, head, labels, teacher, kind)
    (gradient,) = torch.autograd.grad(found.loss, states)
    return found.loss.detach().cpu(), gradient.cpu()


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_the_loss_and_its_gradient_are_those_of_a_cpu(numbers, device, divergence):
    here = loss_and_gradient(numbers, "cpu", divergence, False)
    for one, other in zip(here, loss_and_gradient(numbers, device, divergence, False), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU")
def test_the_compiled_loss_on_a_gpu_is_that_of_a_cpu(numbers):
    here = loss_and_gradient(numbers, "cpu", "forward_kl", False)
    for one, other in zip(here, loss_and_gradient(numbers, GPU, "forward_kl", True), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_a_step_has_the_terms_and_the_gradients_of_a_cpu(copied, device, mode):
    config = copied.config
    training = config.training.model_copy(update={"mode": mode})
    training = type(training).model_validate(training.model_dump() | {"recipes": [SENSES]})
    built = Built(config.model_copy(update={"training": training}))
    found = []
    for place in ("cpu", device):
        teacher = config.teacher.model_copy(update={"device": place})
        inputs = built.inputs("measured")
        run = Run.prepare(built.store, training, teacher, inputs, "measured", 0)
        step = run.schedule.step(0)
        loss, terms = run.objective.loss(
            run.batch(step), total_weight=step.total_weight, n_chosen=step.n_chosen
        )
        loss.backward()
        gradients = {name: p.grad.cpu() for name, p in run.tail.trained().items()}
        assert terms["n_negatives"] > 0
        found.append(({name: value.cpu() for name, value in terms.items()}, gradients))
    for here, there in zip(*found, strict=True):
        assert here.keys() == there.keys()
        for name in here:
            torch.testing.assert_close(here[name], there[name], atol=1e-3, rtol=1e-3)


def test_a_whole_pipeline_ends_with_nearly_the_scores_of_a_cpu(copied, device, tmp_path):
    built = Built(on(device, make(tmp_path)))
    ends, scores = [], []
    for one in (copied, built):
        student = one.student()
        ends.append(student.record.report["last_step"]["loss"])
        scores.append(one.scores(student).record.report["perplexity"])
    assert torch.device(device).type.upper() in student.record.processor
    assert ends[0] == pytest.approx(ends[1], rel=0.05)
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


BFLOAT16 = {"teacher": {"dtype": "bfloat16"}, "training": {"compute_dtype": "bfloat16"}}
"""What ``auto`` resolves to on a GPU, and on a CPU that multiplies bfloat16."""


@pytest.mark.parametrize("mode", ["cached", "online"])
def test_a_whole_pipeline_in_bfloat16_ends_with_nearly_the_scores_of_float32(
    device, mode, tmp_path
):
    """Of layers 0, 2 and 3 the second is frozen and not the teacher's: it runs by itself."""
    ends = []
    for name, changes in (("float32", {}), ("bfloat16", BFLOAT16)):
        (tmp_path / name).mkdir()
        training = changes.get("training", {}) | {"mode": mode}
        student = {"layers": [0, 2, 3], "n_trainable_layers": 1}
        config = make(tmp_path / name, **(changes | {"training": training, "student": student}))
        built = Built(on(device, config) if name == "bfloat16" else config)
        trained = built.student()
        assert trained.record.precision == name
        ends.append(
            (trained.record.report["last_step"], built.scores(trained).record.report["perplexity"])
        )
    (here, perplexity), (there, other) = ends
    assert {name: there[name] for name in ("ce", "kl", "loss")} == pytest.approx(
        {name: here[name] for name in ("ce", "kl", "loss")}, rel=0.05
    )
    assert other == pytest.approx(perplexity, rel=0.05)


def train_and_die(config: PipelineConfig, step: int) -> None:
    """Train a student, and be killed after a step."""
    torch.set_num_threads(1)

    def die(n_done: int, n_total: int, unit: str, **terms: float) -> None:
        if n_done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    Built(config).student("kd", 0, progress=die)


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), CUDA])
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_student(tmp_path, device):
    students = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        config = on(device, make(folder))
        built = Built(config)
        built.inputs("kd")
        if name == "killed":
            child = get_context("spawn").Process(target=train_and_die, args=(config, 6))
            child.start()
            child.join(300)
            assert child.exitcode == -signal.SIGKILL
            assert len(built.store.of_stage("checkpoint")) == 1
        steps = []
        students.append(built.student("kd", 0, progress=lambda n, *_, **__: steps.append(n)))  # noqa: B023
    assert steps[0] == 5  # the checkpoint was of step 4
    losses = [student.table("history.parquet")["loss"].to_pylist() for student in students]
    assert losses[0] == pytest.approx(losses[1], rel=0.0 if device == "cpu" else 1e-4)
