"""What the engine remembers: one protocol, SQLite behind it."""

from netmodel.store.api import Record, Store
from netmodel.store.sqlite import SqliteStore

__all__ = ["Record", "SqliteStore", "Store"]
