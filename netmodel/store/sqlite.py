"""The store of local scope: one SQLite file, a table a kind of record, each record a JSON document.

WAL with synchronous=NORMAL commits without waiting for the disk. A power cut may lose the latest
commits, but it takes the kernel's half of them with it; the file itself stays whole.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from netmodel import codec
from netmodel.errors import Conflict
from netmodel.model import Container, Endpoint, Network, Volume
from netmodel.store.api import R, Record, key_of

FORMAT = 1  # of the tables and of what is in them

_TABLES: dict[type, str] = {Network: "networks", Endpoint: "endpoints", Container: "containers", Volume: "volumes"}


class SqliteStore:
    """Records in one file; a single connection, for SQLite has a single writer anyway.

    Raises:
        Conflict: The file was written by an engine of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=64)
        try:
            self._open(path)
        except BaseException:
            self._db.close()
            raise

    def _open(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise Conflict(
                f"{path} has format {found}, this engine reads format {FORMAT}",
                "use the netmodel version that wrote it, or another --root",
            )
        if found == FORMAT:
            return
        # Half a schema would pass for a whole one: the version is set in the same commit.
        self._db.execute("BEGIN IMMEDIATE")
        for table in _TABLES.values():
            self._db.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, json BLOB NOT NULL)")
        self._db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._db.execute(f"PRAGMA user_version={FORMAT}")
        self._db.execute("COMMIT")

    def write(
        self, put: Iterable[Record] = (), delete: Iterable[Record] = (), meta: Mapping[str, str | None] | None = None
    ) -> None:
        # Encoded before the lock: other threads can commit meanwhile.
        statements: list[tuple[str, tuple[object, ...]]] = [
            (_PUT[type(record)], (key_of(record), codec.dumps(record))) for record in put
        ]
        statements += [(_DELETE[type(record)], (key_of(record),)) for record in delete]
        for key, value in (meta or {}).items():
            statements.append((_PUT_META, (key, value)) if value is not None else (_DELETE_META, (key,)))
        if not statements:
            return
        with self._lock:
            if len(statements) == 1:
                self._db.execute(*statements[0])
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk has ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def list(self, kind: type[R]) -> list[R]:
        with self._lock:
            rows = self._db.execute(f"SELECT json FROM {_TABLES[kind]} ORDER BY rowid").fetchall()  # noqa: S608
        return [codec.loads(kind, json) for (json,) in rows]

    def get(self, kind: type[R], key: str) -> R | None:
        with self._lock:
            row = self._db.execute(f"SELECT json FROM {_TABLES[kind]} WHERE id = ?", (key,)).fetchone()  # noqa: S608
        return None if row is None else codec.loads(kind, row[0])

    def meta(self, prefix: str = "") -> dict[str, str]:
        with self._lock:
            rows = self._db.execute(
                "SELECT key, value FROM meta WHERE substr(key, 1, ?) = ? ORDER BY key", (len(prefix), prefix)
            ).fetchall()
        return dict(rows)

    def close(self) -> None:
        with self._lock:
            self._db.close()


# An update in place keeps the row's place in the order.
_PUT = {
    kind: f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET json = excluded.json"  # noqa: S608
    for kind, table in _TABLES.items()
}
_DELETE = {kind: f"DELETE FROM {table} WHERE id = ?" for kind, table in _TABLES.items()}  # noqa: S608
_PUT_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE_META = "DELETE FROM meta WHERE key = ?"
