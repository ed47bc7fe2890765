"""The environment: every wrong value is named in one line with its fix, and no secret is left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oms_client import signing
from server.settings import (
    VARIABLES,
    CoinApiSettings,
    MailSettings,
    SettingsError,
    load_settings,
    read_settings,
)

PUBLIC = signing.generate_keys(b"a" * 32).public
OTHER = signing.generate_keys(b"b" * 32).public
COIN = {
    "COIN_API_KEY": "73034021-sample-key",
    "COIN_API_WS_ENDPOINTS": "wss://ws.coinapi.io/v1/, ws://127.0.0.1:9100/v1/",
}
MAIL = {"SENDER_EMAIL": "oms@example.com,s3cret word", "RECEIVE_EMAILS": "a@example.com, b@example.org"}


def test_nothing_set_is_a_server_for_this_machine_on_paper() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.hosts) == ("127.0.0.1", 8888, ())
    assert (settings.db_url, settings.mail, len(settings.vault), dict(settings.keys)) == ("", None, 0, {})
    assert settings.warnings == ("OMS_KEYS is not set: nobody may call; make a key with `oms keygen USER`",)


def test_everything_set() -> None:
    environ = {
        "OMS_KEYS": f"alice,{PUBLIC};bob,{OTHER},read,2027-01-01",
        "OMS_HOSTS": "oms.example.com:8888, 10.0.0.5:8888",
        "OMS_HOST": "0.0.0.0",
        "OMS_PORT": "9000",
        "DB_URL": "postgres://oms:p%40ss@db:5432/oms",
        "KRAKEN_TRADE_KEYS": "publickrakenkey,privatekrakenkey",
        "KRAKEN__SECOND_TRADE_KEYS": "publicsecondkey,privatesecondkey",
        "OKX_API_KEY": "okxpublickey",
        "OKX_SECRET_KEY": "okxprivatekey",
        "OKX_PASSPHRASE": "okxphrase",
        **MAIL,
        **COIN,
        "SMTP_HOST": "mail.example.com",
        "SMTP_PORT": "465",
        "PATH": "/bin",
    }
    settings = read_settings(environ)
    assert {key.user: key.role for key in settings.keys.values()} == {"alice": "trade", "bob": "read"}
    assert settings.hosts == ("oms.example.com:8888", "10.0.0.5:8888")
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)
    assert settings.db_url == "postgres://oms:p%40ss@db:5432/oms"
    assert [exchange for exchange, _ in settings.vault.accounts()] == ["kraken", "kraken", "okx"]
    assert settings.mail == MailSettings(
        sender="oms@example.com",
        password="s3cret word",
        receivers=("a@example.com", "b@example.org"),
        host="mail.example.com",
        port=465,
    )
    assert settings.coin_api == CoinApiSettings(
        key="73034021-sample-key",
        endpoints=("wss://ws.coinapi.io/v1/", "ws://127.0.0.1:9100/v1/"),
    )
    assert settings.warnings == ()
    assert set(environ) == {
        "COIN_API_WS_ENDPOINTS",
        "OMS_KEYS",
        "OMS_HOSTS",
        "OMS_HOST",
        "OMS_PORT",
        "RECEIVE_EMAILS",
        "SMTP_HOST",
        "SMTP_PORT",
        "PATH",
    }


def test_secrets_are_known_to_the_redactor_and_not_shown() -> None:
    settings = read_settings(
        {
            **MAIL,
            **COIN,
            "DB_URL": "postgres://oms:p%40ssword@db/oms",
            "KRAKEN_TRADE_KEYS": "publickrakenkey,privatekrakenkey",
        }
    )
    assert set(settings.secrets()) == {
        *("s3cret word", "p@ssword", "publickrakenkey", "privatekrakenkey", "73034021-sample-key")
    }
    shown = repr(settings) + str(settings)
    for secret in ("s3cret", "p%40ssword", "p@ssword", "publickrakenkey", "privatekrakenkey", "sample-key"):
        assert secret not in shown


def test_the_mail_server_is_guessed_from_the_sender() -> None:
    mail = read_settings(dict(MAIL)).mail
    assert mail is not None
    assert (mail.host, mail.port, mail.ca_file) == ("smtp.example.com", 587, None)


def test_a_password_may_hold_commas_and_spaces() -> None:
    mail = read_settings({**MAIL, "SENDER_EMAIL": "oms@example.com, a,b c "}).mail
    assert mail is not None
    assert mail.password == "a,b c"


def test_a_data_provider_is_reached_where_it_usually_is() -> None:
    assert read_settings({"COIN_API_KEY": " 73034021 "}).coin_api == CoinApiSettings(
        key="73034021", endpoints=("wss://ws.coinapi.io/v1/",)
    )


REACHABLE = {"OMS_HOSTS": "oms.example.com"}
HOOKS = {"OMS_WEBHOOK_HOSTS": "hooks.example.com", "OMS_WEBHOOK_KEY": "a-key-of-the-house"}
WRONG = {  # name -> (environment, variable named, words of the fix or the fault)
    "endpoints without a key": (
        {"COIN_API_WS_ENDPOINTS": "wss://ws.coinapi.io/v1/"},
        "COIN_API_KEY",
        "COIN_API_WS_ENDPOINTS is",
    ),
    "a key of two words": ({**COIN, "COIN_API_KEY": "two words"}, "COIN_API_KEY", "without a space"),
    "a key that is none": ({**COIN, "COIN_API_KEY": "x"}, "COIN_API_KEY", "8 to 128"),
    **{
        f"endpoint {text!r}": ({**COIN, "COIN_API_WS_ENDPOINTS": text}, "COIN_API_WS_ENDPOINTS", words)
        for text, words in {
            "https://ws.coinapi.io/v1/": "not a WebSocket URL",
            "ws.coinapi.io": "not a WebSocket URL",
            "wss://ws.coinapi.io/v1/,": "separate several by commas",
            "wss://a b/": "not a WebSocket URL",
            "wss://ws.coinapi.io:port/": "not a WebSocket URL",
            "ws://ws.coinapi.io/v1/": "write wss://",
            "wss://ws.coinapi.io/v1/?apikey=73034021": "more than host, port and path",
        }.items()
    },
    "port in words": ({"OMS_PORT": "http"}, "OMS_PORT", "1 to 65535"),
    "port zero": ({"OMS_PORT": "0"}, "OMS_PORT", "1 to 65535"),
    "port too large": ({"OMS_PORT": "65536"}, "OMS_PORT", "1 to 65535"),
    "port negative": ({"OMS_PORT": "-1"}, "OMS_PORT", "1 to 65535"),
    "port in other digits": ({"OMS_PORT": "٨٨"}, "OMS_PORT", "1 to 65535"),
    "every interface without names": ({"OMS_HOST": "0.0.0.0"}, "OMS_HOSTS", "oms.example.com:8888"),
    "every IPv6 interface without names": ({"OMS_HOST": "::"}, "OMS_HOSTS", "oms.example.com:8888"),
    "an address without names": ({"OMS_HOST": "192.168.1.5"}, "OMS_HOSTS", "required"),
    "a name to listen on": ({"OMS_HOST": "example.com", **REACHABLE}, "OMS_HOST", "not an IP address"),
    "hosts with a scheme": ({"OMS_HOSTS": "https://oms.example.com/"}, "OMS_HOSTS", "no scheme"),
    "hosts with a space inside": ({"OMS_HOSTS": "oms example!"}, "OMS_HOSTS", "not a host name"),
    "keys without a comma": ({"OMS_KEYS": "alice"}, "OMS_KEYS", "<USER>,<PUBLIC KEY>"),
    "keys with another role": ({"OMS_KEYS": f"alice,{PUBLIC},root"}, "OMS_KEYS", "read, trade, admin"),
    "keys with a bad date": ({"OMS_KEYS": f"alice,{PUBLIC},read,tomorrow"}, "OMS_KEYS", "2027-01-01"),
    "a private key": (
        {"OMS_KEYS": f"alice,{signing.generate_keys(b'c' * 32).private}"},
        "OMS_KEYS",
        "PRIVATE",
    ),
    "exchange keys under both names of one exchange": (
        {"GDAX_TRADE_KEYS": "public,private,phrase", "COINBASEEXCHANGE_TRADE_KEYS": "public,other,phrase"},
        "GDAX_TRADE_KEYS",
        "COINBASEEXCHANGE_TRADE_KEYS",
    ),
    "exchange keys without a comma": ({"KRAKEN_TRADE_KEYS": "abc"}, "KRAKEN_TRADE_KEYS", "<PRIVATE KEY>"),
    "half of Binance's keys": ({"BINANCE_API_KEY": "abcdef"}, "BINANCE_API_KEY", "BINANCE_API_SECRET"),
    "a key file that is not there": (
        {"KRAKEN_TRADE_KEYS_FILE": "/no/such"},
        "KRAKEN_TRADE_KEYS_FILE",
        "cannot be read",
    ),
    "sender without receivers": ({"SENDER_EMAIL": "a@b.de,x"}, "RECEIVE_EMAILS", "separated by commas"),
    "receivers without a sender": ({"RECEIVE_EMAILS": "a@b.de"}, "SENDER_EMAIL", "<EMAIL>,<PASSWORD>"),
    "a mail server without mail": ({"SMTP_HOST": "mail.example.com"}, "SENDER_EMAIL", "SMTP_HOST"),
    "sender without a password": ({**MAIL, "SENDER_EMAIL": "a@b.de"}, "SENDER_EMAIL", "<EMAIL>,<PASSWORD>"),
    "sender with an empty password": (
        {**MAIL, "SENDER_EMAIL": "a@b.de, "},
        "SENDER_EMAIL",
        "<EMAIL>,<PASSWORD>",
    ),
    "sender that is no address": (
        {**MAIL, "SENDER_EMAIL": "hunter2,x"},
        "SENDER_EMAIL",
        "not an e-mail address",
    ),
    "receiver that is no address": ({**MAIL, "RECEIVE_EMAILS": "a@b.de,b"}, "RECEIVE_EMAILS", "'b'"),
    "an empty receiver": ({**MAIL, "RECEIVE_EMAILS": "a@b.de,"}, "RECEIVE_EMAILS", "''"),
    "a receiver with a header": (
        {**MAIL, "RECEIVE_EMAILS": "a@b.de\nBcc: x@y.de"},
        "RECEIVE_EMAILS",
        "not an e-mail",
    ),
    "semicolons between receivers": ({**MAIL, "RECEIVE_EMAILS": "a@b.de;c@d.de"}, "RECEIVE_EMAILS", "commas"),
    "whom rules may write to, without mail": (
        {"OMS_NOTIFY_EMAILS": "a@b.de"},
        "SENDER_EMAIL",
        "OMS_NOTIFY_EMAILS",
    ),
    "whom rules may write to: no address": (
        {**MAIL, "OMS_NOTIFY_EMAILS": "b.de"},
        "OMS_NOTIFY_EMAILS",
        "b.de",
    ),
    "a letter at the start, without mail": ({"OMS_START_MAIL": "yes"}, "SENDER_EMAIL", "OMS_START_MAIL"),
    "a digest of letters every day and a minute": (
        {**MAIL, "OMS_MAIL_DIGEST": "1441"},
        "OMS_MAIL_DIGEST",
        "1 to 1440",
    ),
    "a letter at the start, perhaps": ({**MAIL, "OMS_START_MAIL": "maybe"}, "OMS_START_MAIL", "yes nor no"),
    "webhooks without a key": ({"OMS_WEBHOOK_HOSTS": "a.de"}, "OMS_WEBHOOK_KEY", "set both"),
    "a key without webhooks": ({"OMS_WEBHOOK_KEY": "k" * 16}, "OMS_WEBHOOK_HOSTS", "set both"),
    "a short webhook key": ({**HOOKS, "OMS_WEBHOOK_KEY": "short"}, "OMS_WEBHOOK_KEY", "16 to 128"),
    "a webhook by http": ({**HOOKS, "OMS_WEBHOOK_HOSTS": "http://a.de"}, "OMS_WEBHOOK_HOSTS", "without its"),
    "a webhook with a path": ({**HOOKS, "OMS_WEBHOOK_HOSTS": "a.de/x"}, "OMS_WEBHOOK_HOSTS", "not a host"),
    "a webhook at home, unsaid": ({**HOOKS, "OMS_WEBHOOK_HOSTS": "127.0.0.1"}, "OMS_WEBHOOK_HOSTS", "origin"),
    "a service without a URL": ({"OMS_NOTIFY_SERVICES": "chat"}, "OMS_NOTIFY_SERVICES", "<NAME>="),
    "mail host as URL": ({**MAIL, "SMTP_HOST": "smtps://x:465"}, "SMTP_HOST", "no scheme"),
    "mail port": ({**MAIL, "SMTP_PORT": "tls"}, "SMTP_PORT", "1 to 65535"),
    "authorities that are not there": (
        {**MAIL, "SMTP_CA_FILE": "/no/such"},
        "SMTP_CA_FILE",
        "cannot be read",
    ),
    "authorities that are none": ({**MAIL, "SMTP_CA_FILE": __file__}, "SMTP_CA_FILE", "PEM"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_stops_the_start_in_one_line(name: str) -> None:
    environ, variable, words = WRONG[name]
    with pytest.raises(SettingsError) as caught:
        read_settings(dict(environ))
    message = str(caught.value)
    assert message.startswith(variable)
    assert words in message
    assert "\n" not in message
    for secret in ("hunter2", "omssk_"):
        assert secret not in message


@pytest.mark.parametrize("name", WRONG)
def test_no_secret_stays_behind_even_after_a_wrong_value(name: str) -> None:
    environ = {
        "DB_URL": "postgres://u:p@h/n",
        "OKX_PASSPHRASE": "phrase",
        "OKX_API_KEY": "okxpublickey",
        "OKX_SECRET_KEY": "okxprivatekey",
        **WRONG[name][0],
    }
    with pytest.raises(SettingsError):
        read_settings(environ)
    assert not [
        n for n in environ if n in ("SENDER_EMAIL", "DB_URL") or "TRADE_KEYS" in n or n.startswith("OKX")
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3", ""])
def test_loopback_needs_no_names(host: str) -> None:
    assert read_settings({"OMS_HOST": host}).hosts == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ("binance", "kraken")),
        (" , ", ("binance", "kraken")),
        ("bittrex,gdax", ("bittrex", "coinbaseexchange")),
        (" Kraken , OKX,kraken", ("kraken", "okx")),
        ("gdax,coinbaseexchange", ("coinbaseexchange",)),
    ],
)
def test_which_exchanges_are_simulated(text: str, names: tuple[str, ...]) -> None:
    assert read_settings({"OMS_PAPER": text}).paper == names


def test_off_localhost_with_names() -> None:
    settings = read_settings({"OMS_HOST": "0.0.0.0", "OMS_HOSTS": "oms.example.com:8888"})
    assert (settings.host, settings.hosts) == ("0.0.0.0", ("oms.example.com:8888",))


def test_misspelt_names_are_noticed() -> None:
    settings = read_settings(
        {"OMS_KEYZ": "x", "OMS_KEY": "mine", "SMTP_PROT": "1", "OMS_SOMETHING_ELSE": "1"}
    )
    assert [w for w in settings.warnings if "did you mean" in w] == [
        "OMS_KEYZ is not a variable of this server; did you mean OMS_KEYS?",
        "SMTP_PROT is not a variable of this server; did you mean SMTP_PORT?",
    ]


def test_a_retired_name_stops_the_start_and_says_what_took_its_place() -> None:
    environ = {"OMS_OLD": "1", "DB_URL": "postgres://u:secret@db/x"}
    with pytest.raises(SettingsError) as refused:
        read_settings(environ, retired={"OMS_OLD": "set OMS_NEW instead."})
    assert str(refused.value) == "OMS_OLD: is no variable of this server any more; set OMS_NEW instead."
    assert "DB_URL" not in environ
    read_settings({"OMS_OTHER": "1"}, retired={"OMS_OLD": "set OMS_NEW instead."})


def test_an_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# ours\nOMS_PORT=9001\nOMS_HOST=127.0.0.2\nSENDER_EMAIL='oms@example.com,pa$$word ${HOME}'\n"
        'RECEIVE_EMAILS="a@example.com"\nexport KRAKEN_TRADE_KEYS=publickrakenkey,privatekrakenkey\nEMPTY\n'
    )
    file.chmod(0o600)
    environ = {
        "OMS_PORT": "9002",
        "BINANCE_TRADE_KEYS": "publicbinancekey,privatebinancekey",
        "HOME": "/root",
    }
    settings = load_settings(environ, file)
    assert (settings.port, settings.host) == (9002, "127.0.0.2")
    assert settings.mail is not None
    assert settings.mail.password == "pa$$word ${HOME}"
    assert [exchange for exchange, _ in settings.vault.accounts()] == ["binance", "kraken"]
    assert environ == {"OMS_PORT": "9002", "HOME": "/root"}
    assert not [w for w in settings.warnings if "chmod" in w]


def test_an_env_file_others_can_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("OMS_PORT=9001\n")
    file.chmod(0o644)
    assert any(w.endswith(f"chmod 600 {file}") for w in load_settings({}, file).warnings)


def test_secrets_leave_the_environment_when_the_start_stops(tmp_path: Path) -> None:
    environ = {"KRAKEN_TRADE_KEYS": "publickrakenkey,privatekrakenkey", "OMS_PORT": "x", **MAIL}
    with pytest.raises(SettingsError):
        load_settings(environ, tmp_path / "none")
    assert environ == {"OMS_PORT": "x", "RECEIVE_EMAILS": MAIL["RECEIVE_EMAILS"]}


def test_the_table_names_every_variable_that_is_read() -> None:
    listed = {name.strip() for variable in VARIABLES for name in variable.name.split(",")}
    source = (Path(__file__).resolve().parents[2] / "server" / "settings.py").read_text()
    reader = source[source.index("class MailSettings") :]
    read = set(re.findall(r'"((?:OMS|SMTP|DB|SENDER|RECEIVE)_[A-Z_]+)"', reader))
    # The rest is read by the keystore, whose own tests name them.
    assert read == {name for name in listed if not re.search("TRADE_KEYS|_API_|_SECRET|_PASSPHRASE", name)}
    for variable in VARIABLES:
        assert variable.form and variable.default and variable.meaning.endswith(".")


def test_where_notifications_may_go() -> None:
    hosts = "Hooks.example.com, other.example.com:8443,http://127.0.0.1:9000,https://[::1]:9443"
    services = "chat=json://x/a?b=c ; pager = pagerduty://key"
    found = read_settings({**MAIL, **HOOKS, "OMS_WEBHOOK_HOSTS": hosts, "OMS_NOTIFY_SERVICES": services})
    assert found.webhook_origins == (
        "https://hooks.example.com:443",
        "https://other.example.com:8443",
        "http://127.0.0.1:9000",
        "https://[::1]:9443",
    )
    assert found.notify_services == {"chat": "json://x/a?b=c", "pager": "pagerduty://key"}
    assert found.notify_emails == found.mail.receivers  # type: ignore[union-attr]
    chosen = read_settings({**MAIL, "OMS_NOTIFY_EMAILS": "a@b.de, @example.com"})
    assert chosen.notify_emails == ("a@b.de", "@example.com")
    assert {HOOKS["OMS_WEBHOOK_KEY"], "pagerduty://key"} <= set(found.secrets())


def test_accounts_where_orders_meet_inside() -> None:
    asked = read_settings({"OMS_INTERNAL_MATCHING": "Kraken, gdax/desk2"}).internal_matching
    assert asked == {("kraken", "default"), ("coinbaseexchange", "desk2")}
    assert read_settings({}).internal_matching == frozenset()
    assert read_settings({"OMS_SWAPS": "okx, Bybit/two"}).swaps == {("okx", "default"), ("bybit", "two")}
    with pytest.raises(SettingsError, match="OMS_INTERNAL_MATCHING: 'kra ken'"):
        read_settings({"OMS_INTERNAL_MATCHING": "kra ken"})
