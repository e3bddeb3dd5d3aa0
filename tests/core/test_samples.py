import pytest

from dskd_core.errors import ConfigError
from dskd_core.samples import resolve


def test_any_other_source_comes_back_as_it_is():
    assert resolve("/data/wiki.xml.bz2") == "/data/wiki.xml.bz2"


def test_an_unknown_sample_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ConfigError, match=r"'sample:nothing' is no sample; .*enwiki-206.*roget"):
        resolve("sample:nothing")


def test_a_sample_whose_package_is_absent_is_refused_with_its_cure(monkeypatch):
    monkeypatch.setattr("dskd_core.samples._FILES", {"roget": ("no-such-package", "a/b")})
    with pytest.raises(
        ConfigError, match="'sample:roget' needs the package no-such-package; run: pip"
    ):
        resolve("sample:roget")
