from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmodel.topology.interpolate import BadVariable, interpolate

VARIABLES = {"A": "apple", "EMPTY": "", "_x1": "under"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$A", "apple"),
        ("${A}pie", "applepie"),
        ("$A$_x1", "appleunder"),
        ("$$A", "$A"),
        ("$$$A", "$apple"),
        ("${NO:-d}", "d"),
        ("${NO-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:-d}", "apple"),
        ("${NO:-}", ""),
        ("${A:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${NO+yes}", ""),
        ("${A:?must}", "apple"),
        ("${EMPTY?must}", ""),
        ("${NO:-${A}}", "apple"),
        ("${NO:-${ALSO:-$A-}}!", "apple-!"),
        ("${NO:-a b:c/d}", "a b:c/d"),
        ("${NO:-$$5}", "$5"),
        ("${A:-${NO:?never asked}}", "apple"),
        ("a}b", "a}b"),
    ],
)
def test_value(text: str, result: str) -> None:
    assert interpolate(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$", "is no variable"),
        ("$5", "is no variable"),
        ("${}", "is no variable"),
        ("${A", "is no variable"),
        ("${A!x}", "is no variable"),
        ("${NO:-x", "lacks a closing brace"),
        ("${NO?}", "the variable NO must be set"),
        ("${NO:?give it}", "the variable NO must be set: give it"),
        ("${EMPTY:?give it}", "the variable EMPTY must be set: give it"),
        ("${NO:-" * 30 + "}" * 30, "nested deeper"),
    ],
)
def test_mistake(text: str, message: str) -> None:
    with pytest.raises(BadVariable, match=message):
        interpolate(text, VARIABLES)


def test_missing_variables_are_told_where_they_count() -> None:
    missing: list[str] = []

    assert interpolate("$X ${Y} ${Z:-$W} ${A:-$V}", VARIABLES, missing.append) == "   apple"

    assert missing == ["X", "Y", "W"]


@given(st.text())
def test_any_text_ends_in_a_value_or_one_error(text: str) -> None:
    with contextlib.suppress(BadVariable):
        interpolate(text, VARIABLES)


@given(st.text())
def test_doubled_dollars_come_back_as_they_were(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text
