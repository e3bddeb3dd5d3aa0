"""Secrets of the environment in logs and errors. Every secret here is made up."""

import base64
import logging
import pickle
import sys
import time
import traceback

import pytest

from dskd_core.errors import ConfigError, DataError
from dskd_core.redaction import install, learn, redact, redacting

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


def test_a_refusal_that_prefect_logs_is_its_sentence_and_a_bug_keeps_its_traceback(lines):
    # As Prefect's engine makes a record of a task that failed.
    make = logging.getLogRecordFactory()
    for error in (DataError("Window 3 is empty; rebuild the corpus."), TypeError("no number")):
        try:
            raise error
        except (DataError, TypeError):
            args = ("prefect.task_runs", logging.ERROR, __file__, 1, f"failed: {error!r}", ())
            record = make(*args, sys.exc_info())
        lines.append(logging.Formatter().format(record))
    assert lines[0] == "failed: DataError('Window 3 is empty; rebuild the corpus.')"
    assert "Traceback" in lines[1]
    assert "no number" in lines[1]


def test_a_log_line_holds_nothing_that_a_terminal_obeys(lines):
    logger = logging.getLogger("somebody.else")
    logger.warning("tensor %s\nof\ttwo\r", "\x1b[2J\x9b1m\u202e\udcff")
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        logger.exception("so")
    assert lines[0] == "tensor \\x1b[2J\\x9b1m\\u202e\\udcff\nof\ttwo\\r"
    assert "ValueError: \\x1b]0;title\\x07" in lines[1]
    with pytest.raises(ValueError, match=r"^\\x1b\[31m$"):
        raised(ValueError("\x1b[31m"))


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


OTHERS = {
    "DSKD_NOTIFY_URL": "https://hooks.example.org/T0/a-hook",
    "PGPASSWORD": "of-postgres",
    "MYSQL_PWD": "of-mysql",
    "GITHUB_TOKEN": "of-github",
    "GH_TOKEN": "of-the-github-cli",
    "PREFECT_API_KEY": "pnu_of-prefect",
    "HF_TOKEN_2": "another-of-the-hub",
    "ACCESSTOKEN": "in-one-word",
    "FERNET_KEY": "of-a-cipher",
    "DBPASS": "of-a-database",
    "SESSION_COOKIE": "of-a-browser",
    "CI_JOB_JWT": "of-a-job",
    "HTTP_AUTH": "of-a-site",
}


@pytest.mark.parametrize("name", OTHERS)
def test_secrets_of_other_programs_are_known_by_their_names(name, monkeypatch):
    monkeypatch.setenv(name, OTHERS[name])
    assert redact(f"see {OTHERS[name]}!").startswith(f"see [{name}]")


def test_a_token_in_an_address_of_the_environment_is_known_alone(monkeypatch):
    monkeypatch.setenv("MIRROR", "https://of-a-mirror@mirror.example.org")
    assert redact("no access for of-a-mirror") == "no access for [MIRROR]"


def test_the_folder_one_stands_in_is_no_secret(monkeypatch):
    monkeypatch.setenv("PWD", "/home/me/work")
    monkeypatch.setenv("OLDPWD", "/home/me/work")
    assert redact("/home/me/work/x") == "/home/me/work/x"


@pytest.mark.parametrize("password", ["p@ss-word", "pass/word", "p@ss/w?o#rd", "12345/word"])
def test_a_password_in_an_address_of_the_environment_is_known_alone(password, monkeypatch):
    monkeypatch.setenv("REPORTS_DATABASE_URL", f"postgresql://me:{password}@db:5432/x")
    assert redact(f"wrong password {password}") == "wrong password [REPORTS_DATABASE_URL]"
    assert password not in redact(f"no host in mysql+driver://you:{password}@other/x")


@pytest.mark.parametrize("user", ["u", "me", "you", "admin"])
def test_a_secret_inside_a_basic_header_is_replaced_wherever_it_begins(user):
    told = redact(base64.b64encode(f"{user}:{SECRET}".encode()).decode())
    assert "[AWS_SECRET_ACCESS_KEY]" in told
    plain = base64.b64encode(SECRET.encode()).decode()
    assert not any(plain[i : i + 6] in told for i in range(len(plain) - 6))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://sometoken@host/x", "https://[login]@host/x"),
        ("ghp_" + "a1" * 18, "[token]"),
        ("github_pat_" + "a1_" * 9, "[token]"),
        ("hf_" + "aB" * 17, "[token]"),
        ("the key AKIAIOSFODNN7EXAMPLE", "the key [token]"),
        ("Authorization: Basic dTpw", "Authorization: Basic [token]"),
        ("'authorization': 'Bearer abc'", "'authorization': 'Bearer [token]'"),
        ("https://b/x?X-Amz-Signature=abc&y=1", "https://b/x?X-Amz-Signature=[token]&y=1"),
        ("Basic knowledge of hf_names", "Basic knowledge of hf_names"),
        ("max_tokens=1000000 bos_token: <|begin|>", "max_tokens=1000000 bos_token: <|begin|>"),
        ("https://a/x?sv=1&amp;sig=abcDEF", "https://a/x?sv=1&amp;sig=[token]"),
        ("to=https%3A%2F%2Fa%3Fsig%3Dabc", "to=https%3A%2F%2Fa%3Fsig%3D[token]"),
        ("https://b/o?X-Goog-Signature=dead", "https://b/o?X-Goog-Signature=[token]"),
        ("AccountName=me;AccountKey=abc123+/==;x", "AccountName=me;AccountKey=[token];x"),
        ("Proxy-Authorization: Basic dXNlcjp", "Proxy-Authorization: Basic [token]"),
        ("'x-api-key': 'abcdef'", "'x-api-key': '[token]'"),
        ("Set-Cookie: sid=abc; Path=/", "Set-Cookie: [token]"),
        ('{"password": "of-nobody"}', '{"password": "[token]"}'),
        ("secret_access_key = wJalrXUt", "secret_access_key = [token]"),
        ("run --token of-somebody", "run --token [token]"),
        ("https://discord.com/api/webhooks/1/abc", "https://discord.com/api/webhooks/[token]"),
        ("https://api.telegram.org/bot1:AB/send", "https://api.telegram.org/[token]"),
        ("sk-proj-" + "aB3" * 9, "[token]"),
        ("AIza" + "b" * 35, "[token]"),
        ("ya29." + "b" * 30, "[token]"),
        ("npm_" + "c" * 36, "[token]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc", "[token]"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [token] b"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE that breaks off", "[token]"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: A,B\n\nMIIE\n"
            "-----END RSA PRIVATE KEY-----\nc",
            "[token]\nc",
        ),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nMIIE\n-----END PGP PRIVATE KEY BLOCK-----",
            "[token]",
        ),
        (
            r'"private_key": "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "a"',
            r'"private_key": "[token]\n", "a"',
        ),
        ("('authorization', 'Bearer abc')", "('authorization', 'Bearer [token]')"),
        ("(b'Authorization', b'Basic abc')", "(b'Authorization', b'Basic [token]')"),
        ("('cookie', 'sid=abc')", "('cookie', '[token]')"),
        ("got Bearer abcDEFabcDEFabcDEF123", "got Bearer [token]"),
        ("token=abcDEFabcDEFabcDEF123", "token=[token]"),
        ("token: 'internationalisation'", "token: 'internationalisation'"),
        ("password = 'two words'", "password = '[token]'"),
        ("password   =   of-nobody", "password   =   [token]"),
        ("<password>of-nobody</password>", "<password>[token]</password>"),
        ("SecretStr('of-nobody')", "SecretStr('[token]')"),
        ('{"auths": {"h": {"auth": "dXNlcjpwYXNz"}}}', '{"auths": {"h": {"auth": "[token]"}}}'),
        ("curl -u me:of-nobody https://h", "curl -u [login] https://h"),
        ("machine h login me password of-nobody", "machine h login me password [token]"),
        ("mysql+driver://u:a'b\"c@db/p", "mysql+driver://[login]@db/p"),
        ("a=https%3A%2F%2Fu%3Ap%40host", "a=https%3A%2F%2F[login]%40host"),
        ("a=https%253A%252F%252Fu%253Ap%2540host", "a=https%253A%252F%252F[login]%2540host"),
        (
            "https://discord.com/api/v10/webhooks/1/a",
            "https://discord.com/api/v10/webhooks/[token]",
        ),
        ("https://hooks.zapier.com/hooks/catch/1/a/", "https://hooks.zapier.com/hooks/[token]"),
        ("https://chat.example.org/hooks/abc", "https://chat.example.org/hooks/[token]"),
        ("GOOG1E" + "A1" * 20, "[token]"),
        ("sk_live_" + "a1" * 12, "[token]"),
        ("SG." + "a" * 22 + "." + "b" * 43, "[token]"),
        ("gsk_" + "a1" * 26, "[token]"),
        ("hvs." + "a1" * 20, "[token]"),
        ("dapi" + "a1" * 16, "[token]"),
        ("abc8Q~" + "a" * 34, "[token]"),
        ("123456789:AA" + "h" * 33, "[token]"),
        ("AGE-SECRET-KEY-1" + "A1" * 29, "[token]"),
        ("db.host:5432:prefect:me:of-nobody", "db.host:5432:prefect:me:[token]"),
        ("mysql -h db -u me -pof-nobody x", "mysql -h db -u me -p[token] x"),
        ("sshpass -p 'of-nobody' ssh h", "sshpass -p '[token]' ssh h"),
        ("docker run -e DB_PASS=of-nobody x", "docker run -e DB_PASS=[token] x"),
        ("Driver={x};Uid=me;Pwd=of-nobody;", "Driver={x};Uid=me;Pwd=[token];"),
        ("jdbc:x://db/p?user=me&password=of-nobody", "jdbc:x://db/p?user=me&password=[token]"),
        ("mongodb+srv://me:of-nobody@h/x", "mongodb+srv://[login]@h/x"),
        ("redis://:of-nobody@cache:6379/0", "redis://[login]@cache:6379/0"),
        ("client-key-data: LS0tLS1CRUdJTiBSU0E=", "client-key-data: [token]"),
        ("x: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk", "x: [token]"),
        ("Credential=A/2/s3, Signature=of-nobody", "Credential=A/2/s3, Signature=[token]"),
        ("<SecretAccessKey>of-nobody</SecretAcc", "<SecretAccessKey>[token]</SecretAcc"),
        ("session_token = abcdef\n" + "Ab1" * 9 + "\nx = 1", "session_token = [token]\nx = 1"),
        ("auth=('me', 'of-nobody')", "auth=('me', '[token]')"),
        ("BasicAuth('me', 'of-nobody')", "BasicAuth('me', '[token]')"),
        ("auth_string: admin:of-nobody", "auth_string: [token]"),
        ("passphrase='of-nobody'", "passphrase='[token]'"),
        ('{"pass": "of-nobody"}', '{"pass": "[token]"}'),
        ("--http-password of-nobody", "--http-password [token]"),
        ("ALTER ROLE me PASSWORD 'of-nobody'", "ALTER ROLE me PASSWORD '[token]'"),
        ("{'name': 'A_TOKEN', 'value': 'of-nobody'}", "{'name': 'A_TOKEN', 'value': '[token]'}"),
        ("- name: DB_PASSWORD\n  value: of-nobody", "- name: DB_PASSWORD\n  value: [token]"),
        (r"{\"password\": \"of-nobody\"}", r"{\"password\": \"[token]\"}".replace(r"]\"", ']"')),
        ("password => of-nobody", "password => [token]"),
        ("wandb login 0123456789abcdef0123", "wandb login [token]"),
        ("wandb login --relogin --host=h of-nobody", "wandb login --relogin --host=h [token]"),
        ("redis-cli -h cache -a of-nobody ping", "redis-cli -h cache -a [token] ping"),
        ("ldapsearch -x -D cn=a -w 'of-nobody' -b c", "ldapsearch -x -D cn=a -w '[token]' -b c"),
        ("docker login -u me -p of-nobody r", "docker login -u me -p [token] r"),
        ("mongosh -u me -p of-nobody", "mongosh -u me -p [token]"),
        ("smbclient -U me%of-nobody //h/x", "smbclient -U me%[token] //h/x"),
        ("openssl rsa -passin pass:of-nobody", "openssl rsa -passin pass:[token]"),
        (
            "aws configure set aws_session_token of-nobody",
            "aws configure set aws_session_token [token]",
        ),
        ("create secret x --from-literal=a=of-nobody", "create secret x --from-literal=a=[token]"),
        ("Password is: of-nobody", "Password is: [token]"),
        ("your password is hunter22", "your password is [token]"),
        ("wandb: API key: of-nobody", "wandb: API key: [token]"),
        ("refresh token: of-nobody", "refresh token: [token]"),
        ("- name: me\n  user:\n    token: abcdef", "- name: me\n  user:\n    token: [token]"),
        ('{"user": {"token": "abcdef"}}', '{"user": {"token": "[token]"}}'),
        ("root:of-nobody@db:3306", "root:[token]@db:3306"),
        ("as me:Nobody12x@db", "as me:[token]@db"),
        ("echo root:Nobody12x | chpasswd", "echo root:[token] | chpasswd"),
        (
            "net use Z: \\\\\\\\h\\\\x of-nobody /user:me",
            "net use Z: \\\\\\\\h\\\\x [token] /user:me",
        ),
        (
            "net use \\\\\\\\h\\\\x /user:D\\\\me of-nobody",
            "net use \\\\\\\\h\\\\x /user:D\\\\me [token]",
        ),
        ("net user me of-nobody /add", "net user me [token] /add"),
        ("mysql -pof-nobody", "mysql -p[token]"),
        ("7z x -pof-nobody a.7z", "7z x -p[token] a.7z"),
        ("sqlcmd -S h -U sa -P of-nobody", "sqlcmd -S h -U sa -P [token]"),
        ("sqlplus me/of-nobody@orcl", "sqlplus me/[token]"),
        ("lftp -u me,of-nobody h", "lftp -u me,[token] h"),
        ("plink -pw of-nobody h", "plink -pw [token] h"),
        ("keytool -storepass of-nobody", "keytool -storepass [token]"),
        ("redis-cli --pass of-nobody", "redis-cli --pass [token]"),
        ("cmdkey /user:me /pass:of-nobody", "cmdkey /user:me /pass:[token]"),
        ("xfreerdp /u:me /p:of-nobody /v:h", "xfreerdp /u:me /p:[token] /v:h"),
        ("consul kv get -token=of-nobody k", "consul kv get -token=[token] k"),
        ("http -a me:of-nobody h", "http -a [login] h"),
        ("curl --proxy-user me:of-nobody h", "curl --proxy-user [login] h"),
        ("skopeo --src-creds=me:of-nobody a", "skopeo --src-creds=[login] a"),
        ("VAULT_TOKEN=of-nobody", "VAULT_TOKEN=[token]"),
        ("A=1 X_KEY='of-nobody'", "A=1 X_KEY='[token]'"),
        ("vault login of-nobody", "vault login [token]"),
        ("hub.login(token='of-nobody')", "hub.login(token='[token]')"),
        ("requirepass of-nobody", "requirepass [token]"),
        ("{'password': b'of-nobody'}", "{'password': b'[token]'}"),
        ("mount -o user=me,pass=of-nobody", "mount -o user=me,pass=[token]"),
        ("pass: Nobody12x", "pass: [token]"),
        ("'pw': 'of nobody'", "'pw': '[token]'"),
        ("pw=of-nobody", "pw=[token]"),
        ("<pass>of-nobody</pass>", "<pass>[token]</pass>"),
        ('<add key="Password" value="of-nobody"/>', '<add key="Password" value="[token]"/>'),
        ("Authorization: ApiKey of-nobody", "Authorization: ApiKey [token]"),
        ("Authorization: AWS AK:of-nobody", "Authorization: AWS [token]"),
        ('Authorization: Digest username="me", response="ab"', "Authorization: [token]"),
        ("X-Auth: of-nobody", "X-Auth: [token]"),
        ("Ocp-Apim-Subscription-Key: of-nobody", "Ocp-Apim-Subscription-Key: [token]"),
        ("encryption_key=of-nobody", "encryption_key=[token]"),
        ("JSESSIONID=of-nobody; x", "JSESSIONID=[token]; x"),
        ("jwt=of-nobody", "jwt=[token]"),
        ("Bearer Nobody12x", "Bearer [token]"),
        ("https://h/x?key=abcDEFabcDEFabcDEF123&y", "https://h/x?key=[token]&y"),
        ("https://h/x?auth=of-nobody", "https://h/x?auth=[token]"),
        ("password%3Dof-nobody", "password%3D[token]"),
        ('psk="of-nobody"', 'psk="[token]"'),
        ("the password for root is Nobody12x", "the password for root is [token]"),
        ("with password Nobody12x and", "with password [token] and"),
        ("password <Nobody12x>", "password <[token]>"),
        ("api key Nobody12x", "api key [token]"),
    ],
)
def test_tokens_and_logins_are_known_by_their_form(text, told):
    assert redact(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "token: 5; n_tokens=4096; tokens: 128000; token 'the' has id 17; pad_token_id: 100277",
        "special token: <|endoftext|>, eos_token='</s>' and bos_token: '<s>'",
        "fingerprint=0123456789abcdef of s3://bucket/root/senses/0123456789abcdef",
        "at 12:30:45:123:456789 in a.py:12:5:E501:too_long, 127.0.0.1:5432:open",
        "docker run -p 8080:80, mypy -p dskd_core, mkdir -p /data/root, ssh -p 22222 host",
        "password is missing; set PGPASSWORD. pass 3 of 5; passed: 12345678; passes=1000000",
        "the secret sense of a word; a signature of f(x: int); authorization is off",
        "{'name': 'n_senses', 'value': '500000'} - name: DSKD_ROOTS\n  value: /data/root",
        "authors=('Roget', 'Wiktionary'); author('somebody', 'somebody else')",
        "api_key is not set, password=None, token=None, password=''; key 'a' stands twice",
        "certificate: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUQ",
        "password is required, the password is missing, its password is 12 letters long",
        "docker run -p 8080:80 x; podman build -p x; mongo --port 27017; redis-cli -h host-of-x p",
        "log in with wandb login; user: someone; token: 123456 of user: 5, the next token: place",
        "the key is unknown, an access key of a stage; ldapsearch -x -b dc=exam; a user: token: 5",
        "hf:Wiki2Text@main, hub:Owner1a@v2, python:3.11.14-Slim@sha256:0123; root:x:0:0:root:/root",
        "DSKD_HOME=$PWD DSKD_ROOTS=work,s3://Dskd1; run -u 1000:1000000 -a 127.0.0.1:8080",
        "a pass: through the corpus, --pass 3; a password of letters; net use of memory",
        "EOS_TOKEN=<|endoftext|> and N_KEYS=1000000; /x?key=predicted&code=200; chown root:wheel x",
        "the bearer of news, Bearer of the ring; api key missing, no passphrase; login(settings)",
    ],
)
def test_what_is_no_secret_stays_readable(text):
    assert redact(text) == text


def test_settings_that_the_environment_lacks_can_be_learned(monkeypatch):
    monkeypatch.setattr("dskd_core.redaction._LEARNED", {})
    learn({"PREFECT_API_KEY": "pnu_from-a-profile", "PREFECT_HOME": "/home/me/prefect"})
    told = redact("pnu_from-a-profile in /home/me/prefect")
    assert told == "[PREFECT_API_KEY] in /home/me/prefect"


class Request:
    """What a library keeps in its error, and shows nowhere."""

    def __init__(self):
        self.headers = {"x-key": SECRET}


class OfALibraryError(Exception):
    def __init__(self, message, request):
        super().__init__(message)
        self.request = request


@pytest.mark.parametrize(
    "error",
    [
        ValueError({"a": [SECRET]}, (SECRET.encode(), {SECRET})),
        KeyError(SECRET),
        FileNotFoundError(2, "no such file", f"/tmp/{SECRET}"),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET),
        OfALibraryError("sent", {"headers": SECRET}),
        OfALibraryError("sent", Request()),
        ValueError(OSError(SECRET)),
        ExceptionGroup(SECRET, [OSError(SECRET), ExceptionGroup("b", [ValueError(SECRET)])]),
        KeyboardInterrupt(SECRET),
        SystemExit(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_that_an_error_carries_has_the_secret(error):
    error.add_note(f"noted {SECRET}")
    with pytest.raises(BaseException) as told:  # noqa: PT011 - any of them
        raised(error)
    kept = told.value
    shown = "".join(traceback.format_exception(kept)) + repr(vars(kept)) + repr(kept.args)
    assert SECRET not in shown
    assert SECRET.encode() not in pickle.dumps(kept)
    assert isinstance(kept, Exception) == isinstance(error, Exception)


def test_a_password_that_is_the_name_of_a_module_changes_no_error_of_it(monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "dskd_core")
    with pytest.raises(ConfigError, match="all is well"):
        raised(ConfigError("all is well"))


def test_a_library_that_pickles_tracebacks_changes_no_error_either(monkeypatch):
    pickling_support = pytest.importorskip("tblib.pickling_support")
    pickling_support.install(ConfigError)
    monkeypatch.setenv("POSTGRES_PASSWORD", "dskd_core")
    with pytest.raises(ConfigError, match="all is well"):
        raised(ConfigError("all is well"))


@pytest.mark.parametrize("n", [2_000, 4_000])
@pytest.mark.parametrize(
    "text",
    [
        *("://a:", "://", "eyJ", "eyJaaaaaaaaaa.", "authorization: ", "mysql://", "?sig=", "%26"),
        *("password", "x-", "x-a-key", "cookie: ", "-----BEGIN PRIVATE KEY-----", "--token "),
        *("name: a_token ", "auth('a', ", "mysql -p", "a:*:b:c:", "<a", "secret =>", "pwd=a\n"),
        *("LS0tLS1CRUdJTi", "postgres://a", "name: _key value: ", "password '", "--a-", '\\\\"'),
        *(
            "password is ",
            "user: ",
            "user: token:",
            "wandb login ",
            "wandb login --a ",
            "redis-cli ",
        ),
        *("redis-cli -a", "docker login ", "docker a ", "smbclient ", "smbclient -U a", "ldapa "),
        *("--from-literal=a", "aws configure set a", "api key", "mongo"),
        *("password='", "mysql://'a", "%3A%2F%2F", "token=a", "curl -u", "://a/hooks", "login a "),
    ],
)
def test_no_text_takes_long(text, n):
    began = time.process_time()
    redact(text * n)
    assert time.process_time() - began < 2.0
