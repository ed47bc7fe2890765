"""Who may call: every refusal by its code, in order, with its way out; nothing twice, restart or not."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime

import pytest

from ems.core.errors import CODES
from oms_client import signing
from server.auth import (
    Authenticator,
    AuthError,
    KeysError,
    parse_hosts,
    parse_keys,
    raw_target,
)

NOW = 1_795_222_286.5
BOOT = NOW - 3600
ALICE = signing.PrivateKey(b"\x01" * 32)
READER = signing.PrivateKey(b"\x02" * 32)
EXPIRED = signing.PrivateKey(b"\x03" * 32)
STRANGER = signing.PrivateKey(b"\x04" * 32)
HOST = "127.0.0.1:8888"
TARGET = "/api/smart_order"
BODY = b'{"start_amount":"1000"}'
OMS_KEYS = f"alice,{ALICE.public};reader,{READER.public},read;old,{EXPIRED.public},trade,2026-01-01"


class Clock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Desk:
    """An authenticator with its clock, and a bot that signs for it."""

    def __init__(self, hosts=(), boot=BOOT):
        self.clock = Clock()
        self.hosts = hosts
        self.authenticator = Authenticator(parse_keys(OMS_KEYS), hosts, self.clock, boot)
        self.numbers = iter(range(10**9))

    def restart(self):
        self.authenticator = Authenticator(parse_keys(OMS_KEYS), self.hosts, self.clock, self.clock.now)

    def sign(self, key=ALICE, *, now=None, method="POST", host=HOST, target=TARGET, body=BODY, lifetime_s=30):
        nonce = signing.make_nonce(next(self.numbers).to_bytes(16, "big"))
        at = int(self.clock.now if now is None else now)
        signed = signing.sign(key, method, host, target, body, now=at, nonce=nonce, lifetime_s=lifetime_s)
        return [("Host", host), *signed.items()]

    def send(self, headers, *, method="POST", target=TARGET, body=BODY, ip="10.0.0.1", role="trade"):
        return self.authenticator.authenticate(method, target, headers, body, ip, role=role)

    def refusal(self, headers, **request) -> AuthError:
        with pytest.raises(AuthError) as caught:
            self.send(headers, **request)
        error = caught.value
        assert error.hint and error.message
        assert error.code in CODES
        assert error.server_time_ms == error.details["server_time_ms"] == int(self.clock.now * 1000)
        return error


@pytest.fixture
def desk():
    return Desk()


def replaced(headers, name, value):
    return [(n, value if n == name else v) for n, v in headers]


def without(headers, *names):
    return [(n, v) for n, v in headers if n not in names]


# --- acceptance ---


def test_a_signed_request_is_known(desk):
    headers = desk.sign()
    identity = desk.send(headers)
    assert (identity.user, identity.role, identity.keyid) == ("alice", "trade", ALICE.keyid)
    assert identity.expires == datetime.fromtimestamp(int(NOW) + 30, UTC)
    assert f'nonce="{identity.nonce}"' in dict(headers)["Signature-Input"]


def test_header_names_in_any_case_and_as_a_mapping(desk):
    assert desk.send([(name.lower(), value) for name, value in desk.sign()]).user == "alice"
    assert desk.send(dict(desk.sign())).user == "alice"


@pytest.mark.parametrize("late", [-5, 0, 5, 30, 34])
def test_a_clock_a_little_off_is_accepted(desk, late):
    """Up to 5 s ahead, and behind for as long as the signature lives plus 5 s."""
    assert desk.send(desk.sign(now=int(NOW) - late)).user == "alice"


# --- each refusal ---


@pytest.mark.parametrize("missing", ["Signature", "Signature-Input", "Content-Digest"])
def test_unsigned(desk, missing):
    error = desk.refusal(without(desk.sign(), missing))
    assert (error.code, error.http_status) == ("AUTH_MISSING", 401)
    assert missing in error.message
    assert error.details["missing"] == [missing]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda h: [*h, ("Signature", dict(h)["Signature"])],
            "more than one signature",
            id="two signatures",
        ),
        pytest.param(
            lambda h: [*h, ("signature-input", dict(h)["Signature-Input"])], "more than one", id="two inputs"
        ),
        pytest.param(
            lambda h: replaced(h, "Signature", ",".join([dict(h)["Signature"]] * 2)),
            "Signature is not",
            id="joined",
        ),
        pytest.param(
            lambda h: replaced(h, "Content-Digest", dict(h)["Content-Digest"].replace("256", "512")),
            "Content-Digest is not",
            id="another digest",
        ),
        pytest.param(
            lambda h: replaced(h, "Signature-Input", dict(h)["Signature-Input"].replace("oms-v1", "oms-v2")),
            "Signature-Input is not",
            id="another profile",
        ),
        pytest.param(
            lambda h: replaced(
                h, "Signature-Input", dict(h)["Signature-Input"].replace("+", "") + " " * 1024
            ),
            "longer than",
            id="huge",
        ),
        pytest.param(lambda h: [*h, ("Content-Encoding", "gzip")], "compressed", id="compressed"),
    ],
)
def test_malformed(desk, change, says):
    error = desk.refusal(change(desk.sign()))
    assert (error.code, error.http_status) == ("AUTH_MALFORMED", 401)
    assert says in error.message


def test_a_lifetime_beyond_five_minutes_is_malformed(desk):
    headers = desk.sign()
    longer = dict(headers)["Signature-Input"].replace(f"expires={int(NOW) + 30}", f"expires={int(NOW) + 301}")
    error = desk.refusal(replaced(headers, "Signature-Input", longer))
    assert error.code == "AUTH_MALFORMED"
    assert "1 to 300 seconds" in error.message


@pytest.mark.parametrize("target", ["http://evil.com/api", "api/x", "", "/a b", "/ä", "/a\n", "*"])
def test_a_strange_target_is_malformed(desk, target):
    assert desk.refusal(desk.sign(), target=target).code == "AUTH_MALFORMED"


def test_a_large_body(desk):
    error = desk.refusal(desk.sign(), body=b"x" * (64 * 1024 + 1))
    assert (error.code, error.http_status) == ("REQUEST_TOO_LARGE", 413)


def test_a_clock_ahead_says_how_far(desk):
    error = desk.refusal(desk.sign(now=int(NOW) + 41))
    assert error.code == "AUTH_CLOCK_AHEAD"
    assert error.details["seconds"] == "40.5"
    assert "40.5 s ahead" in error.message and "NTP" in error.hint


def test_an_expired_signature_says_how_far(desk):
    error = desk.refusal(desk.sign(now=int(NOW) - 71))
    assert error.code == "AUTH_EXPIRED"
    assert "expired 41.5 s ago" in error.message and "71.5 s behind" in error.hint


def test_an_unknown_key_names_itself_and_the_setting(desk):
    error = desk.refusal(desk.sign(STRANGER))
    assert error.code == "AUTH_UNKNOWN_KEY"
    assert STRANGER.keyid in error.message and "OMS_KEYS" in error.hint


def test_an_expired_key(desk):
    error = desk.refusal(desk.sign(EXPIRED))
    assert error.code == "AUTH_KEY_EXPIRED"
    assert "2026-01-01" in error.message


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET"},
        {"target": "/api/market_order"},
        {"target": TARGET + "?a=1"},
        {"target": "/api/smart%5Forder"},
    ],
)
def test_another_request_than_the_signed_one(desk, request_):
    error = desk.refusal(desk.sign(), **request_)
    assert error.code == "AUTH_BAD_SIGNATURE"
    expected = signing.request_base(
        request_.get("method", "POST"),
        HOST,
        request_.get("target", TARGET),
        dict(desk.sign())["Content-Digest"],
        signing.SignatureInput(int(NOW), int(NOW) + 30, ALICE.keyid, signing.make_nonce(bytes(16))),
    )
    assert error.details["base"] == expected.decode()


def test_another_body_than_the_signed_one(desk):
    error = desk.refusal(desk.sign(), body=b'{"start_amount":"9000"}')
    assert error.code == "AUTH_BAD_DIGEST"


def test_a_replay(desk):
    headers = desk.sign()
    desk.send(headers)
    error = desk.refusal(headers)
    assert error.code == "AUTH_REPLAYED"
    assert "Idempotency-Key" in error.hint


def test_the_same_nonce_under_two_keys_is_not_a_replay(desk):
    both = [
        signing.sign(key, "POST", HOST, TARGET, BODY, now=int(NOW), nonce="n" * 22) for key in (ALICE, READER)
    ]
    users = [desk.send([("Host", HOST), *headers.items()], role="read").user for headers in both]
    assert users == ["alice", "reader"]


def test_a_role_too_low(desk):
    assert desk.send(desk.sign(READER), role="read").role == "read"
    headers = desk.sign(READER)
    with pytest.raises(AuthError) as caught:
        desk.send(headers, role="trade")
    error = caught.value
    assert (error.code, error.http_status) == ("AUTH_FORBIDDEN", 403)
    assert "reader" in error.message and "'trade'" in error.message and "OMS_KEYS" in error.hint
    assert desk.refusal(headers, role="read").code == "AUTH_REPLAYED"  # the nonce was spent


def test_nobody_is_admin_unless_it_says_so(desk):
    with pytest.raises(AuthError, match="AUTH_FORBIDDEN"):
        desk.send(desk.sign(), role="admin")
    keys = parse_keys(f"root,{ALICE.public},admin")
    boss = Authenticator(keys, (), desk.clock, BOOT)
    assert boss.authenticate("POST", TARGET, desk.sign(), BODY, "::1", role="admin").may("trade")


# --- order of the checks ---


def test_a_request_with_every_fault_is_refused_for_the_cheapest_first(desk):
    """Mend one fault after the other; the codes come in the order of cost, the nonce last of all."""
    wrong_time = int(NOW) + 1000
    codes = []
    headers = desk.sign(STRANGER, now=wrong_time)
    codes.append(desk.refusal(without(headers, "Signature"), body=b"other").code)
    codes.append(desk.refusal(replaced(headers, "Signature", "x"), body=b"other").code)
    codes.append(desk.refusal(headers, body=b"other").code)
    codes.append(desk.refusal(desk.sign(STRANGER, now=BOOT, lifetime_s=300), body=b"other").code)
    codes.append(desk.refusal(desk.sign(STRANGER), body=b"other").code)
    headers = desk.sign()
    codes.append(desk.refusal(headers, target="/other", body=b"other").code)
    codes.append(desk.refusal(headers, body=b"other").code)
    desk.send(headers)
    codes.append(desk.refusal(headers, role="admin").code)
    assert codes == [
        "AUTH_MISSING",
        "AUTH_MALFORMED",
        "AUTH_CLOCK_AHEAD",
        "AUTH_EXPIRED",
        "AUTH_UNKNOWN_KEY",
        "AUTH_BAD_SIGNATURE",
        "AUTH_BAD_DIGEST",
        "AUTH_REPLAYED",
    ]


def test_a_forger_burns_no_nonce(desk):
    """A failed signature or digest under a true nonce leaves the true request good."""
    headers = desk.sign()
    desk.refusal(headers, target="/other")
    desk.refusal(headers, body=b"other")
    assert desk.send(headers).user == "alice"


# --- hosts ---


def test_the_host_header_is_not_believed():
    desk = Desk(hosts=("oms.example.com", "10.0.0.5:8888"))
    for name in ("oms.example.com", "10.0.0.5:8888"):
        rewritten = replaced(desk.sign(host=name), "Host", "upstream:1")
        assert desk.send(rewritten).user == "alice"
    for name in ("other.example.com", "127.0.0.1:8888"):
        error = desk.refusal(desk.sign(host=name))
        assert error.code == "AUTH_BAD_SIGNATURE"
        assert name in error.hint and "OMS_HOSTS" in error.hint


def test_without_hosts_only_this_machine_is_served(desk):
    for name in ("localhost", "LOCALHOST:8888", "127.0.0.1:8888", "[::1]:8888"):
        signed = desk.sign(host=name.lower())
        assert desk.send(replaced(signed, "Host", name)).user == "alice"
    error = desk.refusal(desk.sign(host="oms.example.com"))
    assert error.code == "AUTH_BAD_SIGNATURE"
    assert "OMS_HOSTS" in error.hint and "oms.example.com" in error.hint


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8888,evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "", "a b"]
)
def test_a_joined_or_disguised_host_is_not_loopback(desk, host):
    assert desk.refusal(replaced(desk.sign(host=host), "Host", host)).code == "AUTH_BAD_SIGNATURE"


def test_two_host_headers_are_none(desk):
    assert desk.refusal([("Host", HOST), *desk.sign()]).code == "AUTH_BAD_SIGNATURE"


# --- restarts and memory ---


def test_nothing_accepted_before_a_restart_is_accepted_after_it(desk):
    """Whatever second the restart falls into, and also from a bot whose clock is ahead."""
    accepted = []
    for ahead in (0, 1, 4, 5):
        headers = desk.sign(now=desk.clock.now + ahead)
        desk.send(headers)
        accepted.append(headers)
    desk.restart()
    for after in (0.0, 0.4, 1.0, 5.0, 6.0, 20.0):
        desk.clock.now = NOW + after
        for headers in accepted:
            assert desk.refusal(headers).code == "AUTH_RESTARTED"
    assert desk.refusal(accepted[0]).details["created_from"] == int(NOW) + 6


def test_after_a_restart_a_client_that_follows_the_answer_gets_in_within_a_second(desk):
    desk.restart()
    error = desk.refusal(desk.sign())
    assert error.code == "AUTH_RESTARTED"
    created_from = error.details["created_from"]
    desk.clock.now += 1
    assert desk.send(desk.sign(now=created_from)).user == "alice"


def test_a_restart_is_not_held_against_the_client(desk):
    desk.restart()
    for _ in range(50):
        assert desk.refusal(desk.sign()).code == "AUTH_RESTARTED"


def test_nonces_are_forgotten_only_when_they_could_not_be_used_again(desk):
    headers = desk.sign(lifetime_s=30)
    desk.send(headers)
    for later in range(60):
        desk.clock.now = NOW + later
        error = desk.refusal(headers, ip=f"10.0.1.{later}")
        assert error.code == ("AUTH_REPLAYED" if later <= 34 else "AUTH_EXPIRED")
    desk.send(desk.sign())
    assert len(desk.authenticator._nonces) == len(desk.authenticator._nonces_by_expiry) == 1


def test_memory_stays_flat(desk):
    for number in range(500):
        desk.clock.now = NOW + number
        desk.send(desk.sign(lifetime_s=10))
    assert len(desk.authenticator._nonces) <= 10 + 10 + 2


def test_of_many_threads_with_one_request_one_gets_in(desk):
    headers = desk.sign()
    outcomes = []
    start = threading.Barrier(8)

    def send():
        start.wait()
        try:
            outcomes.append(desk.send(headers).user)
        except AuthError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["AUTH_REPLAYED"] * 7 + ["alice"]


# --- failures are throttled ---


def test_twenty_failures_a_minute_then_one_attempt_a_second(desk):
    for _ in range(20):
        assert desk.refusal(desk.sign(STRANGER)).code == "AUTH_UNKNOWN_KEY"
    for _ in range(3):
        error = desk.refusal(desk.sign(STRANGER))
        assert (error.code, error.http_status, error.retry_after_s) == ("RATE_LIMITED", 429, 1)
    desk.clock.now += 1
    assert desk.refusal(desk.sign(STRANGER)).code == "AUTH_UNKNOWN_KEY"
    assert desk.refusal(desk.sign(STRANGER)).code == "RATE_LIMITED"
    assert desk.refusal(desk.sign(STRANGER), ip="10.0.0.2").code == "AUTH_UNKNOWN_KEY"
    desk.clock.now += 61
    assert desk.refusal(desk.sign(STRANGER)).code == "AUTH_UNKNOWN_KEY"


def test_a_neighbour_with_a_wrong_key_does_not_lock_out_the_others(desk):
    for _ in range(30):
        desk.refusal(desk.sign(STRANGER))
    assert desk.send(desk.sign()).user == "alice"


def test_forging_a_known_key_is_throttled_too(desk):
    codes = [desk.refusal(desk.sign(), body=b"forged").code for _ in range(25)]
    assert codes == ["AUTH_BAD_DIGEST"] * 20 + ["RATE_LIMITED"] * 5


def test_ten_thousand_senders_are_remembered_and_no_more(desk):
    for number in range(10_100):
        desk.refusal([], ip=f"10.{number >> 8}.{number & 255}.1")
    assert len(desk.authenticator._failures) == 10_000


# --- mutations ---


def test_two_thousand_mutated_requests_are_refused():
    """Random changes to what is on the wire; seeded, so that a failure comes back."""
    seed = 9421
    rng = random.Random(seed)
    desk = Desk()
    target = TARGET + "?exchange=kraken"
    for number in range(2000):
        headers = desk.sign(target=target)
        request = {"method": "POST", "target": target, "body": BODY}
        place = rng.choice(
            ["method", "target", "body", "Host", "Signature", "Signature-Input", "Content-Digest"]
        )
        if place in request:
            request[place] = mutated(rng, request[place])
        else:
            headers = replaced(headers, place, mutated(rng, dict(headers)[place]))
        code = desk.refusal(headers, **request, ip=str(number)).code
        assert code.startswith("AUTH_"), f"seed {seed}, number {number}: {code}"


def mutated(rng, value):
    """Change one byte into another, take one away or put one in."""
    data = bytearray(value if isinstance(value, bytes) else value.encode("ascii"))
    at = rng.randrange(len(data))
    kind = rng.choice(["flip", "insert", "delete"])
    if kind == "flip":
        data[at] = data[at] ^ 1 if 33 < data[at] < 126 else 65
    elif kind == "insert":
        data.insert(at, rng.choice(b"abcABC123"))
    else:
        del data[at]
    return bytes(data) if isinstance(value, bytes) else data.decode("ascii")


# --- OMS_KEYS and OMS_HOSTS ---


def test_keys_of_several_users_and_roles():
    keys = parse_keys(
        f"alice,{ALICE.public};\n bob@example.com , {bytes(READER.public).hex()} , read , 2027-01-01 ;;\n"
        f"root,{STRANGER.public},admin,2027-01-01T12:00:00+02:00\n"
    )
    assert {(k.user, k.role, k.expires) for k in keys.values()} == {
        ("alice", "trade", None),
        ("bob@example.com", "read", datetime(2027, 1, 1, tzinfo=UTC)),
        ("root", "admin", datetime(2027, 1, 1, 10, tzinfo=UTC)),
    }
    assert all(key.public.keyid == keyid for keyid, key in keys.items())
    assert parse_keys("") == parse_keys(" ; \n") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("alice", "entry 1: write <USER>,<PUBLIC KEY>", id="no key"),
        pytest.param(f"a,{ALICE.public},trade,2027-01-01,x", "5 fields", id="too many fields"),
        pytest.param(f"alice,{ALICE.reveal()}", "this is a PRIVATE key", id="private key"),
        pytest.param(ALICE.reveal(), "write <USER>,<PUBLIC KEY>", id="only a private key"),
        pytest.param(f"{ALICE.reveal()},alice", "user name comes first", id="key first"),
        pytest.param(f"alice,{ALICE.public};bob,nonsense", r"entry 2 \(bob\)", id="second entry"),
        pytest.param(f"al ice,{ALICE.public}", "user name", id="user with a space"),
        pytest.param(f"alice,{ALICE.public},boss", "role 'boss' is not one of read, trade, admin", id="role"),
        pytest.param(f"alice,{ALICE.public},trade,soon", "'soon' is not a date", id="expiry"),
        pytest.param(f"alice,{ALICE.public},trade,2027-01-01T12:00:00", "time zone", id="naive expiry"),
        pytest.param(
            f"alice,{ALICE.public};bob,{ALICE.public}", "already given to 'alice'", id="one key twice"
        ),
    ],
)
def test_wrong_keys_are_explained_in_one_line_without_repeating_them(text, says):
    with pytest.raises(KeysError, match=says) as caught:
        parse_keys(text)
    message = str(caught.value)
    assert message.startswith("OMS_KEYS") and "\n" not in message
    assert ALICE.reveal() not in message and "nonsense" not in message


def test_two_keys_of_one_user_are_a_rotation():
    keys = parse_keys(f"alice,{ALICE.public};alice,{READER.public}")
    assert [key.user for key in keys.values()] == ["alice", "alice"]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        ("OMS.example.com", ("oms.example.com",)),
        (
            "oms.example.com, 10.0.0.5:8888;[::1]:8888\noms.example.com",
            ("oms.example.com", "10.0.0.5:8888", "[::1]:8888"),
        ),
    ],
)
def test_hosts(text, hosts):
    assert parse_hosts(text) == hosts


@pytest.mark.parametrize(
    "text", ["https://oms.example.com", "oms.example.com/api", "a_b!c", "*", "host:port"]
)
def test_wrong_hosts(text):
    with pytest.raises(KeysError, match="OMS_HOSTS"):
        parse_hosts(text)


# --- the raw target, from whatever server runs us ---


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        pytest.param(
            {"asgi.scope": {"raw_path": b"/BTC%2FUSDT", "query_string": b"b=2&a=1"}},
            "/BTC%2FUSDT?b=2&a=1",
            id="asgi",
        ),
        pytest.param({"asgi.scope": {"raw_path": b"/a", "query_string": b""}}, "/a", id="asgi without query"),
        pytest.param({"RAW_URI": "/a%2Fb?x", "REQUEST_URI": "/a/b?x"}, "/a%2Fb?x", id="gunicorn"),
        pytest.param({"REQUEST_URI": "/a%2Fb?x=%20"}, "/a%2Fb?x=%20", id="waitress"),
        pytest.param({"asgi.scope": {}, "RAW_URI": "/a"}, "/a", id="asgi without raw path"),
    ],
)
def test_raw_target(environ, target):
    assert raw_target({"PATH_INFO": "/decoded", **environ}) == target


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PATH_INFO": "/decoded"},
        {"RAW_URI": "http://evil.com/a"},
        {"REQUEST_URI": "*"},
        {"asgi.scope": {"raw_path": "/ä".encode(), "query_string": b""}},
    ],
)
def test_no_raw_target(environ):
    with pytest.raises(AuthError, match="AUTH_MALFORMED"):
        raw_target(environ)
