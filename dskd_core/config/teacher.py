"""The teacher: which model, and how it is run."""

from typing import Literal

from dskd_core.config.settings import Device, Name, Settings, Uri


class TeacherConfig(Settings):
    """The frozen model whose states are read, and how it is run."""

    source: Uri = "sample:smollm2-135m"
    """A hub id, a local folder, a .gguf file, or sample:smollm2-135m (ships in a package)."""
    revision: Name | None = None
    """Branch, tag or commit of a hub id; ignored for files."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the teacher's weights and arithmetic; auto is what the device multiplies
    natively: bfloat16, on older GPUs float16, on most CPUs float32."""
    device: Device = "auto"
    """A torch device such as cuda:0 or cpu; auto takes CUDA where there is one."""
    trust_remote_code: bool = False
    """Run Python code that a hub repository ships. Off unless you have read that code."""
