"""Secrets of the environment, kept out of logs, error messages and pages.

Credentials reach a process through its environment, or through settings it is told of. Whatever
repeats one, be it a library's error message or a log line at debug level, has
``[AWS_SECRET_ACCESS_KEY]`` in its place. Values of fewer than six characters are left alone: they
would blank out ordinary words. Logins in addresses and tokens of known forms are replaced, too,
whoever's they are.
"""

import base64
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote, quote_plus, unquote

from dskd_core.control_characters import visible
from dskd_core.errors import DskdError
from dskd_core.unsecret import without_secrets

P = ParamSpec("P")
R = TypeVar("R")
MIN_CHARACTERS = 6
_MIN_INSIDE_BASE64 = 8
_SECRET = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|API_?KEY|ACCESS_?KEY|ACCESS_KEY_ID|SECRET_?KEY|ACCOUNT_KEY|JWT|COOKIE|"
    r"AUTH_STRING|AUTHORIZATION|CREDENTIALS?|PRIVATE_?KEY|ENCRYPTION_KEY|PASSPHRASE|PASSCODE|PAT|"
    r"CUSTOM_HEADERS|CONNECTION_STRING|SAS|NOTIFY_URL|WEBHOOK|WEBHOOK_URL)\d*(?:_|$)"
    r"|(?:PASSWORD|PASSWD|TOKEN|SECRET)\d*(?:_|$)|_PWD$|(?:^|_|SSH|DB)PASS$|(?:^|_)AUTH$"
    r"|(?:^|_)(?:SIGNING|MASTER|FERNET|AUTH|KAGGLE|LICEN[CS]E|DEPLOY|SHARED|CLIENT|APP|AWS|S3|HMAC)"
    r"_?KEY\d*$|^REDISCLI_AUTH$"
)
_PLACE = re.compile(r"_(?:PATH|FILE|URI|DIR|NAME)$")
_DATABASE = re.compile(r"DATABASE|CONNECTION|DSN")
TOKEN = (
    r"gh[opsru]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|hf_[A-Za-z0-9]{20,}|gl(?:pat|dt|rt|ptt)-[\w-]{20,}|"
    r"pn[ub]_[A-Za-z0-9]{20,}|xox[abeprs]-[\w-]{10,}|xapp-[\w-]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|"
    r"AIza[\w-]{35}|ya29\.[\w-]{20,}|sk-(?:proj-|svcacct-|ant-\w{1,10}-)?\w{20,}|npm_[A-Za-z0-9]{36}|"
    r"pypi-AgE[\w-]{20,}|dckr_pat_[\w-]{20,}|nvapi-[\w-]{20,}|wandb_v1_\w{20,}|"
    r"GOOG[A-Z0-9]{20,57}|api_org_[A-Za-z0-9]{20,}|[rs]k_(?:live|test)_\w{20,}|"
    r"SG\.[\w-]{22}\.[\w-]{43}|gsk_\w{40,}|xai-\w{60,}|pplx-\w{40,}|r8_\w{37}|dapi[0-9a-f]{32}|"
    r"hv[sbr]\.[\w-]{24,}|do[opr]_v1_[0-9a-f]{64}|gl(?:sa|c)_[\w=+/]{32,}|shp(?:at|ca|pa|ss)_[0-9a-f]{32}|"
    r"lsv2_(?:pt|sk)_[0-9a-f]{32}|dp\.(?:pt|st|sa)\.[\w.-]{40,}|\w{3}8Q~[\w.~-]{31,}|"
    r"\d{8,10}:AA[\w-]{33}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|PuTTY-User-Key-File|"
    r"eyJ[\w-]{10,400}\.eyJ[\w-]{1,4000}\.[\w-]*|-----BEGIN [A-Z ]{0,20}PRIVATE KEY"
)
"""Tokens that are known by their form: those of GitHub, Hugging Face, GitLab, Prefect, Slack, AWS,
Google, Azure, OpenAI, Anthropic, Groq, xAI, Perplexity, Replicate, npm, PyPI, Docker, NVIDIA, W&B,
LangSmith, Databricks, DigitalOcean, Vault, Doppler, Grafana, Stripe, SendGrid, Shopify and
Telegram, signed ones (JWT) and private keys. It is a pattern of Python's and of JavaScript's,
because the form of a run has it, too."""
LOGIN = r"(?:://|%(?:25){0,2}3[Aa](?:%(?:25){0,2}2[Ff]){2})\S{0,500}?(?:@|%(?:25){0,2}40)"
"""A login in an address, also in one that was quoted once, twice or thrice."""
_DATABASES = r"((?:postgres|mysql|maria|mongo|redis|amqp|mssql|oracle)[\w+]{0,20}://)"


def _in_any_case(words: str) -> str:
    """Write a pattern of plain words so that it needs no flag: the form of a run can set none."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", words)


SIGNED = (
    r"(?:[?&;]|%3[Ff]|%26|\\u0026)"
    + _in_any_case(
        "(?:x-(?:amz|goog)-(?:signature|credential|security-token)|sig|signature|token|access_token|"
        "auth_token|api_?key|password|secret)"
    )
    + "(?:=|%3[Dd])"
)
"""What stands before a signature or a key in an address, also where that is quoted; a pattern of
both languages, too."""
_NAMED = (
    r"(?:password|passwd|passphrase|passcode|[_-]pass|sshpass|pwd|passwort|secret|signature|\bpsk|"
    r"auth[_-]?string|\bjwt|sessionid|csrftoken|key[_-]?data|shared[_-]?access[_-]?key|"
    r"(?:secret|api|access|account|private|encryption|fernet|master|licen[cs]e|hmac|signing|"
    r"subscription)[ _-]?key|(?:access|auth|refresh|session|hf|api)[ _-]?token|id[_-]?token)"
)
_FLAGS = (
    r"(?:mysql\w{0,10}|mariadb[\w-]{0,10}|mongo\w{0,10}|sshpass|7z|rar|cqlsh|psexec|twine|useradd|"
    r"usermod|(?:docker|podman|helm|az|oc|crane|oras) [\w ]{0,30}login)\b[^\r\n]{0,200}? (?-i:-p)|"
    r"(?:redis|valkey)-cli\b[^\r\n]{0,200}? (?-i:-a)|"
    r"(?:sqlcmd|bcp|isql|ipmitool|zip|unzip)\b[^\r\n]{0,200}? (?-i:-P)|"
    r"ldap\w{1,20}\b[^\r\n]{0,200}? (?-i:-w)|"
    r"net use (?:\w: )?\\\\\S{1,200} (?:/user:\S{1,100} )?(?!/)|net user \S{1,60} (?=\S{6,60} /)|"
    r"vault login |requirepass |masterauth |sqlplus [^\s/]{1,60}/(?!nolog)|lftp -u [^\s,]{1,60},"
)
"""Of programs: what stands before a password on their command line."""
_QUOTE, _IS = r"\\{0,3}['\"]", r"\s{0,9}(?::|=>?)\s{0,9}"
"""A quotation mark, in a text that was quoted itself too; and what stands before a value."""
_SCHEMES = r"(?:Basic|Bearer|Token|ApiKey|AWS|Negotiate)"
_HEADER = rf"authorization['\"]?\s?[:=,]\s?(?:b?['\"])?(?:{_SCHEMES} )?"
_OTHER_HEADER = (
    r"(?:cookie|private-token|x-[\w-]{0,30}(?:key|token|secret|auth))(?:['\"]?\s?:\s?|['\"],\s?)"
    r"(?:b?['\"])?"
)
_HOOKS = (
    r"(?:hooks\.(?:slack|zapier)\.com/\w{1,40}|discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks"
    r"|webhook\.office\.com|api\.telegram\.org|maker\.ifttt\.com/trigger"
    r"|://[^\s/'\"]{1,253}/hooks)/"
)
_KEY = (
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY[A-Z ]{0,9}-----"
    r"(?:(?!-----(?:BEGIN|END))[\s\S]){0,20000}(?:-----END [A-Z ]{0,40}-----)?"
)
"""A private key to its end: armour may have headers, and its lines may be written as ``\\n``."""
_LONG_VALUE = r"(?=[A-Za-z+/=._~-]{0,40}\d)[\w+/=.~-]{20,}"
"""What is too long for a word, and has a digit."""
_MIXED = r"(?=\S{0,40}\d)(?=\S{0,40}(?-i:[a-z]))(?=\S{0,40}(?-i:[A-Z]))[\w.~!#$%^&*+/=-]{8,200}"
"""What has a digit, a small and a large letter, as few words have."""
# A login ends at the last "@": its password may hold "@", "/", "?" and "#". What may repeat itself
# in a text has an end, so that no text takes longer than its length allows.
_KNOWN_FORMS = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (_KEY, "[token]"),  # before what would take its first line for a value
        (r"PuTTY-User-Key-File[\s\S]{0,20000}", "[token]"),
        (
            _DATABASES + r"(?:(?!://)[^\s'\"]){0,1000}(?:['\"](?![\s,:})\]])[^\s'\"]{0,300}){0,3}@",
            r"\1[login]@",
        ),
        (r"(?<=://)[^\s/'\"?#]{1,1000}@", "[login]@"),
        (
            r"(?<=://)[^\s/:@'\"]{0,200}:(?!\d{1,5}[/?#])(?:(?!://)[^\s'\"]){1,1000}@",
            "[login]@",
        ),
        (rf"({_HOOKS})[^\s'\"]+", r"\1[token]"),
        (rf"({SIGNED})(?!\[)[^&\s'\"]+", r"\1[token]"),
        (
            rf"({_HEADER})(?!{_SCHEMES} )(?!\[)(?:(?:OAuth|Digest) [^\r\n]{{1,2000}}|[^\s'\",;]+)",
            r"\1[token]",
        ),
        (rf"({_OTHER_HEADER})(?!\[)[^\r\n'\"]+", r"\1[token]"),
        (
            rf"({_NAMED}(?:{_QUOTE})?{_IS}[bNur]?(['\"]))(?!\[)(?:(?!\2)[^\r\n\\]|\\.){{6,2000}}",
            r"\1[token]",
        ),
        (  # and the lines of base64 that it goes on with
            rf"({_NAMED}(?:{_QUOTE})?(?:{_IS}|%3[Dd])(?:\\{{1,3}}['\"])?)(?!\[)[^\s'\",;&]{{6,}}"
            r"(?:\r?\n[A-Za-z0-9+/]{20,200}={0,2}(?![^\r\n])){0,100}",
            r"\1[token]",
        ),
        (
            rf"((?:(?<![\w-])-(?:(?:store|key)?pass|pw|password|token)|--(?:[\w-]{{1,30}}-)?"
            rf"(?:token|pw|pass|{_NAMED})|(?<= )/(?:pass|p(?=:)|{_NAMED}))[ =:]['\"]?)"
            r"(?!\[|pass:)[^\s'\"]{6,}",
            r"\1[token]",
        ),
        (rf"(<\w{{0,20}}(?:{_NAMED}|pass|token)>)(?!\[)[^<]{{1,1000}}", r"\1[token]"),
        (rf"({_QUOTE}{_NAMED}{_QUOTE} value={_QUOTE})(?!\[)[^'\"]{{1,1000}}", r"\1[token]"),
        (r"(['\"](?:pass|pw)['\"]:\s?b?['\"])[^'\"]{6,1000}", r"\1[token]"),
        (rf"(\b(?:pass|pw)(?:=|:\s?(?={_MIXED}))['\"]?)(?!\[)[^\s'\",;&]{{6,1000}}", r"\1[token]"),
        (  # of an environment that is listed
            r"((?<!\w)(?-i:[A-Z][A-Z0-9_]{0,60}_(?:TOKEN|KEY|PASS|AUTH|PAT))=['\"]?)(?!\[)"
            r"[\w.~+/=-]{6,1000}",
            r"\1[token]",
        ),
        (rf"([?&](?:(?:key|code)=(?={_LONG_VALUE})|auth=))(?!\[)[^&\s'\"]{{6,}}", r"\1[token]"),
        (
            r"(\b(?:password|passphrase|secret|identified by) ['\"])(?!\[)[^\r\n'\"]{6,1000}",
            r"\1[token]",
        ),
        (  # a variable of a container
            r"(\bname['\"]?:\s{0,3}['\"]?\w{0,60}(?:password|passwd|token|secret|_key|_pass|_pwd|"
            r"auth_string)\d{0,3}['\"]?,?\s{1,30}['\"]?value['\"]?:\s{0,3}['\"]?)(?!\[)[^\s'\"]{6,}",
            r"\1[token]",
        ),
        (  # a login in two values: auth=("user", "password")
            r"(auth(?!or)\w{0,20}['\"]?\s?[=:(]\s?\(?b?['\"][^\s'\"]{1,200}['\"],\s?b?['\"])(?!\[)"
            r"[^\r\n'\"]{6,1000}",
            r"\1[token]",
        ),
        (
            r"(?<![\w.*-])([\w.*-]{1,253}:(?:[56]432|\*):[^\s:]{1,63}:[^\s:]{1,63}:)\S{6,1000}",
            r"\1[token]",
        ),
        (rf"(\b(?:{_FLAGS}) ?['\"]?)(?!\[)[^\s'\"]{{6,}}", r"\1[token]"),
        (
            r"(\bwandb login (?:--\S{1,60} ){0,5}|\baws configure set \w{0,40}(?:key|token) |"
            r"--from-literal[ =][^\s=]{1,60}=|-pass(?:in|out|word)? pass:|"
            r"\bsmbclient\b[^\r\n]{0,200}? -U ?[^\s%]{1,60}%)(?!\[|--)[^\s'\"]{6,}",
            r"\1[token]",
        ),
        (  # in words; a colon says that the value itself comes, a digit that it is no word
            rf"(\b{_NAMED} is(?::\s?['\"]?|\s['\"]?(?=[A-Za-z]{{1,40}}\d)))(?!\[)[^\s'\"]{{6,}}",
            r"\1[token]",
        ),
        (  # of a kubeconfig, as YAML or JSON
            r"(\buser['\"]?:\s{1,20}\{?\s{0,20}['\"]?token['\"]?:\s{0,3}['\"]?)(?!\[)[^\s'\",}]{6,}",
            r"\1[token]",
        ),
        (r"LS0tLS1CRUdJTi(?!BDRVJU)[\w+/=]{20,}", "[token]"),  # armour in base64, no certificate
        (rf"(\btoken['\"]?\s?[:=]\s?['\"]?){_LONG_VALUE}", r"\1[token]"),
        (rf"(\bBearer ){_LONG_VALUE}", r"\1[token]"),
        (
            r"(\b(?:Secret(?:Str|Bytes)?\(b?|login\((?:token=)?)['\"])[^'\"]{1,1000}",
            r"\1[token]",
        ),
        (r"(['\"]auth['\"]:\s?['\"])[\w+/=]{12,}", r"\1[token]"),
        (
            r"((?<![\w-])(?:(?-i:-[uUa])|--(?:[\w-]{1,20}-)?(?:user|auth|creds|credentials))[ =]"
            r"['\"]?)"
            r"(?!\d+:\d+(?!\S))[^\s'\":/]{1,200}:(?!//)[^\s'\"]{6,200}",
            r"\1[login]",
        ),
        (  # a user whom machines have, or a password that is no word, before a host
            rf"(?<![\w:/-])((?:root|admin(?:istrator)?|postgres|ubuntu|user):(?={_MIXED}|[^\s:@/]{{6,}}@)"
            rf"|(?!hf:|hub:|npm:)[\w.-]{{1,64}}:(?={_MIXED}@(?!sha256)))(?!\[)[^\s:'\"@]{{6,}}",
            r"\1[token]",
        ),
        (  # without any mark, if it is no word
            rf"(\b(?:{_NAMED}(?<!secret)(?<!signature)(?<!pwd)|Bearer)\s"
            rf"(?:was |for \S{{1,40}} is )?['\"<\[]?)(?={_MIXED})[^\s'\">\]]+",
            r"\1[token]",
        ),
        (r"(\blogin \S{1,200}\s{1,9}password )\S{1,500}", r"\1[token]"),
        (
            r"(%(?:25){0,2}3A(?:%(?:25){0,2}2F){2})(?:(?!%(?:25){0,2}(?:2F|40))[^\s'\"/]){1,1000}"
            r"(?=%(?:25){0,2}40)",
            r"\1[login]",
        ),
    )
] + [(re.compile(TOKEN), "[token]")]
_LEARNED: dict[str, str] = {}


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what must not be shown -> the name it is shown by.

    The password of a ``user:password`` or of an address and the forms a secret takes in an
    address or a header are among them.

    >>> secrets_of({"HF_TOKEN": "hf_abcdef", "TOKENIZERS_PARALLELISM": "false"})["hf_abcdef"]
    'HF_TOKEN'
    """
    found: dict[str, str] = {}
    for name, value in environment.items():
        for secret in _secrets_in(name.upper(), value):
            for form in _forms(secret):
                found.setdefault(form, name)
    return found


def _secrets_in(name: str, value: str) -> Iterator[str]:
    """Yield the secrets that one variable holds: itself, its lines and members, its login."""
    if _SECRET.search(name) and not _PLACE.search(name):
        yield from (value, value.partition(":")[2], *value.splitlines(), *_members(value))
    _, mark, rest = value.partition("://")
    login = rest.rpartition("@")[0]
    if not mark or not login:
        return
    user, colon, password = login.partition(":")
    if colon and "/" not in user and (_DATABASE.search(name) or not _is_port(password)):
        yield from (login, password, unquote(password))
    elif not colon and "/" not in login:
        yield from (login, unquote(login))


def _is_port(text: str) -> bool:
    """Say whether what follows a colon is a port and a path: ``4200/api?mail=me``.

    >>> _is_port("4200/api"), _is_port("pa/ss")
    (True, False)
    """
    return re.match(r"\d{1,5}[/?#]", text) is not None


def _members(value: str) -> Iterator[str]:
    """Yield the texts of a JSON object, such as headers; a bearer's token without its word."""
    if not value.lstrip().startswith("{"):
        return
    try:
        found = json.loads(value)
    except ValueError:
        return
    for member in found.values():
        if isinstance(member, str):
            yield from (member, member.partition(" ")[2])


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, quoted for addresses, escaped, and in base64, alone or inside."""
    if len(secret) < MIN_CHARACTERS:
        return
    data = secret.encode("utf-8", "surrogateescape")
    yield from (secret, quote(data, safe=""), quote(data), quote_plus(data), data.hex())
    yield from (quote(data, safe="").lower(), json.dumps(secret)[1:-1], repr(secret)[1:-1])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        for n_before in range(3):  # as part of user:password, where all depends on what precedes
            inside = encode(b"\0" * n_before + data).decode().rstrip("=")
            n_whole = (n_before + len(data)) * 8 // 6
            inside = inside[(0, 2, 3)[n_before] : n_whole]
            if len(inside) >= _MIN_INSIDE_BASE64:
                yield inside


def learn(settings: Mapping[str, str]) -> None:
    """Know the secrets among settings that the environment lacks, from now on, in this process."""
    for secret, name in secrets_of(settings).items():
        _LEARNED.setdefault(secret, name)


def redact(text: str) -> str:
    """Return ``text`` with every secret of the environment replaced by its name.

    Logins in addresses are replaced, too, whoever's they are, and tokens of known forms.

    >>> redact("postgresql://dskd:hun/t@er2@db/prefect")
    'postgresql://[login]@db/prefect'
    """
    for secret, name in _known(tuple(os.environ.items()), tuple(_LEARNED.items())):
        if secret in text:
            text = text.replace(secret, f"[{name}]")
    for pattern, instead in _KNOWN_FORMS:
        text = pattern.sub(instead, text)
    return text


def _told(text: str) -> str:
    """Return what may be logged or raised of a text: no secret, and nothing a terminal obeys."""
    return visible(redact(text))


@lru_cache(maxsize=4)
def _known(
    environment: tuple[tuple[str, str], ...], learned: tuple[tuple[str, str], ...]
) -> list[tuple[str, str]]:
    """Return every secret and its name, the longest first: one may hold another."""
    known = dict(learned) | secrets_of(dict(environment))
    return sorted(known.items(), key=lambda pair: -len(pair[0]))


def redacted_value(value: Any) -> Any:
    """Return plain data (texts, lists, mappings) with every text in it redacted.

    >>> redacted_value([{"place": "s3://me:secret@host/b", "n": 3}])
    [{'place': 's3://[login]@host/b', 'n': 3}]
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [redacted_value(member) for member in value]
    if isinstance(value, Mapping):
        return {redacted_value(name): redacted_value(member) for name, member in value.items()}
    return value


def redacting(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` as it is, except that no secret leaves it in what it raises.

    Prefect keeps an error's message as the run's state, and its traceback in the log. An error
    whose message cannot be changed becomes a ``RuntimeError`` with its type and the rest of its
    message; one that ends the process, and is no ``Exception``, becomes a ``SystemExit``.
    """

    @wraps(function)
    def redacted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clean = without_secrets(error, _told)
            if clean is error:
                raise
        raise clean  # out of the handler: the error it stands for is not its context

    redacted.redacts = True  # type: ignore[attr-defined]
    return redacted


def install() -> None:
    """Redact every log record of this process from now on, whoever writes it; twice is once.

    So are the tracebacks that Python prints of what nobody caught. A refusal of ours, which Prefect
    logs with its sentence, has no traceback: it is no bug that one would be looked for by it.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def redacted(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        return _clean(record)

    redacted.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacted)
    _install_hooks()


def _install_hooks() -> None:
    if getattr(sys.excepthook, "redacts", False):
        return
    of_process, of_threads = sys.excepthook, threading.excepthook

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        clean = without_secrets(error, _told)
        of_process(type(clean), clean, trace)

    def uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
        clean = without_secrets(found.exc_value, _told) if found.exc_value else None
        kind = type(clean) if clean else found.exc_type
        of_threads(threading.ExceptHookArgs((kind, clean, found.exc_traceback, found.thread)))

    uncaught.redacts = True  # type: ignore[attr-defined]
    sys.excepthook, threading.excepthook = uncaught, uncaught_in_thread


def _clean(record: logging.LogRecord) -> logging.LogRecord:
    try:
        message = record.getMessage()
    except Exception:  # a line with wrong arguments is the logger's to complain about
        return record
    if (clean := _told(message)) != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        if record.name.startswith("prefect") and issubclass(record.exc_info[0], DskdError):
            record.exc_info = None
            return record
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (clean := _told(text)) != text:
            record.exc_text, record.exc_info = clean, None
    return record
