"""Algorithms by name, and the numbers callers may give them."""

from decimal import Decimal

import pytest

from ems.algos.params import ALGOS, PROFILES, USER_PARAMETERS, describe, with_overrides

D = Decimal


def test_every_algorithm_is_named_once_and_knows_its_own_name():
    assert set(ALGOS) == set(PROFILES) == set(USER_PARAMETERS)
    assert all(PROFILES[name].name == name and PROFILES[name].meaning for name in ALGOS)


def test_without_overrides_a_profile_is_itself():
    assert all(with_overrides(name, {}) == PROFILES[name] for name in ALGOS)


@pytest.mark.parametrize(
    ("algo", "given", "field", "value"),
    [
        ("adaptive", {"urgency": "0.5"}, "urgency", 0.5),
        ("adaptive", {"urgency": D(5)}, "urgency", 5.0),
        ("walker", {"child_share": "0.2"}, "child", 0.2),
        ("now", {"take_through_bps": "12.5"}, "take_through", D("0.00125")),
        ("twap", {"slots": "24"}, "slots", 24),
        ("twap", {"slots": 24}, "slots", 24),
        ("vwap", {"curve": "3, 1,2"}, "curve", (3.0, 1.0, 2.0)),
        ("vwap", {"curve": ["3", D(1)]}, "curve", (3.0, 1.0)),
        ("pov", {"participation": "0.2"}, "participation", D("0.2")),
        ("iceberg", {"display": "0.05"}, "display", D("0.05")),
        ("sniper", {"cost_bps": "8"}, "cost_bps", D(8)),
    ],
)
def test_a_number_is_taken_over_as_text_int_or_decimal(algo, given, field, value):
    assert getattr(with_overrides(algo, given), field) == value


@pytest.mark.parametrize(
    ("algo", "given", "words"),
    [
        ("vwop", {}, ["vwop", "adaptive", "vwap"]),
        ("twap", {"slot": "3"}, ["'slot'", "slots, jitter"]),
        ("twap", {"slots": "0"}, ["slots", "between 1 and 1000", "0 does not"]),
        ("twap", {"slots": "2.5"}, ["slots", "whole number"]),
        ("twap", {"slots": "many"}, ["slots", "number from 1 to 1000"]),
        ("twap", {"slots": 2.0}, ["slots", "number from 1 to 1000"]),  # a float
        ("twap", {"slots": True}, ["slots"]),
        ("twap", {"jitter": "NaN"}, ["jitter", "between 0 and 0.5"]),
        ("adaptive", {"urgency": "11"}, ["urgency", "between 0 and 10"]),
        ("vwap", {"curve": ""}, ["curve", "number"]),
        ("vwap", {"curve": "0,0"}, ["curve", "above 0"]),
        ("vwap", {"curve": "1,-1"}, ["curve", "between 0"]),
        ("pov", {"participation": "0.9"}, ["participation", "between 0.001 and 0.5"]),
    ],
)
def test_a_wrong_number_is_refused_with_its_name_its_range_and_the_way_out(algo, given, words):
    with pytest.raises(ValueError) as refused:
        with_overrides(algo, given)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("algo", ALGOS)
def test_defaults_shown_to_people_mean_what_the_profile_does(algo):
    for name, row in USER_PARAMETERS[algo].items():
        low, high = row.range
        assert low < high and row.meaning and row.type in ("number", "integer", "numbers")
        if row.default:
            assert with_overrides(algo, {name: row.default}) == PROFILES[algo]
            assert name in describe()
