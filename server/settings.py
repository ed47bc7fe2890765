"""Read the environment once, completely, and stop at the first wrong value with one line that names it.

`VARIABLES` is the table of the manual; the reader below is the same list in code, and a test compares them.
Secrets are taken out of the environment as they are read, so that child processes and crash reports get none.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from ems.core.fields import EXCHANGE_ALIASES
from server.auth import ApiKey, KeysError, parse_hosts, parse_keys
from server.keystore import DEFAULT_ACCOUNT, KeystoreError, Vault, load_vault


class SettingsError(ValueError):
    """A variable holds a wrong value; the message is one line that names the variable and the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    """One row of the manual's table."""

    name: str
    form: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        name="OMS_KEYS",
        form="<USER>,<PUBLIC KEY>[,<ROLE>[,<EXPIRES>]], several separated by ;",
        default="nobody may call",
        meaning="Who may call, and as what: read, trade (default) or admin. `oms keygen USER` makes a pair.",
    ),
    Variable(
        name="OMS_HOSTS",
        form="host names with their ports, separated by commas",
        default="loopback names only",
        meaning="The names this server answers to; signatures are bound to them. Required off localhost.",
    ),
    Variable(
        name="OMS_HOST",
        form="an IP address",
        default="127.0.0.1",
        meaning="The address to listen on; 0.0.0.0 is every one.",
    ),
    Variable(name="OMS_PORT", form="1 to 65535", default="8888", meaning="The port to listen on."),
    Variable(
        name="OMS_HALT_FILE",
        form="path of a file",
        default="var/HALT",
        meaning="Trading is halted, everywhere, within a second of this file appearing.",
    ),
    Variable(
        name="OMS_REPORTING_CURRENCY",
        form="a currency",
        default="USDT",
        meaning="In which portfolio and P&L are kept. Another one begins new books.",
    ),
    Variable(
        name="DB_URL",
        form="postgres://user:password@host:port/name or sqlite:///file",
        default="sqlite:///var/oms.sqlite",
        meaning="Where records are kept.",
    ),
    Variable(
        name="<EXCHANGE>_TRADE_KEYS",
        form="<PUBLIC KEY>,<PRIVATE KEY>[,<PASSPHRASE>]",
        default="paper for those in OMS_PAPER, else none",
        meaning="The keys of an exchange account, such as KRAKEN_TRADE_KEYS; "
        "<EXCHANGE>__<ACCOUNT>_TRADE_KEYS for further accounts.",
    ),
    Variable(
        name="<EXCHANGE>_TRADE_KEYS_FILE",
        form="path of a file",
        default="none",
        meaning="The same, read from a file that only its owner may read.",
    ),
    Variable(
        name="OMS_ALLOW_WITHDRAW_KEYS",
        form="exchanges separated by commas",
        default="none",
        meaning="Where a key that may also withdraw is to trade all the same. Better make one that may not.",
    ),
    Variable(
        name="OMS_EXCLUSIVE",
        form="exchanges separated by commas",
        default="none",
        meaning="Where nobody else trades on the account, so that the exchange may cancel every order there "
        "when this server falls silent for 60 s (Kraken, OKX).",
    ),
    Variable(
        name="OMS_INTERNAL_MATCHING",
        form="exchanges, or exchange/account, separated by commas",
        default="none",
        meaning="Where opposite orders of different bots and users meet inside before they go out.",
    ),
    Variable(
        name="OMS_SWAPS",
        form="exchanges, or exchange/account, separated by commas",
        default="none",
        meaning="Where perpetual contracts may be traded beside spot (OKX, Bybit).",
    ),
    Variable(
        name="BINANCE_API_KEY, BINANCE_API_SECRET",
        form="a key each",
        default="none",
        meaning="Another way to give the keys of Binance.",
    ),
    Variable(
        name="OKX_API_KEY, OKX_SECRET_KEY, OKX_PASSPHRASE",
        form="a key each",
        default="none",
        meaning="Another way to give the keys of OKX.",
    ),
    Variable(
        name="COINCALL_API_KEY, COINCALL_API_SECRET",
        form="a key each",
        default="none",
        meaning="Read, but Coincall is not supported yet.",
    ),
    Variable(
        name="OMS_PAPER",
        form="exchange names separated by commas",
        default="binance,kraken",
        meaning="Which exchanges the server simulates where they have no keys.",
    ),
    Variable(
        name="COIN_API_KEY",
        form="a key of CoinAPI",
        default="no second opinion",
        meaning="Whether the exchanges' books are compared with those of a data provider.",
    ),
    Variable(
        name="COIN_API_WS_ENDPOINTS",
        form="WebSocket URLs separated by commas",
        default="wss://ws.coinapi.io/v1/",
        meaning="Where CoinAPI is reached, tried in this order. Needs COIN_API_KEY.",
    ),
    Variable(
        name="SENDER_EMAIL",
        form="<EMAIL>,<PASSWORD>",
        default="no e-mail",
        meaning="The mailbox that failures are sent from.",
    ),
    Variable(
        name="RECEIVE_EMAILS",
        form="addresses separated by commas",
        default="no e-mail",
        meaning="Who is told when a query fails. Needs SENDER_EMAIL, and the other way round.",
    ),
    Variable(
        name="SMTP_HOST",
        form="a host name",
        default="smtp. and the domain of SENDER_EMAIL",
        meaning="The mail server.",
    ),
    Variable(
        name="SMTP_PORT",
        form="1 to 65535",
        default="587",
        meaning="Its port: 465 is TLS from the first byte, any other upgrades by STARTTLS.",
    ),
    Variable(
        name="SMTP_CA_FILE",
        form="path of a PEM file",
        default="the system's authorities",
        meaning="Whom to trust for the mail server's certificate.",
    ),
    Variable(
        name="OMS_START_MAIL",
        form="yes or no",
        default="no",
        meaning="Whether every start sends a letter to RECEIVE_EMAILS, so that mail that would not arrive is "
        "noticed before it is needed. Needs SENDER_EMAIL.",
    ),
    Variable(
        name="OMS_MAIL_DIGEST",
        form="minutes, 1 to 1440",
        default="every letter at once",
        meaning="What is not critical is collected, and goes to RECEIVE_EMAILS as one letter at every full "
        "span of so many minutes (UTC). Needs SENDER_EMAIL.",
    ),
    Variable(
        name="OMS_NOTIFY_EMAILS",
        form="addresses and domains such as @example.com, separated by commas",
        default="those of RECEIVE_EMAILS",
        meaning="Whom notification rules may write to. Needs SENDER_EMAIL.",
    ),
    Variable(
        name="OMS_WEBHOOK_HOSTS",
        form="hosts, with a port where it is not 443, separated by commas",
        default="no webhooks",
        meaning="Which hosts notification rules may post to, by https, at public addresses only. A loopback "
        "address is allowed by its origin, such as http://127.0.0.1:9000.",
    ),
    Variable(
        name="OMS_WEBHOOK_KEY",
        form="16 to 128 printable characters",
        default="no webhooks",
        meaning="What webhooks are signed with, and checked by their receivers. Needs OMS_WEBHOOK_HOSTS, and "
        "the other way round.",
    ),
    Variable(
        name="OMS_NOTIFY_SERVICES",
        form="<NAME>=<APPRISE URL>, separated by semicolons",
        default="no services",
        meaning="Chat, paging and push services that notification rules may name.",
    ),
)

# Variables that once were read: name -> what took its place, as a sentence. A start with one of them is
# refused: an old line in a file of settings must neither be passed over nor mean something else (Knight,
# 1 August 2012). A test compares them with the history of this file.
RETIRED: Mapping[str, str] = {}

# Read elsewhere, or by the client; not misspelt.
_OTHERS = ("OMS_KEY", "OMS_URL")
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII
)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+\]?", re.ASCII)
DEFAULT_HALT_FILE = Path("var/HALT")
DEFAULT_PORT = 8888
DEFAULT_REPORTING_CURRENCY = "USDT"
DEFAULT_PAPER = ("binance", "kraken")
DEFAULT_SMTP_PORT = 587
COIN_API_ENDPOINT = "wss://ws.coinapi.io/v1/"  # https://docs.coinapi.io/market-data/websocket/endpoints


@dataclass(frozen=True, kw_only=True, slots=True)
class MailSettings:
    """The mailbox to send from, and to whom."""

    sender: str
    password: str = field(repr=False)
    receivers: tuple[str, ...]
    host: str
    port: int
    ca_file: Path | None = None
    digest_minutes: int | None = None  # None: every letter at once


@dataclass(frozen=True, kw_only=True, slots=True)
class CoinApiSettings:
    """The data provider's key, and where it is reached, in order."""

    key: str = field(repr=False)
    endpoints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything the environment says; values are checked and parsed."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict)  # keyid -> key
    hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    halt_file: Path = DEFAULT_HALT_FILE
    reporting_currency: str = DEFAULT_REPORTING_CURRENCY
    db_url: str = field(default="", repr=False)  # as written, read by the store; may hold a password
    vault: Vault = field(default_factory=Vault)
    paper: tuple[str, ...] = DEFAULT_PAPER  # our names; which there are is known where they are built
    mail: MailSettings | None = None
    start_mail: bool = False
    notify_emails: tuple[str, ...] = ()  # addresses, and domains with their @
    webhook_origins: tuple[str, ...] = ()  # scheme://host:port
    webhook_secret: str = field(default="", repr=False)
    notify_services: Mapping[str, str] = field(default_factory=dict, repr=False)  # name -> Apprise's URL
    coin_api: CoinApiSettings | None = None
    allow_withdraw: frozenset[str] = frozenset()  # exchanges
    exclusive: frozenset[str] = frozenset()  # exchanges
    # (exchange, account) where orders of different bots meet inside
    internal_matching: frozenset[tuple[str, str]] = frozenset()
    swaps: frozenset[tuple[str, str]] = frozenset()  # (exchange, account) where contracts may be traded
    warnings: tuple[str, ...] = ()  # for the operator; the start goes on

    def secrets(self) -> Iterator[str]:
        """Give every text that must never be written anywhere; for the Redactor."""
        yield from self.vault.secrets()
        if self.mail is not None:
            yield self.mail.password
        if self.webhook_secret:
            yield self.webhook_secret
        yield from self.notify_services.values()
        if self.coin_api is not None:
            yield self.coin_api.key
        try:
            password = urlsplit(self.db_url).password
        except ValueError:
            password = self.db_url  # not a URL; the store will say so, without repeating it
        if password:
            yield unquote(password)


def load_settings(
    environ: MutableMapping[str, str] = os.environ, env_file: Path | None = Path(".env")
) -> Settings:
    """Read the environment and the .env file; the environment wins. Raises SettingsError.

    Secrets are deleted from `environ`.
    """
    merged, warnings = _with_env_file(environ, env_file)
    try:
        return read_settings(merged, warnings=warnings)
    finally:
        for name in [name for name in environ if name not in merged]:
            del environ[name]


def read_settings(
    environ: MutableMapping[str, str],
    *,
    warnings: tuple[str, ...] = (),
    retired: Mapping[str, str] = RETIRED,
) -> Settings:
    """Read every variable and delete the secret ones from `environ`. Raises SettingsError."""
    try:
        _refuse_retired(environ, retired)
        vault = load_vault(environ)
        keys = parse_keys(environ.get("OMS_KEYS", ""))
        hosts = parse_hosts(environ.get("OMS_HOSTS", ""))
    except (KeystoreError, KeysError, SettingsError) as error:
        _forget_secrets(environ)
        raise SettingsError(str(error)) from None
    db_url = environ.pop("DB_URL", "").strip()
    webhook_key = environ.pop("OMS_WEBHOOK_KEY", "").strip()
    services = environ.pop("OMS_NOTIFY_SERVICES", "")
    coin_api = _coin_api(environ)
    mail = _mail(environ)
    host = _listen_address(environ, hosts)
    noticed = [*warnings, *vault.warnings, *_misspelt(environ)]
    if not keys:
        noticed.append("OMS_KEYS is not set: nobody may call; make a key with `oms keygen USER`")
    return Settings(
        keys=keys,
        hosts=hosts,
        host=host,
        port=_port(environ, "OMS_PORT", DEFAULT_PORT),
        halt_file=Path(_text(environ, "OMS_HALT_FILE") or DEFAULT_HALT_FILE),
        reporting_currency=_currency(environ, "OMS_REPORTING_CURRENCY", DEFAULT_REPORTING_CURRENCY),
        db_url=db_url,
        vault=vault,
        paper=_paper(environ),
        mail=mail,
        start_mail=_start_mail(environ, mail),
        notify_emails=_notify_emails(environ, mail),
        webhook_origins=_webhook_origins(environ, webhook_key),
        webhook_secret=webhook_key,
        notify_services=_services(services),
        coin_api=coin_api,
        allow_withdraw=_exchanges(environ, "OMS_ALLOW_WITHDRAW_KEYS"),
        exclusive=_exchanges(environ, "OMS_EXCLUSIVE"),
        internal_matching=_accounts(environ, "OMS_INTERNAL_MATCHING"),
        swaps=_accounts(environ, "OMS_SWAPS"),
        warnings=tuple(noticed),
    )


def _forget_secrets(environ: MutableMapping[str, str]) -> None:
    for name in ("DB_URL", "SENDER_EMAIL", "COIN_API_KEY", "OMS_WEBHOOK_KEY", "OMS_NOTIFY_SERVICES"):
        environ.pop(name, None)


def _with_env_file(
    environ: Mapping[str, str], env_file: Path | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    if env_file is None or not env_file.is_file():
        return dict(environ), ()
    try:
        # Not interpolated: a password may hold a dollar sign.
        values = dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{env_file}: cannot be read: {error}") from None
    written = {name: value for name, value in values.items() if value is not None}
    warnings: tuple[str, ...] = ()
    if env_file.stat().st_mode & 0o077:
        warnings = (f"others can read {env_file}, which holds secrets; run: chmod 600 {env_file}",)
    return {**written, **environ}, warnings


def _text(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _paper(environ: Mapping[str, str]) -> tuple[str, ...]:
    names = [name.strip().lower() for name in _text(environ, "OMS_PAPER").split(",")]
    found = dict.fromkeys(EXCHANGE_ALIASES.get(name, name) for name in names if name)
    return tuple(found) or DEFAULT_PAPER


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = _text(environ, name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65535:
        raise SettingsError(f"{name}: {text!r} is not a port; write a number from 1 to 65535")
    return int(text)


def _currency(environ: Mapping[str, str], name: str, default: str) -> str:
    text = _text(environ, name).upper() or default
    if not re.fullmatch(r"[A-Z0-9][A-Z0-9._-]{0,23}", text, re.ASCII):
        raise SettingsError(f"{name}: {text!r} is no currency; write a code such as USDT")
    return text


def _exchanges(environ: Mapping[str, str], name: str) -> frozenset[str]:
    """Read names of exchanges, as they are here: gdax is coinbaseexchange."""
    names = [part.strip().lower() for part in _text(environ, name).split(",") if part.strip()]
    for one in names:
        if not re.fullmatch(r"[a-z][a-z0-9]*", one, re.ASCII):
            raise SettingsError(f"{name}: {one!r} is no exchange; write names such as kraken,okx")
    return frozenset(EXCHANGE_ALIASES.get(one, one) for one in names)


def _accounts(environ: Mapping[str, str], name: str) -> frozenset[tuple[str, str]]:
    """Read accounts: the name of an exchange alone is its default one, kraken/desk2 another."""
    accounts = set()
    for one in (part.strip().lower() for part in _text(environ, name).split(",") if part.strip()):
        exchange, slash, account = one.partition("/")
        if not re.fullmatch(r"[a-z][a-z0-9]*(/[a-z0-9_-]+)?", one, re.ASCII):
            raise SettingsError(f"{name}: {one!r} is no account; write names such as kraken or kraken/desk2")
        accounts.add((EXCHANGE_ALIASES.get(exchange, exchange), account if slash else DEFAULT_ACCOUNT))
    return frozenset(accounts)


def _listen_address(environ: Mapping[str, str], hosts: tuple[str, ...]) -> str:
    text = _text(environ, "OMS_HOST") or "127.0.0.1"
    if text == "localhost":
        text = "127.0.0.1"
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise SettingsError(
            f"OMS_HOST: {text!r} is not an IP address; write 127.0.0.1, or 0.0.0.0 for every interface"
        ) from None
    if not address.is_loopback and not hosts:
        raise SettingsError(
            f"OMS_HOSTS: not set, and required because OMS_HOST={text} is reachable from other machines; "
            "write the name clients use, such as oms.example.com:8888"
        )
    return str(address)


def _coin_api(environ: MutableMapping[str, str]) -> CoinApiSettings | None:
    key = environ.pop("COIN_API_KEY", "").strip()
    written = _text(environ, "COIN_API_WS_ENDPOINTS")
    if not key:
        if written:
            raise SettingsError("COIN_API_KEY: not set, but COIN_API_WS_ENDPOINTS is; set both, or neither")
        return None
    if not re.fullmatch(r"[!-~]{8,128}", key, re.ASCII):
        raise SettingsError("COIN_API_KEY: not a key: 8 to 128 letters, digits or signs, without a space")
    endpoints = tuple(_endpoint(part.strip()) for part in (written or COIN_API_ENDPOINT).split(","))
    return CoinApiSettings(key=key, endpoints=endpoints)


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # a port that is none raises
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("ws", "wss") or not host or not _HOST_NAME.fullmatch(host):
        raise SettingsError(
            f"COIN_API_WS_ENDPOINTS: {text!r} is not a WebSocket URL such as {COIN_API_ENDPOINT}; "
            "separate several by commas"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            f"COIN_API_WS_ENDPOINTS: that of {host} is more than host, port and path; the key is COIN_API_KEY"
        )
    if parts.scheme == "ws" and not _is_loopback(host):
        raise SettingsError(f"COIN_API_WS_ENDPOINTS: {text!r} would send the key unencrypted; write wss://")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _mail(environ: MutableMapping[str, str]) -> MailSettings | None:
    sender = environ.pop("SENDER_EMAIL", "").strip()
    receivers = _text(environ, "RECEIVE_EMAILS")
    extras = [
        name for name in ("SMTP_HOST", "SMTP_PORT", "SMTP_CA_FILE", "OMS_MAIL_DIGEST") if _text(environ, name)
    ]
    if not sender and not receivers:
        if extras:
            raise SettingsError(
                f"SENDER_EMAIL: not set, but {extras[0]} is; set SENDER_EMAIL and RECEIVE_EMAILS too"
            )
        return None
    if not sender:
        raise SettingsError("SENDER_EMAIL: not set, but RECEIVE_EMAILS is; write <EMAIL>,<PASSWORD>")
    if not receivers:
        raise SettingsError(
            "RECEIVE_EMAILS: not set, but SENDER_EMAIL is; write addresses separated by commas"
        )
    address, comma, password = (part.strip() for part in sender.partition(","))
    if not comma or not password:
        raise SettingsError("SENDER_EMAIL: the password is missing; write <EMAIL>,<PASSWORD>")
    if not _EMAIL.fullmatch(address):
        raise SettingsError("SENDER_EMAIL: what stands before the comma is not an e-mail address")
    host = _text(environ, "SMTP_HOST") or "smtp." + address.rpartition("@")[2]
    if not _HOST_NAME.fullmatch(host):
        raise SettingsError(
            f"SMTP_HOST: {host!r} is not a host name such as smtp.example.com; no scheme, no port"
        )
    return MailSettings(
        sender=address,
        password=password,
        receivers=_receivers(receivers),
        host=host,
        port=_port(environ, "SMTP_PORT", DEFAULT_SMTP_PORT),
        ca_file=_ca_file(environ),
        digest_minutes=_digest(environ),
    )


def _receivers(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for address in (part.strip() for part in text.split(",")):
        if not _EMAIL.fullmatch(address):
            raise SettingsError(
                f"RECEIVE_EMAILS: {address!r} is not an e-mail address; separate several by commas"
            )
        if address not in found:
            found.append(address)
    return tuple(found)


def _ca_file(environ: Mapping[str, str]) -> Path | None:
    text = _text(environ, "SMTP_CA_FILE")
    if not text:
        return None
    path = Path(text)
    try:
        certificates = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SettingsError(f"SMTP_CA_FILE: {text} cannot be read: {error.strerror}") from None
    if "-----BEGIN CERTIFICATE-----" not in certificates:
        raise SettingsError(f"SMTP_CA_FILE: {text} holds no certificate; give a PEM file")
    return path


def _digest(environ: Mapping[str, str]) -> int | None:
    text = _text(environ, "OMS_MAIL_DIGEST")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1440:
        raise SettingsError(f"OMS_MAIL_DIGEST: {text!r} is not a number of minutes from 1 to 1440")
    return int(text)


def _start_mail(environ: Mapping[str, str], mail: MailSettings | None) -> bool:
    text = _text(environ, "OMS_START_MAIL").lower() or "no"
    if text not in ("yes", "no"):
        raise SettingsError(f"OMS_START_MAIL: {text!r} is neither yes nor no")
    if text == "yes" and mail is None:
        raise SettingsError("SENDER_EMAIL: not set, but OMS_START_MAIL is yes; set SENDER_EMAIL too")
    return text == "yes"


def _notify_emails(environ: Mapping[str, str], mail: MailSettings | None) -> tuple[str, ...]:
    text = _text(environ, "OMS_NOTIFY_EMAILS")
    if mail is None:
        if text:
            raise SettingsError("SENDER_EMAIL: not set, but OMS_NOTIFY_EMAILS is; set SENDER_EMAIL too")
        return ()
    found = [part.strip() for part in text.split(",") if part.strip()]
    for one in found:
        if not _EMAIL.fullmatch(f"any{one}" if one.startswith("@") else one):
            raise SettingsError(
                f"OMS_NOTIFY_EMAILS: {one!r} is neither an address nor a domain such as @example.com"
            )
    return tuple(found) or mail.receivers


def _webhook_origins(environ: Mapping[str, str], key: str) -> tuple[str, ...]:
    hosts = [part.strip() for part in _text(environ, "OMS_WEBHOOK_HOSTS").split(",") if part.strip()]
    if bool(hosts) != bool(key):
        missing, other = ("KEY", "HOSTS") if hosts else ("HOSTS", "KEY")
        raise SettingsError(
            f"OMS_WEBHOOK_{missing}: not set, but OMS_WEBHOOK_{other} is; set both, or neither"
        )
    if key and not re.fullmatch(r"[!-~]{16,128}", key, re.ASCII):
        raise SettingsError("OMS_WEBHOOK_KEY: not 16 to 128 letters, digits or signs, without a space")
    return tuple(_origin(host) for host in hosts)


def _origin(text: str) -> str:
    """Read host[:port] as https; a loopback address may, and must, be written as its whole origin."""
    whole = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(whole)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    said_whole = "://" in text
    if (
        not _HOST_NAME.fullmatch(host)
        or parts.scheme not in ("https", "http")
        or whole.count("/") != 2
        or "@" in whole
        or "?" in whole
        or "#" in whole
    ):
        raise SettingsError(f"OMS_WEBHOOK_HOSTS: {text!r} is not a host such as hooks.example.com:8443")
    if said_whole != _is_loopback(host):
        raise SettingsError(
            f"OMS_WEBHOOK_HOSTS: {text!r}: write a public host without its scheme, and a loopback address "
            "as its origin, such as http://127.0.0.1:9000"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}"


def _services(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        name, equals, url = (piece.strip() for piece in part.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name, re.ASCII) or "://" not in url:
            # The value is not repeated: it holds a password.
            raise SettingsError(
                "OMS_NOTIFY_SERVICES: write <NAME>=<APPRISE URL>, such as desk=slack://..., several "
                "separated by semicolons"
            )
        found[name] = url
    return found


def _refuse_retired(environ: Mapping[str, str], retired: Mapping[str, str]) -> None:
    for name in sorted(retired.keys() & environ.keys()):
        raise SettingsError(f"{name}: is no variable of this server any more; {retired[name]}")


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    """Notice variables that look like ours and are not: a misspelt name is otherwise silently ignored."""
    known = [variable.name for variable in VARIABLES]
    found = []
    for name in sorted(environ):
        if (
            name in known
            or name in _OTHERS
            or not name.startswith(("OMS_", "SMTP_", "SENDER_", "RECEIVE_", "DB_", "COIN_"))
        ):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            found.append(f"{name} is not a variable of this server; did you mean {near[0]}?")
    return found
