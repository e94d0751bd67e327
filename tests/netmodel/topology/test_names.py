from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.topology import TopologyError, find_name, load

TEXT = "services: {a: {image: host}}\n"


def _name(file: Path, text: str = TEXT, environment: dict[str, str] | None = None, chosen: str | None = None) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    loaded = load(file, environment or {}, chosen)
    assert find_name(file, environment or {}, chosen) == loaded.project.name
    return loaded.project.name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("shop.yaml", "shop"),
        ("My Lab.yml", "mylab"),
        ("_x.y.yaml", "xy"),
        ("My.Site/compose.yaml", "mysite"),
        ("site/compose.yml", "site"),
        ("site/docker-compose.yml", "site"),
        ("site/docker-compose.yaml", "site"),
        ("site/lab.yaml", "lab"),
    ],
)
def test_the_files_own_name(tmp_path: Path, file: str, name: str) -> None:
    assert _name(tmp_path / file) == name


def test_who_wins(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    named = f"name: ${{N:-own}}\n{TEXT}"

    assert _name(file, named) == "own"
    assert _name(file, named, {"N": "other"}) == "other"
    assert _name(file, named, {"COMPOSE_PROJECT_NAME": "env"}) == "env"
    assert _name(file, named, {"COMPOSE_PROJECT_NAME": "env"}, "chosen") == "chosen"


def test_a_directory_means_its_compose_file(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/compose.yaml").write_text(TEXT)

    assert load(tmp_path / "site", {}).project.name == "site"


@pytest.mark.parametrize(("environment", "chosen"), [({"COMPOSE_PROJECT_NAME": "Not Good"}, None), ({}, "Not Good")])
def test_a_chosen_name_is_taken_as_it_is_or_not_at_all(
    tmp_path: Path, environment: dict[str, str], chosen: str | None
) -> None:
    with pytest.raises(TopologyError, match='"notgood" would do'):
        _name(tmp_path / "lab.yaml", TEXT, environment, chosen)


def test_the_name_is_found_in_a_file_with_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("name: mine\nservices: {a: {}}\n")

    assert find_name(file, {}) == "mine"
