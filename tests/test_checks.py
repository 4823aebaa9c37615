"""Checks of single values: what they take, and the line that they refuse the rest with."""

import math
import re

import numpy as np
import pytest

from culnig_tl.checks import (
    check_choice,
    check_count,
    check_file_name,
    check_flag,
    check_number,
    check_share,
    check_text,
    shown,
)
from culnig_tl.errors import CulnigError

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (check_number, [0, -2.5, np.float32(1.5), np.int64(3), 1e38]),
        (check_share, [0, 1, 0.5, np.float64(0.01)]),
        (check_count, [0, 7, np.int64(7)]),
        (check_flag, [True, False]),
        (check_text, ["a", "España", "<b>"]),
        (check_file_name, ["China", "score mean", "sweep t=0.01 r=0.0", "a.b", "mmlu_*", "日本"]),
    ],
)
def test_what_is_right_passes(check, values):
    for value in values:
        check("x", value)


def test_ends_that_are_given():
    check_number("x", -INF, least=-INF)
    check_number("x", 5, least=0, most=5)
    check_count("x", 1, least=1, most=1)
    check_choice("colour", "red", ["red", "blue"])


@pytest.mark.parametrize(
    ("check", "value", "line"),
    [
        (check_number, NAN, "x is nan: give a finite number"),
        (check_number, INF, "x is inf: give a finite number"),
        (check_number, -INF, "x is -inf: give a finite number"),
        (check_number, 1e300, "x is 1e+300: give a finite number"),
        (check_number, "0.1", "x is '0.1': give a number"),
        (check_number, None, "x is None: give a number"),
        (check_number, True, "x is True: give a number"),
        (check_number, [1], "x is [1]: give a number"),
        (check_number, 1j, "x is 1j: give a number"),
        (check_share, NAN, "x is nan: give a share between 0 and 1"),
        (check_share, 2, "x is 2: give a share between 0 and 1"),
        (check_share, -0.1, "x is -0.1: give a share between 0 and 1"),
        (check_share, INF, "x is inf: give a share between 0 and 1"),
        (check_share, "0.1", "x is '0.1': give a number"),
        (check_count, -3, "x is -3: give 0 or more"),
        (check_count, 2.0, "x is 2.0: give a whole number"),
        (check_count, NAN, "x is nan: give a whole number"),
        (check_count, False, "x is False: give a whole number"),
        (check_count, "8", "x is '8': give a whole number"),
        (
            check_count,
            10**30,
            "x is 1000000000000000000000000000000: give 9007199254740992 or less",
        ),
        (check_flag, "true", "x is 'true': give true or false"),
        (check_flag, 1, "x is 1: give true or false"),
        (check_flag, None, "x is None: give true or false"),
        (check_text, 3, "x is 3: give a text"),
        (check_text, "", "x is '': give a text that is not empty"),
        (check_text, "a\x00", r"x is 'a\x00': leave out control characters"),
        (check_text, "a\nb", r"x is 'a\nb': leave out control characters"),
    ],
)
def test_what_is_wrong_is_one_line(check, value, line):
    with pytest.raises(CulnigError, match=f"^{re.escape(line)}$"):
        check("x", value)


@pytest.mark.parametrize(
    ("check", "value", "range_", "line"),
    [
        (check_count, 0, {"least": 1, "unit": "tokens"}, "x is 0: give 1 or more tokens"),
        (check_count, 7, {"most": 5}, "x is 7: give 5 or less"),
        (check_number, 7, {"least": 0, "most": 5}, "x is 7: give a number between 0 and 5"),
        (check_number, -1, {"least": 0}, "x is -1: give 0 or more"),
    ],
    ids=["few", "many", "outside", "low"],
)
def test_what_is_out_of_a_given_range(check, value, range_, line):
    with pytest.raises(CulnigError, match=f"^{line}$"):
        check("x", value, **range_)


@pytest.mark.parametrize("value", ["green", None, 3, ["red"], "RED"], ids=str)
def test_what_is_no_choice(value):
    with pytest.raises(CulnigError, match=r"^unknown colour .*: choose from red, blue$"):
        check_choice("colour", value, ("red", "blue"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "leave out slashes, control characters and a dot at the beginning")
          for name in ("../../evil", "a/b", "/etc/x", "a\\b", ".hidden", "..", ".", "a\u2028b")),
        *((name, "leave out control characters") for name in ("a\x00b", "a\nb")),
        *((name, "give a text that is not empty") for name in ("", "  ")),
        *((name, "give a name of 200 bytes at most") for name in (300 * "a", 90 * "日")),
        *((name, "that is a device on Windows, give another name") for name in ("con", "NUL.x")),
        (None, "give a text"),
    ],
)  # fmt: skip
def test_names_that_are_no_files(name, reason):
    with pytest.raises(CulnigError, match=f": {reason}$") as caught:
        check_file_name("the set's name", name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_value_in_a_message_is_short_and_on_one_line():
    assert shown("a" * 500) == f"'{'a' * 76}..."
    assert shown(["a\nb", 1]) == r"['a\nb', 1]"
    assert shown(np.float64(1.5)) == "1.5"
    assert shown(10**5000) == "a very long int"
    assert "\n" not in shown(np.arange(500).reshape(50, 10))
