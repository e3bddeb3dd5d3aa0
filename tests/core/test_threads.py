"""Threads against the affinity mask and the quota of control groups, on files as Linux has them."""

from pathlib import Path

import pytest
import torch

from dskd_core import threads
from dskd_core.threads import cpu_quota, limit_threads, usable_processors


def machine(root: Path, groups: str, **files: str) -> Path:
    """Write /proc/self/cgroup and files of /sys/fs/cgroup, whose names have __ for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_version_2_has_quota_and_period_in_one_file(tmp_path):
    root = machine(tmp_path, "0::/\n", cpu_dot_max="150000 100000")
    assert cpu_quota(root) == 1.5


def test_the_word_max_is_no_quota(tmp_path):
    root = machine(tmp_path, "0::/\n", cpu_dot_max="max 100000")
    assert cpu_quota(root) is None


def test_the_smallest_quota_on_the_way_up_counts(tmp_path):
    files = {
        "pod__cpu_dot_max": "200000 100000",
        "pod__box__cpu_dot_max": "400000 100000",
    }
    assert cpu_quota(machine(tmp_path, "0::/pod/box\n", **files)) == 2.0


def test_version_1_has_two_files_in_the_folder_of_its_controllers(tmp_path):
    files = {
        "cpu,cpuacct__box__cpu_dot_cfs_quota_us": "300000",
        "cpu,cpuacct__box__cpu_dot_cfs_period_us": "100000",
    }
    groups = "5:memory:/other\n4:cpu,cpuacct:/box\n"
    assert cpu_quota(machine(tmp_path, groups, **files)) == 3.0


def test_a_group_named_as_the_host_knows_it_is_read_at_the_outermost_folder(tmp_path):
    files = {"cpu__cpu_dot_cfs_quota_us": "50000", "cpu__cpu_dot_cfs_period_us": "100000"}
    groups = "4:cpuacct,cpu:/docker/0123\n"
    assert cpu_quota(machine(tmp_path, groups, **files)) == 0.5


def test_minus_one_is_no_quota_and_other_controllers_do_not_count(tmp_path):
    files = {
        "cpu__cpu_dot_cfs_quota_us": "-1",
        "cpu__cpu_dot_cfs_period_us": "100000",
        "memory__cpu_dot_max": "100000 100000",
    }
    assert cpu_quota(machine(tmp_path, "1:cpu:/\n5:memory:/\n", **files)) is None


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


def test_a_file_that_cannot_be_read_as_numbers_is_no_quota(tmp_path):
    assert cpu_quota(machine(tmp_path, "0::/\n", cpu_dot_max="")) is None


@pytest.mark.parametrize(
    ("quota", "mask", "wanted"), [(None, 8, 8), (2.0, 8, 2), (1.5, 8, 2), (0.2, 8, 1), (16.0, 4, 4)]
)
def test_the_smaller_of_mask_and_quota_is_usable_and_a_part_is_a_whole(
    monkeypatch, tmp_path, quota, mask, wanted
):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(mask)))
    monkeypatch.setattr(threads, "cpu_quota", lambda _: quota)
    assert usable_processors(tmp_path) == wanted


@pytest.mark.parametrize(("usable", "wanted"), [(1, 1), (2, 2), (64, 2)])
def test_threads_are_lowered_and_never_raised(monkeypatch, usable, wanted):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "usable_processors", lambda: usable)
    try:
        torch.set_num_threads(2)
        limit_threads()
        assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(before)
