"""Pools and addresses: pure arithmetic, no I/O, no store."""
