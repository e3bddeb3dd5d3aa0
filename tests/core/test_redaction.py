"""Secrets of the environment in logs and errors. Every secret here is made up."""

import base64
import logging

import pytest

from dskd_core.errors import ConfigError
from dskd_core.redaction import install, redact, redacting

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:correct-horse")
    monkeypatch.setenv("POSTGRES_PASSWORD", "abc")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-parallelism")
    monkeypatch.setenv("HF_TOKEN_PATH", "/home/me/token")


@pytest.fixture
def lines():
    """The lines of a logger, formatted as any handler would."""
    made, written = logging.getLogRecordFactory(), []
    install()

    class Lines(logging.Handler):
        def emit(self, record):
            written.append(self.format(record))

    logger, handler = logging.getLogger("somebody.else"), Lines()
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)
    logging.setLogRecordFactory(made)


@redacting
def raised(error: BaseException) -> None:
    raise error


def test_every_form_of_a_secret_is_replaced_by_its_name():
    header = base64.b64encode(b"admin:correct-horse").decode()
    told = redact(f"key {SECRET} or wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCY, {header}, correct-horse")
    name, login = "[AWS_SECRET_ACCESS_KEY]", "[PREFECT_API_AUTH_STRING]"
    assert told == f"key {name} or {name}, {login}, {login}"


def test_short_values_places_and_settings_are_no_secrets():
    text = "abc false-parallelism /home/me/token"
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://me:pass@host/b", "s3://[login]@host/b"),
        ("postgresql+asyncpg://u:p@db:5432/x", "postgresql+asyncpg://[login]@db:5432/x"),
        ("http://127.0.0.1:4200/api?a=b@c", "http://127.0.0.1:4200/api?a=b@c"),
        ("hf:data@v1 and me@host", "hf:data@v1 and me@host"),
    ],
)
def test_logins_in_addresses_are_replaced(text, told):
    assert redact(text) == told


def test_a_longer_secret_that_holds_a_shorter_one_is_replaced_whole(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{SECRET}-and-more")
    assert redact(f"{SECRET}-and-more") == "[HF_TOKEN]"


def test_log_lines_and_tracebacks_of_any_logger_are_redacted(lines):
    log = logging.getLogger("somebody.else")
    log.warning("the key is %s", SECRET)
    log.warning("all is %s", "well")
    try:
        raise OSError(f"denied for {SECRET}")
    except OSError:
        log.exception("it failed")
    assert lines[0] == "the key is [AWS_SECRET_ACCESS_KEY]"
    assert lines[1] == "all is well"
    assert "denied for [AWS_SECRET_ACCESS_KEY]" in lines[2]
    assert "Traceback" in lines[2]
    assert SECRET not in "".join(lines)


def test_installing_twice_wraps_once(lines):
    factory = logging.getLogRecordFactory()
    install()
    assert logging.getLogRecordFactory() is factory


@pytest.mark.parametrize(
    "error",
    [
        OSError(f"denied for {SECRET}"),
        OSError(5, f"denied for {SECRET}"),
        ConfigError(f"root {SECRET}"),
    ],
)
def test_an_error_keeps_its_type_and_loses_the_secret(error):
    with pytest.raises(type(error), match="AWS_SECRET_ACCESS_KEY") as told:
        raised(error)
    assert SECRET not in str(told.value)


def test_the_errors_behind_an_error_lose_it_too():
    error = OSError("the upload broke off")
    error.__cause__ = ValueError(f"denied for {SECRET}")
    with pytest.raises(OSError, match="upload broke off") as told:
        raised(error)
    assert str(told.value.__cause__) == "denied for [AWS_SECRET_ACCESS_KEY]"


def test_an_error_that_cannot_be_changed_becomes_one_that_names_it():
    class StubbornError(Exception):
        def __str__(self):
            return f"denied for {SECRET}"

    match = r"^StubbornError: denied for \[AWS_SECRET_ACCESS_KEY\]$"
    with pytest.raises(RuntimeError, match=match) as told:
        raised(StubbornError())
    assert told.value.__context__ is None, "the error it stands for would be kept with it"
