import logging
from contextlib import nullcontext

import pytest
import torch

from dskd_core.config import PipelineConfig, SensesConfig, TeacherConfig, TrainingConfig
from dskd_core.decoder import precision
from dskd_core.decoder.precision import (
    Processor,
    best_precision,
    processor_of,
    resolved,
    resolved_senses,
    resolved_teacher,
    resolved_training,
)
from dskd_core.errors import ConfigError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget what this machine is, and what was said about it."""
    monkeypatch.delenv("DSKD_PRECISION", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    caches = (precision._cpu, precision._check_possible, precision._warn_once)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def cpu(monkeypatch):
    """Play a CPU: its machine, vector width as torch names it, AMX, AVX512-BF16, ARM's BF16."""

    def play(machine="x86_64", width="AVX2", *, amx=False, bf16=False, arm=False) -> None:
        monkeypatch.setattr(precision.platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: width)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
        # On x86 oneDNN says yes to bfloat16 wherever it can emulate it.
        said = arm or width == "AVX512"
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: said)
        precision._cpu.cache_clear()

    return play


@pytest.fixture
def cuda(monkeypatch):
    """Play a GPU by its compute capability."""

    def play(capability: tuple[int, int], *, bf16: bool) -> None:
        def supported(including_emulation: bool = True) -> bool:
            return bf16 or including_emulation

        monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        monkeypatch.setattr(precision, "torch_device", torch.device)

    return play


@pytest.mark.parametrize(
    ("played", "instructions", "native"),
    [
        ({"width": "AVX2"}, "AVX2", "float32"),
        ({"width": "DEFAULT"}, "DEFAULT", "float32"),
        ({"width": "AVX512"}, "AVX-512", "float32"),
        ({"width": "AVX512", "bf16": True}, "AVX512-BF16", "bfloat16"),
        ({"width": "AVX512", "bf16": True, "amx": True}, "AMX", "bfloat16"),
        ({"machine": "aarch64", "width": "DEFAULT", "arm": True}, "ARM-BF16", "bfloat16"),
        ({"machine": "aarch64", "width": "DEFAULT"}, "ARM", "float32"),
        ({"machine": "arm64", "width": "DEFAULT"}, "ARM", "float32"),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_has_instructions_for_it(
    cpu, played, instructions, native
):
    cpu(**played)
    found = processor_of(CPU)
    assert (found.instructions, found.native) == (instructions, native)
    assert resolved_teacher(TeacherConfig(device="cpu")).dtype == native
    assert resolved_training(TrainingConfig(), "cpu").compute_dtype == native
    assert resolved_senses(SensesConfig(device="cpu")).coarse_dtype == native


@pytest.mark.parametrize("variables", [("AVX512", "AVX2"), ("AVX2", "")])
def test_a_cpu_whose_libraries_are_held_to_avx2_counts_as_such(cpu, monkeypatch, variables):
    width, limit = variables  # ATEN_CPU_CAPABILITY changes torch's width, ONEDNN_MAX_CPU_ISA oneDNN
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    cpu(width=width, amx=True, bf16=True)
    assert processor_of(CPU).native == "float32"


@pytest.mark.parametrize(
    ("gpu", "capability", "bf16", "teacher", "others"),
    [
        ("H100", (9, 0), True, "bfloat16", "bfloat16"),
        ("A100", (8, 0), True, "bfloat16", "bfloat16"),
        ("T4", (7, 5), False, "float16", "float32"),
        ("V100", (7, 0), False, "float16", "float32"),
        ("P40", (6, 1), False, "float32", "float32"),
    ],
)
def test_a_gpu_without_bfloat16_reads_in_float16_if_that_is_fast_and_trains_in_float32(
    cuda, gpu, capability, bf16, teacher, others
):
    cuda(capability, bf16=bf16)
    assert resolved_teacher(TeacherConfig(device="cuda:0")).dtype == teacher, gpu
    assert resolved_training(TrainingConfig(), "cuda:0").compute_dtype == others
    assert resolved_senses(SensesConfig(device="cuda:0")).coarse_dtype == others


def test_the_environment_can_name_another_precision_for_all_that_is_auto(cpu, monkeypatch):
    cpu(width="AVX2")
    monkeypatch.setenv("DSKD_PRECISION", "bfloat16")
    found = resolved(PipelineConfig.model_validate({"training": {"compute_dtype": "float32"}}))
    named = (found.teacher.dtype, found.senses.coarse_dtype, found.training.compute_dtype)
    assert named == ("bfloat16", "bfloat16", "float32"), "what is named stays as it is"


def test_float16_by_the_environment_is_for_the_teacher_alone(cpu, monkeypatch):
    cpu(width="AVX2")
    monkeypatch.setenv("DSKD_PRECISION", "float16")
    found = resolved(PipelineConfig())
    named = (found.teacher.dtype, found.senses.coarse_dtype, found.training.compute_dtype)
    assert named == ("float16", "float32", "float32")


def test_a_variable_that_names_no_precision_is_refused_with_its_value():
    cpu = Processor("cpu", "AVX2", "EPYC", "float32")
    with pytest.raises(ConfigError, match="DSKD_PRECISION='bf16' is no precision; set bfloat16"):
        best_precision(cpu, {"DSKD_PRECISION": "bf16"})


FLOAT32 = {"training": {"compute_dtype": "float32"}, "senses": {"coarse_dtype": "float32"}}


def test_an_emulated_precision_runs_after_one_warning_that_names_its_cost_and_the_cure(cpu, caplog):
    cpu(width="AVX2")
    asked = PipelineConfig.model_validate(FLOAT32 | {"teacher": {"dtype": "bfloat16"}})
    with caplog.at_level(logging.WARNING):
        assert resolved(asked) == resolved(asked) == asked
    (said,) = (record.getMessage() for record in caplog.records)
    assert "teacher.dtype bfloat16 is emulated on CPU AVX2" in said
    assert "slower than float32" in said
    assert said.endswith("set teacher.dtype to auto.")


def test_a_native_precision_runs_without_a_word(cpu, caplog):
    cpu(width="AVX512", amx=True)
    for dtype in ("bfloat16", "float32"):
        resolved(PipelineConfig.model_validate(FLOAT32 | {"teacher": {"dtype": dtype}}))
    assert not caplog.records


def test_settings_whose_precisions_are_named_need_no_device(caplog):
    """A worker without a GPU looks for what is done, and joins shards that others made."""
    teacher = TeacherConfig(device="cuda:7", dtype="bfloat16")
    senses = SensesConfig(device="cuda:7", coarse_dtype="bfloat16")
    training = TrainingConfig(compute_dtype="bfloat16")
    assert resolved_teacher(teacher) == teacher
    assert resolved_senses(senses) == senses
    assert resolved_training(training, "cuda:7") == training
    assert not caplog.records
    for stage, settings in (("teacher", teacher), ("senses", senses)):
        with pytest.raises(ConfigError, match=r"device 'cuda:7' is not usable here"):
            resolved(PipelineConfig().model_copy(update={stage: settings}))


def test_a_precision_that_the_device_cannot_compute_in_is_refused_before_any_work(monkeypatch):
    def unsupported(*_: object) -> None:
        raise RuntimeError("addmm not implemented for 'Half'\nsecond line")

    monkeypatch.setattr(torch, "matmul", unsupported)
    config = PipelineConfig.model_validate({"teacher": {"dtype": "float16", "device": "cpu"}})
    with pytest.raises(ConfigError, match=r"teacher.dtype float16 cannot .*'Half'\); set it to a"):
        resolved(config)


def test_scikit_learn_has_no_coarse_rounds_whose_precision_could_change_an_address():
    for asked in ("auto", "bfloat16"):
        config = SensesConfig(backend="sklearn", coarse_dtype=asked)
        assert resolved_senses(config).coarse_dtype == "float32"


def test_nothing_but_the_precision_is_changed(cpu):
    cpu(width="AVX512", amx=True)
    config = PipelineConfig()
    found = resolved(config)
    assert found.teacher.dtype == "bfloat16"
    assert resolved(found) == found
    back = {
        "teacher": found.teacher.model_copy(update={"dtype": "auto"}),
        "senses": found.senses.model_copy(update={"coarse_dtype": "auto"}),
        "training": found.training.model_copy(update={"compute_dtype": "auto"}),
    }
    assert found.model_copy(update=back) == config


@pytest.mark.parametrize("name", ["meta", "cuda:999", "cuda:" + "1" * 21, "nonsense"])
def test_a_device_that_does_not_compute_here_is_refused_with_those_that_do(name):
    with pytest.raises(ConfigError, match=rf"device '{name}.* not usable here .*one of cpu"):
        precision.torch_device(name)


TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: ..."
)


@pytest.fixture
def broken_cuda(monkeypatch):
    """Play a torch that is built for CUDA and cannot use it."""

    def play(why, kind=RuntimeError):
        def fail(*_, **__):
            raise kind(why)

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setattr(torch.cuda, "init", fail)
        monkeypatch.setattr(precision.torch, "empty", fail)

    for cached in (precision._tried, precision._tell_of_unusable_gpu):
        cached.cache_clear()
    yield play
    precision._tell_of_unusable_gpu.cache_clear()


@pytest.mark.parametrize("kind", [RuntimeError, torch.cuda.DeferredCudaCallError])
def test_a_driver_that_is_too_old_is_named_where_cuda_is_asked_for(broken_cuda, kind):
    broken_cuda(TOO_OLD, kind)
    with pytest.raises(ConfigError, match=r"'cuda' is not usable .*too old.*; set auto, or .*cpu"):
        precision.torch_device("cuda")


def test_a_driver_that_is_too_old_is_told_of_once_where_auto_takes_the_cpu(broken_cuda, caplog):
    broken_cuda(TOO_OLD)
    for _ in range(2):
        assert precision.torch_device("auto") == CPU
    [said] = caplog.messages
    assert "auto is the CPU" in said
    assert "too old (found version 11040)" in said


@pytest.mark.parametrize(
    "why", ["Found no NVIDIA driver on your system.", "No CUDA GPUs are available"]
)
def test_auto_takes_the_cpu_without_a_word_where_that_was_chosen(broken_cuda, caplog, why):
    broken_cuda(why)
    assert precision.torch_device("auto") == CPU
    assert not caplog.messages


def test_a_gpu_that_is_hidden_is_refused_with_the_variable_that_hides_it(broken_cuda, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    broken_cuda("No CUDA GPUs are available")
    with pytest.raises(
        ConfigError, match=r"No CUDA GPUs are available; CUDA_VISIBLE_DEVICES is ''"
    ):
        precision.torch_device("cuda:0")
