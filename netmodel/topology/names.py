"""What a project is called, and the names and labels of all that is in it, as Compose has them."""

from __future__ import annotations

import re
from pathlib import Path

from netmodel.project import NETWORK_LABEL, NUMBER_LABEL, PROJECT_LABEL, SERVICE_LABEL, VOLUME_LABEL

# A file of one of these names stands for its directory.
DIRECTORY_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
# Compose shows only what carries these, too.
ONEOFF_LABEL = "com.docker.compose.oneoff"
FILES_LABEL = "com.docker.compose.project.config_files"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"
DEPENDS_LABEL = "com.docker.compose.depends_on"
COMPOSE_LABELS = "com.docker.compose."

_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
SERVICE = re.compile(r"[a-zA-Z0-9._-]+")


def normalised(name: str) -> str:
    """Make a project name out of any text: lower case, nothing but letters, digits, "-" and "_"; may be ""."""
    return re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-")


def project_name(text: str) -> str:
    """Check a name that somebody chose."""
    if not _PROJECT.fullmatch(text):
        meant = normalised(text)
        way_out = f'; "{meant}" would do' if meant else ""
        raise ValueError(
            f'"{text}" is no project name: lower-case letters, digits, "-" and "_", a letter or digit first{way_out}'
        )
    return text


def default_project_name(path: Path) -> str:
    """The file's stem, or its directory's name for compose.yaml and the like."""
    whole = path.absolute()
    return normalised(whole.parent.name if whole.name in DIRECTORY_FILES else whole.stem)


def container(project: str, service: str, number: int) -> str:
    return f"{project}-{service}-{number}"


def network_labels(project: str, key: str) -> dict[str, str]:
    return {PROJECT_LABEL: project, NETWORK_LABEL: key}


def volume_labels(project: str, key: str) -> dict[str, str]:
    return {PROJECT_LABEL: project, VOLUME_LABEL: key}


def container_labels(project: str, service: str, number: int) -> dict[str, str]:
    return {PROJECT_LABEL: project, SERVICE_LABEL: service, NUMBER_LABEL: str(number), ONEOFF_LABEL: "False"}
