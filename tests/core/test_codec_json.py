"""Strict JSON: what Python would let through is refused, with the field named."""

import time

import pytest

from ems.core import codec, errors
from ems.core.errors import BadMessage

REFUSED = {  # name -> (body, code, words of the message)
    "empty body": (b"", errors.REQUEST_MALFORMED, "not JSON"),
    "not JSON": (b"{side: 1}", errors.REQUEST_MALFORMED, "line 1 column 2"),
    "trailing comma": (b'{"a": 1,}', errors.REQUEST_MALFORMED, "not JSON"),
    "two documents": (b"{} {}", errors.REQUEST_MALFORMED, "not JSON"),
    "not UTF-8": (b'{"bot": "\xff"}', errors.REQUEST_MALFORMED, "not UTF-8 at byte 9"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), errors.REQUEST_MALFORMED, "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", errors.REQUEST_MALFORMED, "not JSON"),
    "duplicate key": (b'{"side": "buy", "side": "sell"}', errors.REQUEST_MALFORMED, '"side" appears more'),
    "duplicate key inside": (
        b'{"a": {"b": 1, "b": 1}}',
        errors.REQUEST_MALFORMED,
        '"b" appears more than once',
    ),
    "duplicate by escape": (b'{"side": 1, "s\\u0069de": 2}', errors.REQUEST_MALFORMED, '"side" appears'),
    "17 levels": (
        b'{"quantity": ' + b"[" * 16 + b"]" * 16 + b"}",
        errors.REQUEST_MALFORMED,
        'field "quantity"',
    ),
    "30,000 levels": (b"[" * 30_000, errors.REQUEST_MALFORMED, "deeper than 16"),
    "too large": (b" " * (codec.MAX_BODY_BYTES + 1), errors.REQUEST_TOO_LARGE, "65537 bytes"),
    "control character": (b'{"bot": "a\nb"}', errors.REQUEST_MALFORMED, "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_json(name: str) -> None:
    body, code, words = REFUSED[name]
    with pytest.raises(BadMessage) as caught:
        codec.decode_json(body)
    problem = caught.value.problems[0]
    assert problem.code == code
    assert words in problem.message
    assert problem.hint


def test_what_json_means_is_kept() -> None:
    body = '{"a": [1, true, null, "é"], "b": {"c": "NaN ]}]}"}, "d": "\\\\"}'.encode()
    assert codec.decode_json(body) == {"a": [1, True, None, "é"], "b": {"c": "NaN ]}]}"}, "d": "\\"}


def test_16_levels_are_fine_and_brackets_in_strings_do_not_count() -> None:
    codec.decode_json(b"[" * 16 + b"]" * 16)
    codec.decode_json(b'{"bot": "' + b"[" * 1000 + b'"}')
    codec.decode_json(b'{"bot": "\\"' + b"[" * 1000 + b'"}')


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1.0", "1e400", "-0.0", "1" * 5000])
def test_numbers_that_are_no_plain_integers_stay_text(text: str) -> None:
    value = codec.decode_json(text.encode())
    assert isinstance(value, codec.JsonNumber)
    assert value == text


HOSTILE = {
    "escaped quotes, unfinished": b'{"a": "' + b'\\"' * 32_000,
    "unfinished string": b'"' + b"a" * 65_000,
    "many keys": b"{" + b",".join(b'"k%d": 1' % i for i in range(6000)) + b"}",
    "many duplicate keys": b"{" + b",".join(b'"k%d": 1' % (i // 2) for i in range(6000)) + b"}",
    "deep": b"[" * 65_000,
    "long number": b'{"quantity": ' + b"9" * 65_000 + b"}",
    "long amount": b'{"quantity": "' + b"9" * 65_000 + b'"}',
    "quotes": b'"' * 65_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_cost_little(name: str) -> None:
    started = time.process_time()
    codec.read_command(codec.VERBS["market_order"], HOSTILE[name])
    assert time.process_time() - started < 0.2  # the goal is 50 ms; the test machine is shared
