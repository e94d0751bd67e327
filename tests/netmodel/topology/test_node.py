from __future__ import annotations

import pytest

from netmodel.topology.node import Mapping, Node, Scalar, Sequence, Unreadable, parse, plain_kind


def _read(text: str) -> tuple[Node | None, list[str]]:
    reports: list[str] = []
    node = parse(text, lambda line, column, message, hint: reports.append(f"{line}:{column}: {message}"))
    return node, reports


def _plain(node: Node | None) -> object:
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, (_, value) in node.entries.items()}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    return node.text if isinstance(node, Scalar) else None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("yes", "text"),
        ("on", "text"),
        ("No", "text"),
        ("true", "boolean"),
        ("False", "boolean"),
        ("", "null"),
        ("~", "null"),
        ("null", "null"),
        ("22:22", "text"),
        ("190:20:30", "text"),
        ("8080", "number"),
        ("-1", "number"),
        ("0x1F", "number"),
        ("0o17", "number"),
        ("1.5e3", "number"),
        (".5", "number"),
        ("1_000", "text"),
        ("2001-12-14", "text"),
        ("1.2.3", "text"),
        ("512m", "text"),
    ],
)
def test_plain_scalars_are_yaml_1_2(text: str, kind: str) -> None:
    assert plain_kind(text) == kind


def test_quotes_and_blocks_make_text() -> None:
    node, _ = _read("a: '5'\nb: |\n  5\nc: !!str 5\nd: 5\n")

    assert isinstance(node, Mapping)
    assert {key: value.kind for key, (_, value) in node.entries.items() if isinstance(value, Scalar)} == {
        "a": "text",
        "b": "text",
        "c": "text",
        "d": "number",
    }


def test_places_are_remembered() -> None:
    node, _ = _read("a:\n  - x\n  - y: 3\n")

    assert isinstance(node, Mapping)
    key, value = node.entries["a"]
    assert (key.line, key.column) == (1, 1)
    assert isinstance(value, Sequence)
    assert [(item.line, item.column) for item in value.items] == [(2, 5), (3, 5)]


def test_merge_keys_give_way_to_own_keys_and_to_earlier_merges() -> None:
    node, reports = _read(
        "base: &base {a: 1, b: 1}\nmore: &more {b: 2, c: 2}\none: {<<: *base, a: 0}\nmany: {<<: [*more, *base], d: 3}\n"
    )

    plain = _plain(node)
    assert isinstance(plain, dict)
    assert plain["one"] == {"a": "0", "b": "1"}
    assert plain["many"] == {"d": "3", "b": "2", "c": "2", "a": "1"}
    assert not reports


def test_duplicate_keys_are_told_with_the_first_ones_line() -> None:
    _, reports = _read("a: 1\nb: 2\na: 3\n")

    assert reports == ['3:1: "a" is given twice; the first is in line 1']


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: [", (2, 1), "not YAML"),
        ("a: b: c", (1, 5), 'there is a ":" where none can be'),
        ("a:\n\tb: c", (2, 1), "cannot begin a value"),
        ("a: 1\n---\nb: 2", (2, 1), "a second document"),
        ("a: *b", (1, 4), "no anchor &b"),
        ("a: &a [*a]", (1, 8), "stands inside what it names"),
        ("[" * 200, (1, 102), "nested deeper than 100"),
        ("a: \x01", (1, 4), "control characters"),
    ],
)
def test_unreadable_text_says_where(text: str, where: tuple[int, int], message: str) -> None:
    with pytest.raises(Unreadable) as caught:
        _read(text)

    assert (caught.value.line, caught.value.column) == where
    assert message in caught.value.message


def test_aliases_cannot_grow_without_bound() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
    )

    with pytest.raises(Unreadable, match="aliases make this grow"):
        _read(bomb)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "~"])
def test_nothing_is_none(text: str) -> None:
    assert _read(text)[0] is None
