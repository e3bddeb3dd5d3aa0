import pytest
import torch

from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import OVERRIDE, Processor
from dskd_core.planning.hours import probe
from dskd_core.planning.hours.hardware import Device, named_gpu
from dskd_core.planning.hours.precisions import precision_on, resolved_for
from dskd_core.planning.hours.probe import Host, this_machine


def precisions(config: PipelineConfig) -> tuple[str, str, str]:
    return config.teacher.dtype, config.training.compute_dtype, config.senses.coarse_dtype


def test_auto_is_what_a_named_gpu_multiplies_and_training_never_float16():
    auto = PipelineConfig()
    assert precisions(resolved_for(auto, named_gpu("A100-80GB"))) == ("bfloat16",) * 3
    for old in ("V100-16GB", "V100-32GB", "T4-16GB"):
        half = precisions(resolved_for(auto, named_gpu(old)))
        assert half == ("float16", "float32", "float32")


def test_a_precision_that_is_asked_for_is_kept_on_every_device():
    values = {"teacher": {"dtype": "float32"}, "training": {"compute_dtype": "bfloat16"}}
    asked = PipelineConfig.model_validate(values)
    assert precisions(resolved_for(asked, named_gpu("H100-80GB")))[:2] == ("float32", "bfloat16")
    assert precision_on(named_gpu("T4-16GB"), "float32", trains=False) == "float32"


def test_a_device_that_is_not_here_is_planned_in_bfloat16(monkeypatch):
    monkeypatch.delenv(OVERRIDE, raising=False)
    elsewhere = PipelineConfig.model_validate({"teacher": {"device": "xpu:3"}})
    monkeypatch.setattr("dskd_core.planning.hours.precisions.torch_device", _not_here)
    assert precisions(resolved_for(elsewhere)) == ("bfloat16",) * 3


def _not_here(name: str) -> torch.device:
    from dskd_core.errors import ConfigError

    raise ConfigError(f"The device {name!r} is not usable here; set auto.")


def test_time_on_a_device_is_that_of_the_precision_of_the_products():
    v100 = Device("V", 100.0, 10.0, 1, 5.0, utilisation=0.5, precision="float16")
    assert v100.seconds(100.0, 0.0, 0.0) == 2.0
    assert v100.seconds(100.0, 0.0, 0.0, "float32") == 20.0
    assert v100.seconds(100.0, 20.0, 15.0) == 2.0 + 3.0


def test_emulated_products_are_slower_than_float32_ones_on_this_machine():
    cpu = Host("here", 60.0, 60.0, 1, 1.0, precision="float32", head_flops=30.0)
    assert (cpu.rate("float32"), cpu.rate("bfloat16"), cpu.head_rate("float32")) == (60, 10, 30)


@pytest.fixture
def products(monkeypatch) -> set[torch.dtype]:
    """The precisions in which a tiny probe multiplies."""
    found = set()
    tiny = probe._Shapes(1, 8, 64, 64, 8, 64)
    monkeypatch.setattr(probe, "_CPU", tiny)
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.0)
    full = torch.full

    def seen(*arguments, dtype=None, **named):
        found.add(dtype)
        return full(*arguments, dtype=dtype, **named)

    monkeypatch.setattr(torch, "full", seen)
    return found


def test_a_probe_never_multiplies_in_a_precision_that_is_emulated(products, monkeypatch):
    monkeypatch.setattr(probe, "processor_of", lambda _: Processor("cpu", "AVX2", "E", "float32"))
    monkeypatch.setenv(OVERRIDE, "bfloat16")
    host = this_machine("cpu")
    assert products == {torch.float32}
    assert (host.precision, host.processor) == ("float32", "CPU AVX2 (E)")
    assert host.flops == host.float32_flops > 0


def test_a_probe_measures_the_native_precision_and_float32(products, monkeypatch):
    monkeypatch.setattr(probe, "processor_of", lambda _: Processor("cpu", "AMX", "X", "bfloat16"))
    monkeypatch.delenv(OVERRIDE, raising=False)
    host = this_machine("cpu")
    assert products == {torch.float32, torch.bfloat16}
    assert host.precision == "bfloat16"
    assert min(host.head_flops, host.max_values, host.softmax_values, host.core) > 0


def test_the_gpu_that_is_named_is_waited_for_and_no_other(monkeypatch):
    waited, second = [], torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.0)
    probe._fastest("copy", lambda: None, second)
    assert set(waited) == {second}
