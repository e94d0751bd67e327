"""The store of local scope: one SQLite file, a table a kind of record, each record a JSON document.

WAL with synchronous=NORMAL commits without waiting for the disk. A power cut may lose the latest
commits, but it takes the kernel's half of them with it; the file itself stays whole.

A full disk refuses what is new, and nothing else: to remove something also takes a few pages of
the log first. A reserve beside the file holds them.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from netmodel import codec
from netmodel.errors import WRITABLE_AGAIN, Conflict, NetmodelError, Unavailable
from netmodel.model import Container, Endpoint, Network, Volume
from netmodel.store.api import R, Record, key_of

FORMAT = 1  # of the tables and of what is in them
_RESERVE_BYTES = 256 * 1024  # a removal takes some ten pages of 4 KiB
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

Statement = tuple[str, tuple[object, ...]]

_TABLES: dict[type, str] = {Network: "networks", Endpoint: "endpoints", Container: "containers", Volume: "volumes"}


class SqliteStore:
    """Records in one file; a single connection, for SQLite has a single writer anyway.

    Raises:
        Conflict: The file was written by an engine of another version, or is no database.
        Unavailable: The disk is full, or read-only; whoever writes meets it, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._reserve = os.open(f"{path}.reserve", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._has_reserve = False
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, cached_statements=64)
        try:
            self._open(path)
            self._take_reserve()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise self._named(error) from error
            raise

    def _open(self, path: Path) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise Conflict(
                f"{path} has format {found}, this engine reads format {FORMAT}",
                "use the netmodel version that wrote it, or another --root",
            )
        # Only now: this writes to the file, and another version's stays as it is.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
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
        put = tuple(put)
        statements: list[Statement] = [(_PUT[type(record)], (key_of(record), codec.dumps(record))) for record in put]
        statements += [(_DELETE[type(record)], (key_of(record),)) for record in delete]
        for key, value in (meta or {}).items():
            statements.append((_PUT_META, (key, value)) if value is not None else (_DELETE_META, (key,)))
        if not statements:
            return
        with self._lock:
            try:
                self._run(statements)
            except sqlite3.OperationalError as error:
                if not _is_full(error):
                    raise self._named(error) from error
                if any(self._is_new(record) for record in put):
                    raise self._named(error) from error
                self._run_on_reserve(statements)
            if not self._has_reserve:
                self._take_reserve()

    def _run(self, statements: Sequence[Statement]) -> None:
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

    # --- a full disk ----------------------------------------------------------------------------

    def _run_on_reserve(self, statements: Sequence[Statement]) -> None:
        os.ftruncate(self._reserve, 0)
        self._has_reserve = False
        try:
            # Makes the log small again, most often by more than the statements need.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._run(statements)
        except sqlite3.OperationalError as error:
            raise self._named(error) from error

    def _take_reserve(self) -> None:
        with suppress(OSError):  # the next write tries again
            os.posix_fallocate(self._reserve, 0, _RESERVE_BYTES)
            self._has_reserve = True

    def _is_new(self, record: Record) -> bool:
        table = _TABLES[type(record)]
        return not self._db.execute(f"SELECT 1 FROM {table} WHERE id = ?", (key_of(record),)).fetchone()  # noqa: S608

    def _named(self, error: sqlite3.DatabaseError) -> NetmodelError:
        if _is_full(error):
            return Unavailable(
                f"the disk is full: cannot write {self._path}", f"make room on the file system of {self._path.parent}"
            )
        if error.sqlite_errorcode & 0xFF in _UNWRITABLE and (reason := self._why_unwritable()):
            what = "the file system is read-only" if reason == errno.EROFS else "the disk fails"
            return Unavailable(f"{what}: cannot write {self._path}", WRITABLE_AGAIN)
        if error.sqlite_errorcode in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return Conflict(f"{self._path} is damaged: {error}", "put a copy back, or choose another --root")
        return NetmodelError(f"cannot use {self._path}: {error}")

    def _why_unwritable(self) -> int:
        """What the kernel says to a write on this file system; 0 if it takes it. SQLite only says that it failed."""
        try:
            os.pwrite(self._reserve, b"\0", 0)
        except OSError as error:
            return error.errno or 0
        return 0

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
            if self._reserve >= 0:
                os.close(self._reserve)
                self._reserve = -1


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL) & 0xFF == sqlite3.SQLITE_FULL


# An update in place keeps the row's place in the order.
_PUT = {
    kind: f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET json = excluded.json"  # noqa: S608
    for kind, table in _TABLES.items()
}
_DELETE = {kind: f"DELETE FROM {table} WHERE id = ?" for kind, table in _TABLES.items()}  # noqa: S608
_PUT_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE_META = "DELETE FROM meta WHERE key = ?"
