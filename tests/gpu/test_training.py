"""The same numbers on a GPU as on the CPU; skipped, with the reason, where there is none."""

import pytest
import torch

from dskd_core.decoder.head import Head
from dskd_core.training.losses.distillation import Distillation, distillation_loss
from dskd_core.training.losses.logits import Walk
from dskd_core.training.losses.targets import TeacherTargets
from dskd_core.training.losses.vocabulary import vocabulary_gradient
from tests.miniature import Built, make

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def test_the_vocabulary_pass_on_cuda_equals_the_cpu():
    torch.manual_seed(0)
    student, teacher, head = (torch.randn(shape) for shape in ((64, 32), (64, 32), (500, 32)))
    labels = torch.randint(0, 500, (64,))

    def run(device: str):
        w = head.to(device)
        targets = TeacherTargets.from_states(teacher.to(device), w, temperature=2.0)
        walk = Walk(Head(w), len(labels), 2.0, 0.7, compiled=False)
        return vocabulary_gradient(walk, student.to(device), labels.to(device), targets)

    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        torch.testing.assert_close(here, there.cpu(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_the_loss_on_cuda_equals_the_cpu(divergence, compiled):
    torch.manual_seed(0)
    student, teacher, head = (torch.randn(shape) for shape in ((64, 32), (64, 32), (500, 32)))
    labels = torch.randint(0, 500, (64,))
    outcomes = []
    for device, fast in (("cpu", False), ("cuda", compiled)):
        states = student.to(device).requires_grad_()
        found = distillation_loss(
            states,
            head.to(device),
            labels.to(device),
            teacher.to(device),
            Distillation(2.0, 0.7, divergence, fast),
        )
        (gradient,) = torch.autograd.grad(found.loss, states)
        outcomes.append((found.loss.detach().cpu(), gradient.cpu()))
    for here, there in zip(*outcomes, strict=True):
        torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_a_miniature_trains_on_cuda_to_nearly_the_same_loss(tmp_path):
    finals = []
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        folder.mkdir()
        built = Built(make(folder, teacher={"device": device}))
        finals.append(built.student().record.report["last_step"]["loss"])
    assert finals[0] == pytest.approx(finals[1], rel=0.05)
