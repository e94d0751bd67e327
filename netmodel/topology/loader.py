"""From a file to a Project: read, checked, with all names final, or every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from netmodel.model import EndpointConfig, MountConfig
from netmodel.project import CONFIG_HASH_LABEL, Project, ProjectNetwork, ProjectVolume, ServiceContainer
from netmodel.topology import checks, dotenv, expect, link, names, network, service
from netmodel.topology.checks import Claims
from netmodel.topology.config_hash import config_hash, with_hash
from netmodel.topology.diagnostic import Diagnostic, TopologyError
from netmodel.topology.environment import EnvFiles
from netmodel.topology.foreign import looks_like
from netmodel.topology.keys import TOP
from netmodel.topology.links import of_default_network
from netmodel.topology.network import Network, Volume
from netmodel.topology.service import Service
from netmodel.topology.value import Fields, Source, Value

MAX_BYTES = 16 << 20  # some 100,000 services


@dataclass(frozen=True, slots=True)
class Loaded:
    project: Project
    warnings: list[Diagnostic]


def load(path: Path, environment: Mapping[str, str], project_name: str | None = None) -> Loaded:
    """Read a topology.

    Args:
        path: The file, or a directory with a compose.yaml in it.
        environment: The caller's; `.env` beside the file fills in what it lacks.
        project_name: Wins over COMPOSE_PROJECT_NAME, the file's `name:` and the file's own name.

    Raises:
        TopologyError: Every mistake there is.
    """
    file = find(path)
    source, root = _open(file, environment)
    if root is None:
        raise TopologyError(sorted(source.errors))
    fields = _top(root)
    name = _project_name(file, source, fields, project_name)
    source.variables = {**source.variables, "COMPOSE_PROJECT_NAME": name}
    project = _Loader(file, name, source).load(fields)
    if source.errors:
        raise TopologyError(sorted(source.errors))
    return Loaded(project, source.warnings)


def find_name(path: Path, environment: Mapping[str, str], project_name: str | None = None) -> str:
    """The name of a topology's project, whatever else is wrong with the file.

    Raises:
        TopologyError: There is no such file, or it is no YAML.
    """
    file = find(path)
    source, root = _open(file, environment)
    if root is None:
        raise TopologyError(sorted(source.errors))
    value = root.pairs().get("name") if root.is_mapping else None
    fields = Fields(root)
    if value is not None and not value.is_null:
        fields["name"] = value
    return _project_name(file, source, fields, project_name)


def find(path: Path) -> Path:
    """The file meant by a path: of a directory its compose.yaml."""
    if not path.is_dir():
        return path
    for name in names.DIRECTORY_FILES:
        if (path / name).is_file():
            return path / name
    raise TopologyError(
        [Diagnostic(str(path), 0, 0, "", "is a directory without a compose.yaml", "name the topology's file")]
    )


def _open(file: Path, environment: Mapping[str, str]) -> tuple[Source, Value | None]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)  # /dev/zero has no end
        if len(data) > MAX_BYTES:
            raise TopologyError([Diagnostic(str(file), 0, 0, "", f"is larger than {MAX_BYTES >> 20} MiB")])
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TopologyError([Diagnostic(str(file), line, 1, "", "is not UTF-8 text")]) from error
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error))
        raise TopologyError([Diagnostic(str(file), 0, 0, "", reason)]) from error
    variables, mistakes = _variables(file.parent / ".env", environment)
    source = Source(str(file), variables)
    source.errors.update(mistakes)
    return source, source.parse(text)


def _variables(file: Path, environment: Mapping[str, str]) -> tuple[dict[str, str], list[Diagnostic]]:
    """The caller's environment over what `.env` says."""
    try:
        return {**dotenv.parse(file.read_text(encoding="utf-8"), environment), **environment}, []
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return dict(environment), []
    except dotenv.BadLine as error:
        return dict(environment), [Diagnostic(str(file), error.line, 1, "", str(error))]
    except (OSError, UnicodeDecodeError) as error:
        return dict(environment), [Diagnostic(str(file), 0, 0, "", f"cannot be read: {error}")]


def _top(root: Value) -> Fields:
    """The top-level keys, or one clear word about a file that is something else."""
    source = root.source
    if not root.is_mapping:
        root.wrong_kind("a mapping with services:", "see topologies/quickstart.yaml for an example")
        raise TopologyError(sorted(source.errors))
    kind = looks_like(root.pairs())
    if kind:
        raise TopologyError(
            [
                Diagnostic(
                    source.file,
                    root.line,
                    root.column,
                    "",
                    f"this looks like {kind}",
                    "a topology is a Compose file; see topologies/quickstart.yaml",
                )
            ]
        )
    fields = root.fields(TOP)
    if not {"services", "networks", "volumes"} & fields.keys() and not source.errors:
        source.error(root.line, root.column, "", "declares no services", "a topology has at least services:")
    return fields


def _project_name(file: Path, source: Source, fields: Fields, chosen: str | None) -> str:
    """The name by the first of -p, COMPOSE_PROJECT_NAME, `name:` and the file's own name."""
    for origin, text in (("-p", chosen), ("COMPOSE_PROJECT_NAME", source.variables.get("COMPOSE_PROJECT_NAME"))):
        if text:
            try:
                return names.project_name(text)
            except ValueError as error:
                raise TopologyError([Diagnostic(origin, 0, 0, "", str(error))]) from error
    if "name" in fields:
        return fields.parsed("name", names.project_name) or "invalid"
    name = names.default_project_name(file)
    if not name:
        source.error(0, 0, "", f'no project name can be made of "{file.name}"', "give the file a name: at its top")
    return name or "invalid"


class _Loader:
    """One file on its way from fields to a Project."""

    def __init__(self, file: Path, project: str, source: Source) -> None:
        self._file = file.absolute()
        self._project = project
        self._source = source
        self._files = EnvFiles(self._file.parent, source.variables)

    def load(self, fields: Fields) -> Project:
        networks = self._networks(fields)
        volumes = self._volumes(fields)
        declared = self._services(fields)
        services = self._active(declared)
        if network.DEFAULT not in networks and checks.uses_default(services):
            networks[network.DEFAULT] = network.default(self._project)
        networks = link.with_subnets(networks, services.values())
        claims = checks.check(self._project, services, networks, volumes)
        expectations = []
        if "x-expect" in fields:
            places = {name: one.value for name, one in declared.items()}
            expectations = expect.read(fields["x-expect"], places, networks, _aliases(self._project, services))
        if self._source.errors:  # nothing below makes sense of what is wrong
            return Project(name=self._project)
        return Project(
            name=self._project,
            networks=tuple(self._network(one, claims) for one in networks.values()),
            volumes=tuple(
                ProjectVolume(key=one.key, config=one.config, external=one.external) for one in volumes.values()
            ),
            containers=tuple(
                container
                for one in services.values()
                for container in self._containers(one, services, networks, volumes)
            ),
            expectations=tuple(
                one
                for one in expectations
                if not {one.source, one.target} & (declared.keys() - services.keys())  # of a profile that is not there
            ),
        )

    def _networks(self, fields: Fields) -> dict[str, Network]:
        section = fields.get("networks")
        pairs = section.pairs() if section else {}
        return {key: network.read_network(key, value, self._project) for key, value in pairs.items()}

    def _volumes(self, fields: Fields) -> dict[str, Volume]:
        section = fields.get("volumes")
        pairs = section.pairs() if section else {}
        return {key: network.read_volume(key, value, self._project) for key, value in pairs.items()}

    def _services(self, fields: Fields) -> dict[str, Service]:
        found: dict[str, Service] = {}
        section = fields.get("services")
        for name, value in (section.pairs() if section else {}).items():
            if not names.SERVICE.fullmatch(name):
                value.error_at_key(f'"{name}" is no service name', 'use letters, digits, ".", "_" and "-"')
                continue
            found[name] = service.read(name, value, self._project, self._file.parent, self._files)
        return found

    def _active(self, declared: Mapping[str, Service]) -> dict[str, Service]:
        """Without those whose profiles nobody asked for."""
        wanted = set(self._source.variables.get("COMPOSE_PROFILES", "").replace(" ", "").split(","))
        return {
            name: one
            for name, one in declared.items()
            if not one.profiles or "*" in wanted or wanted.intersection(one.profiles)
        }

    def _network(self, one: Network, claims: Claims) -> ProjectNetwork:
        if one.external:
            return ProjectNetwork(key=one.key, config=one.config, external=True)
        is_link = one.config.driver == network.P2P
        config = one.config if is_link else network.claim_gateways(one, claims.get(one.key, {}))
        return ProjectNetwork(key=one.key, config=with_hash(config))

    def _containers(
        self,
        one: Service,
        services: Mapping[str, Service],
        networks: Mapping[str, Network],
        volumes: Mapping[str, Volume],
    ) -> list[ServiceContainer]:
        """The replicas of a service, alike but for their names and numbers."""
        config = replace(
            one.config,
            networks=tuple(_endpoint(a.config, networks[a.key]) for a in one.attachments)
            or of_default_network(one.links, lambda name: _first_container(self._project, name, services)),
            mounts=tuple(_mount(mount.config, volumes) for mount in one.mounts),
        )
        depends = _depends_on(one, services)
        shared = {
            **config.labels,
            CONFIG_HASH_LABEL: config_hash(config),
            names.FILES_LABEL: str(self._file),
            names.DIRECTORY_LABEL: str(self._file.parent),
            names.DEPENDS_LABEL: ",".join(
                f"{name}:{dependency.condition}:{str(dependency.restart).lower()}"
                for name, (dependency, _) in one.depends.items()
                if name in services
            ),
        }
        return [
            ServiceContainer(
                service=one.name,
                number=number,
                name=name,
                config=replace(config, labels={**shared, **names.container_labels(self._project, one.name, number)}),
                depends_on=depends,
                pull=one.pull,
                conditions=tuple(
                    dependency for dependency, _ in one.depends.values() if dependency.service in services
                ),
            )
            for number, name in enumerate(checks.container_names(self._project, one), start=1)
        ]


def _first_container(project: str, name: str, services: Mapping[str, Service]) -> str:
    """For who needs one container and has a service; without containers of its own that name will be nobody's."""
    return next(iter(checks.container_names(project, services[name])), name)


def _aliases(project: str, services: Mapping[str, Service]) -> set[str]:
    """Every name but a service's that a container's DNS answers."""
    found: set[str] = set()
    for one in services.values():
        found.update(checks.container_names(project, one))
        for attachment in one.attachments:
            found.update(attachment.config.aliases)
    return found


def _depends_on(one: Service, services: Mapping[str, Service]) -> tuple[str, ...]:
    """What starts first: what depends_on says, and whoever owns the network stack it shares."""
    found = [name for name in (*one.depends, *one.owners) if name in services]
    if one.mode_service and one.mode_service not in found:
        found.append(one.mode_service)
    if one.mode.startswith("container:"):
        owner = one.mode.removeprefix("container:")
        found += [
            other.name for other in services.values() if other.container_name == owner and other.name not in found
        ]
    return tuple(found)


def _endpoint(config: EndpointConfig, joined: Network) -> EndpointConfig:
    return replace(config, network=joined.config.name)


def _mount(config: MountConfig, volumes: Mapping[str, Volume]) -> MountConfig:
    if config.type != "volume" or not config.source:
        return config
    return replace(config, source=volumes[config.source].config.name)
