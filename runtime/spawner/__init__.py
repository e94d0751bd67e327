"""The process that is the parent of every container: small, single-threaded, and alive whatever becomes of the engine.

It clones containers, keeps their network and user namespaces, writes their output to their logs and
remembers how they ended. It imports the standard library alone, so that a fork of it is cheap.
"""
