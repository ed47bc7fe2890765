"""Hold the exchange keys: read once from the environment, kept in one vault, scrubbed from what is written.

Bots hold no exchange keys; this process does, so a traceback, a log line or an e-mail may leak one.
Keys are removed from the environment as they are read: child processes and crash reports get none.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, quote_plus

from ems.core.fields import EXCHANGE_ALIASES

# The account of <EXCHANGE>_TRADE_KEYS; others are named by <EXCHANGE>__<ACCOUNT>_TRADE_KEYS.
DEFAULT_ACCOUNT = "default"
REDACTED = "[redacted]"
SECRET_CHARACTERS_MIN = 4  # replacing anything shorter would destroy the text and hide nothing
PEM_LINE_CHARACTERS_MIN = 12

_FORM = "<PUBLIC KEY>,<PRIVATE KEY>[,<PASSPHRASE>]"
_VARIABLE = re.compile(
    r"(?P<exchange>[A-Z][A-Z0-9]*)(?:__(?P<account>[A-Z0-9]+(?:_[A-Z0-9]+)*))?_TRADE_KEYS(?P<file>_FILE)?",
    re.IGNORECASE,
)

# The exchanges' own documentation and ccxt users spell these in more than one way.
_ALIASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # exchange -> names of the public key, of the private key, of the passphrase
    "binance": (("BINANCE_API_KEY",), ("BINANCE_API_SECRET", "BINANCE_SECRET"), ()),
    "coincall": (("COINCALL_API_KEY",), ("COINCALL_API_SECRET", "COINCALL_SECRET"), ()),
    "okx": (
        ("OKX_API_KEY",),
        ("OKX_SECRET_KEY", "OKX_API_SECRET_KEY"),
        ("OKX_PASSPHRASE", "OKX_API_PASSPHRASE"),
    ),
}


class KeystoreError(ValueError):
    """A variable with exchange keys holds a wrong value; one line that names it, never the value."""


class ExchangeKeys:
    """The keys of one account at one exchange; refuses to be printed, pickled or copied."""

    __slots__ = ("account", "exchange", "passphrase", "private", "public", "source")

    def __init__(
        self, *, exchange: str, account: str, public: str, private: str, passphrase: str, source: str
    ) -> None:
        self.exchange = exchange
        self.account = account
        self.public = public
        self.private = private
        self.passphrase = passphrase  # empty where the exchange has none
        self.source = source  # the variable they came from

    def __repr__(self) -> str:
        return f"<ExchangeKeys {self.exchange}/{self.account} from {self.source}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("exchange keys are not pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("exchange keys are not pickled or copied")

    def _secrets(self) -> tuple[str, ...]:
        # The public half counts as a secret too: some exchanges carry it in the URL, and it names the owner.
        return tuple(text for text in (self.public, self.private, self.passphrase) if text)


class Vault:
    """All exchange keys of this server: (exchange, account) -> keys."""

    __slots__ = ("_keys", "warnings")

    def __init__(self, keys: Iterable[ExchangeKeys] = (), warnings: Iterable[str] = ()) -> None:
        self._keys = {(entry.exchange, entry.account): entry for entry in keys}
        self.warnings = tuple(warnings)  # for the operator; the start goes on

    def accounts(self) -> list[tuple[str, str]]:
        """List (exchange, account) of everything a key is held for."""
        return sorted(self._keys)

    def get(self, exchange: str, account: str = DEFAULT_ACCOUNT) -> ExchangeKeys | None:
        """Give the keys of an account, or None where there are none."""
        return self._keys.get((exchange, account))

    def secrets(self) -> Iterator[str]:
        """Give every text that must never be written anywhere; for the Redactor."""
        for entry in self._keys.values():
            yield from entry._secrets()

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Vault with keys of {len(self._keys)} accounts>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the vault is not pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("the vault is not pickled or copied")


# --- reading -----------------------------------------------------------------------------------------------


def load_vault(environ: MutableMapping[str, str]) -> Vault:
    """Read every exchange key from `environ` and delete it there; raise KeystoreError on a wrong value.

    Sources are `<EXCHANGE>_TRADE_KEYS`, `..._FILE` and the exchange's own names (BINANCE_API_KEY, ...); two
    of them for one account must agree. Nothing stays behind in `environ` even where a value is wrong.
    """
    taken = {name: environ.pop(name) for name in list(environ) if _is_key_variable(name)}
    found: dict[tuple[str, str], ExchangeKeys] = {}
    warnings: list[str] = []

    def keep(entry: ExchangeKeys) -> None:
        first = found.setdefault((entry.exchange, entry.account), entry)
        if first._secrets() != entry._secrets():
            raise KeystoreError(
                f"{entry.source}: {first.source} already gives other keys for the same account; "
                "set only one of the two"
            )

    for in_file in (False, True):
        for name in sorted(taken):
            match = _VARIABLE.fullmatch(name)
            if match is None or bool(match["file"]) != in_file or not taken[name].strip():
                continue
            text = _read_file(name, taken[name].strip(), warnings) if in_file else taken[name]
            account = (match["account"] or DEFAULT_ACCOUNT).lower()
            exchange = match["exchange"].lower()
            keep(_parse(text, name, EXCHANGE_ALIASES.get(exchange, exchange), account))
    for exchange, names in _ALIASES.items():
        alias = _from_aliases(exchange, names, taken)
        if alias is not None:
            keep(alias)
    return Vault(found.values(), warnings)


def _is_key_variable(name: str) -> bool:
    return _VARIABLE.fullmatch(name) is not None or any(
        name in group for groups in _ALIASES.values() for group in groups
    )


def _parse(text: str, name: str, exchange: str, account: str) -> ExchangeKeys:
    # A passphrase may hold commas, keys do not.
    fields = [part.strip() for part in text.strip().split(",", 2)]
    if len(fields) < 2:
        raise KeystoreError(f"{name}: there is no comma; write {_FORM}")
    public, private, passphrase = (*fields, "")[:3]
    for title, value in (("public key", public), ("private key", private)):
        _check_key(name, title, value)
    if len(fields) == 3 and not passphrase:
        raise KeystoreError(f"{name}: the passphrase after the second comma is empty; write {_FORM}")
    return ExchangeKeys(
        exchange=exchange,
        account=account,
        public=public,
        private=_unfold_pem(private),
        passphrase=passphrase,
        source=name,
    )


def _check_key(name: str, title: str, value: str) -> None:
    if not value:
        raise KeystoreError(f"{name}: the {title} is empty; write {_FORM}")
    if value.startswith("<") or value.endswith(">"):
        raise KeystoreError(
            f"{name}: the {title} is still the placeholder of the manual; put the real one there"
        )
    if value[0] in "\"'" or value[-1] in "\"'":
        raise KeystoreError(f"{name}: the {title} has quotation marks around it; remove them")
    if "-----BEGIN" not in value and (re.search(r"\s", value) or not value.isprintable()):
        raise KeystoreError(f"{name}: the {title} contains a space or a line break; copy it again")


def _unfold_pem(private: str) -> str:
    """Turn the two characters `\\n` back into line breaks; an environment file cannot hold PEM otherwise."""
    return private.replace("\\n", "\n") if "-----BEGIN" in private else private


def _read_file(name: str, path_text: str, warnings: list[str]) -> str:
    path = Path(path_text)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeystoreError(f"{name}: the file {path_text} cannot be read: {reason}") from None
    if stat.S_IMODE(mode) & 0o077:
        warnings.append(f"{name}: others can read {path_text}; run: chmod 600 {path_text}")
    return text


def _from_aliases(
    exchange: str, names: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], taken: dict[str, str]
) -> ExchangeKeys | None:
    def first(group: tuple[str, ...]) -> tuple[str, str]:
        return next(((name, taken[name].strip()) for name in group if taken.get(name, "").strip()), ("", ""))

    (public_name, public), (private_name, private), (phrase_name, passphrase) = map(first, names)
    present = public_name or private_name or phrase_name
    if not present:
        return None
    required = (
        ("public key", public, names[0]),
        ("private key", private, names[1]),
        ("passphrase", passphrase, names[2]),
    )
    for title, value, group in required:
        if group and not value:
            raise KeystoreError(f"{present} is set, but {group[0]} (the {title}) is not; set both or neither")
    _check_key(public_name, "public key", public)
    _check_key(private_name, "private key", private)
    return ExchangeKeys(
        exchange=exchange,
        account=DEFAULT_ACCOUNT,
        public=public,
        private=_unfold_pem(private),
        passphrase=passphrase,
        source=public_name,
    )


# --- redaction ---------------------------------------------------------------------------------------------

# Where secrets travel when their value is not known here: query strings, headers, JSON, printed dictionaries.
_NAMES = (
    r"signature|api[_-]?key|api[_-]?sign|api[_-]?secret|access[_-]?key[_-]?id|secret[_-]?key|secret|"
    r"passphrase|password|private[_-]?key|authorization|cookie|listen[_-]?key|"
    r"x-[a-z0-9-]{1,40}-(?:api)?(?:key|sign|signature|passphrase)|"
    r"ok-access-(?:key|sign|passphrase)|cb-access-(?:key|sign|passphrase)|x-mbx-apikey"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL),
        REDACTED,
    ),
    (re.compile(r"omssk_[A-Za-z0-9_-]+"), "omssk_" + REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), r"\1 " + REDACTED),
    # name=value, name: value, "name": "value". A value ends at whatever cannot be inside one.
    (
        re.compile(
            rf"""(?i)(?<![a-z0-9])((?:{_NAMES})["']?\s{{0,3}}[=:]\s{{0,3}}["']?)"""
            r"""(?!\[redacted\])[^\s"'&,;}<>]+"""
        ),
        r"\1" + REDACTED,
    ),
    (re.compile(r"(://[^\s:/@]{1,200}:)[^\s/@]{1,200}@"), r"\1" + REDACTED + "@"),
)


class Redactor:
    """Take secrets out of a text: known ones in every usual encoding, unknown ones by where they stand."""

    __slots__ = ("_exact", "_forms")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._exact: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Learn further secrets; texts too short to be one are left alone."""
        for secret in secrets:
            self._forms.update(form for form in _forms(secret) if len(form) >= SECRET_CHARACTERS_MIN)
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._exact = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """Give the text without its secrets."""
        if self._exact is not None:
            text = self._exact.sub(REDACTED, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._forms)} forms>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a redactor is not pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a redactor is not pickled or copied")


class RedactingFilter(logging.Filter):
    """Scrub a log record, exception text included; for handlers: a logger's filter misses its children."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Scrub the record in place and let it pass; formatters use exc_text where it is already there."""
        try:
            message = record.getMessage()
        except Exception:  # a wrong log call must not print its arguments through logging's own error report
            message = f"{record.msg!r} (its arguments do not fit)"
        record.msg, record.args = self._redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        record.exc_info = None
        if record.stack_info:
            record.stack_info = self._redact(record.stack_info)
        return True


def _forms(secret: str) -> Iterator[str]:
    """Give the spellings a secret may appear in."""
    if len(secret) < SECRET_CHARACTERS_MIN:
        return
    raw = secret.encode("utf-8")
    yield secret
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    for data in (raw, *_decoded(secret)):
        yield data.hex()
        yield data.hex().upper()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(data).decode("ascii")
            yield whole
            yield whole.rstrip("=")
            # Inside a longer text (`key:secret` of HTTP Basic) base64 has three alignments; the characters at
            # the seams also hold bits of the neighbours and are left out.
            for shift in (0, 1, 2):
                inner = encode(b"\0" * shift + data).decode("ascii").rstrip("=")
                yield inner[(0, 2, 3)[shift] : len(inner) - (1 if (len(data) + shift) % 3 else 0)]
    if "-----BEGIN" in secret:
        for line in secret.splitlines():
            if len(line) >= PEM_LINE_CHARACTERS_MIN and not line.startswith("-----"):
                yield line


def _decoded(secret: str) -> Iterator[bytes]:
    """Give the bytes a secret stands for, where it is itself base64 or hex: some libraries print those."""
    if len(secret) >= 16 and re.fullmatch(r"[0-9a-fA-F]+", secret) and len(secret) % 2 == 0:
        yield bytes.fromhex(secret)
    if len(secret) >= 16 and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", secret) and len(secret) % 4 == 0:
        yield base64.b64decode(secret)
