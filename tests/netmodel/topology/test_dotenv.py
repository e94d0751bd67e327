from __future__ import annotations

import pytest

from netmodel.topology.dotenv import BadLine, parse


def test_lines() -> None:
    text = """\
# comment
A=1
export B = two words   # and a comment
C='single $A # kept'
D="double $A\\n\\"x\\" # kept" # dropped
E=
F: yaml
G=a#b
H="several
lines"
I=${A}${Z:-z}
J=\\n
"""
    assert parse(text, {}) == {
        "A": "1",
        "B": "two words",
        "C": "single $A # kept",
        "D": 'double 1\n"x" # kept',
        "E": "",
        "F": "yaml",
        "G": "a#b",
        "H": "several\nlines",
        "I": "1z",
        "J": "\\n",
    }


def test_a_bare_name_is_the_callers() -> None:
    assert parse("A\nB\n", {"A": "mine"}) == {"A": "mine"}


def test_the_callers_value_wins_inside_values() -> None:
    assert parse("A=file\nB=$A\n", {"A": "mine"}) == {"A": "file", "B": "mine"}


def test_raw_takes_what_stands_there() -> None:
    assert parse("A='x' $B # c\r\n", {}, raw=True) == {"A": "'x' $B # c"}


@pytest.mark.parametrize(("text", "line"), [("A=1\n=2\n", 2), ('A="x\ny\n', 1), ("A=1\n\nB=${\n", 3), ("a b\n", 1)])
def test_a_bad_line_is_named(text: str, line: int) -> None:
    with pytest.raises(BadLine) as caught:
        parse(text, {})

    assert caught.value.line == line
