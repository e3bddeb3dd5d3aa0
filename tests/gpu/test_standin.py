"""The checks of this folder on a stand-in for a GPU, which refuses to mix devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

from tests.standin_gpu import is_installed

ROOT = Path(__file__).parents[2]
on_standin = pytest.mark.skipif(not is_installed(), reason="runs on the stand-in alone")


@pytest.mark.skipif(bool(torch.version.cuda), reason="torch is built for a GPU: run them on one")
@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot have a device of Python's",
)
@pytest.mark.parametrize(
    "chosen",
    [
        "(cuda or refuses) and not whole_pipeline and not killed",
        pytest.param("cuda and (whole_pipeline or killed)", marks=pytest.mark.slow),
    ],
)
def test_the_checks_of_a_gpu_pass_where_devices_do_not_mix(chosen, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.gpu.on_standin", "tests/gpu", "-q", "-k", chosen),
            *("-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={tmp_path / 'on'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
    assert " failed" not in done.stdout


@on_standin
@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: there[torch.tensor([0])],
        lambda there, here: here[torch.tensor([0]).to("cuda")],
        lambda there, here: there.numpy(),
        lambda there, here: there + here.to("cuda:1"),
        lambda there, here: there[torch.tensor([0]).to("cuda:1")],
        lambda there, here: here.to("cuda:2"),
        lambda there, here: torch.rand(2, device="cuda", generator=torch.Generator()),
    ],
)
def test_the_stand_in_refuses_to_mix(mix):
    here = torch.ones(3, 2)
    with pytest.raises((RuntimeError, TypeError), match=r"device|cuda"):
        mix(here.to("cuda"), here)


@on_standin
def test_a_gpu_without_a_number_is_the_one_that_is_set():
    with torch.cuda.device("cuda:1"):
        assert torch.ones(2, device="cuda").device == torch.device("cuda:1")
    there = torch.ones(2, device="cuda")
    assert there.device == torch.device("cuda:0")
    moved = there.to("cuda:1")
    made = [torch.zeros_like(moved), moved.new_empty(3), torch.arange(3, device=moved.device)]
    assert {str(one.device) for one in (moved, moved + 1, *made)} == {"cuda:1"}


@on_standin
def test_to_wait_for_one_gpu_is_not_to_wait_for_the_other():
    arrived = torch.ones(2, device="cuda:1").to("cpu", non_blocking=True)
    torch.cuda.synchronize()
    assert arrived.isnan().all()
    torch.cuda.synchronize("cuda:1")
    assert arrived.tolist() == [1.0, 1.0]


@on_standin
def test_the_stand_in_refuses_to_be_read_before_it_was_waited_for():
    arrived = torch.ones(2, device="cuda").to("cpu", non_blocking=True)
    assert arrived.isnan().all()
    torch.cuda.synchronize()
    assert arrived.tolist() == [1.0, 1.0]
