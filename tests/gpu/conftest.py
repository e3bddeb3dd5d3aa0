"""Every check is a function of a device: a GPU is compared with the CPU, and a CPU with itself."""

import shutil

import pytest
import torch

from tests.miniature import Built

collect_ignore = ["on_standin.py"]
GPU = "cuda:1" if torch.cuda.device_count() > 1 else "cuda"
"""The second where there are two: what forgets the number would take the first."""
CUDA = pytest.param(
    GPU,
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU"),
    ],
)


@pytest.fixture(params=["cpu", CUDA])
def device(request) -> str:
    return request.param


@pytest.fixture
def copied(miniature, tmp_path) -> Built:
    """A miniature whose inputs stand, in a place of its own to add to."""
    miniature.inputs()
    place = tmp_path / "copied"
    shutil.copytree(miniature.config.root_uri, place)
    return Built(miniature.config.model_copy(update={"root_uri": str(place)}))
