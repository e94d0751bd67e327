"""All records in memory, indexed for every question the engine asks; each change goes to the store first.

The engine is the store's only writer, so this is never behind it; it is ahead where the kernel has done
something that the disk does not take. Values are immutable: a reader
without a lock sees a record as it was or as it is, never half of each.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from netmodel.errors import Conflict, Invalid, NotFound, Unavailable
from netmodel.model import Container, Endpoint, Network, Volume
from netmodel.store import Record, Store
from netmodel.store.api import key_of

T = TypeVar("T", Network, Container)
_PROBE = "probe"  # of the store's meta: written to see whether it can be


class Index(Generic[T]):
    """Records of one kind by id, by name and by the beginning of the id."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._by_id: dict[str, T] = {}
        self._id_by_name: dict[str, str] = {}
        self._sorted_ids: list[str] = []

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def names(self) -> Mapping[str, str]:
        """Ids by name."""
        return self._id_by_name

    def get(self, object_id: str) -> T | None:
        return self._by_id.get(object_id)

    def named(self, name: str) -> T | None:
        object_id = self._id_by_name.get(name)
        return None if object_id is None else self._by_id.get(object_id)

    def find(self, ref: str) -> T:
        """By whole id, name, or a beginning of the id that fits only one.

        Raises:
            NotFound, Invalid: None fits; several do.
        """
        ref = ref.removeprefix("/")
        found = self._by_id.get(ref) or self.named(ref)
        if found is not None:
            return found
        ids = self._beginning_with(ref) if ref else []
        if not ids:
            raise NotFound(f"no such {self.kind}: {ref}", self._near(ref))
        if len(ids) > 1:
            raise Invalid(f"{self.kind} id {ref!r} is ambiguous: {ids[0][:12]}, {ids[1][:12]}", "give more digits")
        return self._by_id[ids[0]]

    def _beginning_with(self, prefix: str) -> list[str]:
        at = bisect.bisect_left(self._sorted_ids, prefix)
        return [key for key in self._sorted_ids[at : at + 2] if key.startswith(prefix)]

    def _near(self, ref: str) -> str:
        import difflib  # only a mistake needs it

        near = difflib.get_close_matches(ref, list(self._id_by_name), n=1)
        return f"did you mean {near[0]}?" if near else ""

    def check_free(self, record: T) -> None:
        """Raise Conflict when another one has the record's name."""
        holder = self._id_by_name.get(record.name)
        if holder is not None and holder != record.id:
            remove = "remove or rename" if self.kind == "container" else "remove"
            raise Conflict(
                f"{self.kind} name {record.name!r} is taken by {self.kind} {holder[:12]}",
                f"{remove} that {self.kind}, or choose another name",
            )

    def add(self, record: T) -> None:
        before = self._by_id.get(record.id)
        if before is None:
            bisect.insort(self._sorted_ids, record.id)
        elif before.name != record.name:
            del self._id_by_name[before.name]
        self._by_id[record.id] = record
        self._id_by_name[record.name] = record.id

    def discard(self, record: T) -> None:
        before = self._by_id.pop(record.id, None)
        if before is not None:
            del self._id_by_name[before.name]
            del self._sorted_ids[bisect.bisect_left(self._sorted_ids, record.id)]


class Records:
    """What the engine knows. Changes are atomic: in the store and here, or in neither."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.networks: Index[Network] = Index("network")
        self.containers: Index[Container] = Index("container")
        self._volumes: dict[str, Volume] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._of_container: dict[str, dict[str, Endpoint]] = {}
        self._of_network: dict[str, dict[str, Endpoint]] = {}
        self._sharers: dict[str, set[str]] = {}  # by sandbox: the containers in it
        for network in store.list(Network):
            self._add(network)
        for container in store.list(Container):
            self._add(container)
        for endpoint in store.list(Endpoint):
            self._add(endpoint)
        for volume in store.list(Volume):
            self._add(volume)
        self._meta = store.meta()
        self._owed: dict[tuple[type, str], Record] = {}  # to the store, which did not take them yet
        self._probes = 0

    # --- changes ------------------------------------------------------------------------------

    def write(
        self, put: Iterable[Record] = (), delete: Iterable[Record] = (), meta: Mapping[str, str | None] | None = None
    ) -> None:
        """Make these changes in one commit.

        Raises:
            Conflict: A name is taken.
        """
        put, delete = tuple(put), tuple(delete)
        with self._lock:
            changed = {_key(record) for record in (*put, *delete)}
            owed = [record for key, record in self._owed.items() if key not in changed]
            for record in put:
                if isinstance(record, Network):
                    self.networks.check_free(record)
                elif isinstance(record, Container):
                    self.containers.check_free(record)
            self._store.write((*owed, *put), delete, meta)
            self._owed.clear()
            for record in put:
                self._add(record)
            for record in delete:
                self._discard(record)
            for key, value in (meta or {}).items():
                if value is None:
                    self._meta.pop(key, None)
                else:
                    self._meta[key] = value

    def put(self, *records: Record) -> None:
        self.write(put=records)

    def delete(self, *records: Record) -> None:
        self.write(delete=records)

    def note(self, *records: Record) -> bool:
        """Remember what has come true, whether or not it can be written: it is, with the next write that succeeds.

        Returns:
            Whether it is written. Else the next engine has to find it out, should we die before.
        """
        try:
            self.put(*records)
        except Unavailable:
            with self._lock:
                for record in records:
                    self._add(record)
                    self._owed[_key(record)] = record
            return False
        return True

    def expect_writable(self) -> None:
        """Refuse, before anything is taken away, what could not be written down afterwards.

        Raises:
            Unavailable.
        """
        self._probes += 1
        self.write(meta={_PROBE: str(self._probes)})

    def _add(self, record: Record) -> None:
        match record:
            case Network():
                self.networks.add(record)
            case Container():
                self.containers.add(record)
                self._sharers.setdefault(record.sandbox, set()).add(record.id)
            case Volume():
                self._volumes[record.name] = record
            case Endpoint():
                self._endpoints[record.id] = record
                self._of_container.setdefault(record.container_id, {})[record.id] = record
                self._of_network.setdefault(record.network_id, {})[record.id] = record

    def _discard(self, record: Record) -> None:
        match record:
            case Network():
                self.networks.discard(record)
                self._of_network.pop(record.id, None)
            case Container():
                self.containers.discard(record)
                self._of_container.pop(record.id, None)
                sharers = self._sharers.get(record.sandbox, set())
                sharers.discard(record.id)
                if not sharers:
                    self._sharers.pop(record.sandbox, None)
            case Volume():
                self._volumes.pop(record.name, None)
            case Endpoint():
                self._endpoints.pop(record.id, None)
                self._of_container.get(record.container_id, {}).pop(record.id, None)
                self._of_network.get(record.network_id, {}).pop(record.id, None)

    # --- questions ----------------------------------------------------------------------------

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self._endpoints.get(endpoint_id)

    def endpoints(self) -> list[Endpoint]:
        with self._lock:
            return list(self._endpoints.values())

    def endpoints_of(self, container_id: str) -> list[Endpoint]:
        """In the order of their interfaces."""
        with self._lock:
            return list(self._of_container.get(container_id, {}).values())

    def endpoints_on(self, network_id: str) -> list[Endpoint]:
        with self._lock:
            return list(self._of_network.get(network_id, {}).values())

    def count_on(self, network_id: str) -> int:
        with self._lock:
            return len(self._of_network.get(network_id, {}))

    def sharers(self, sandbox: str) -> list[Container]:
        """Every container that uses a sandbox, its owner among them."""
        with self._lock:
            found = [self.containers.get(key) for key in self._sharers.get(sandbox, ())]
        return [container for container in found if container is not None]

    def volume(self, name: str) -> Volume | None:
        return self._volumes.get(name)

    def volumes(self) -> list[Volume]:
        with self._lock:
            return list(self._volumes.values())

    def meta(self, prefix: str) -> dict[str, str]:
        with self._lock:
            return {key: value for key, value in self._meta.items() if key.startswith(prefix)}


def _key(record: Record) -> tuple[type, str]:
    return type(record), key_of(record)
