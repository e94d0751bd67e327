"""The child's half of a launch: what a process does to itself between its clone and its program.

It runs in a fork of the spawner whose root directory changes under it, so nothing here may be
imported late: the interpreter's own files are out of reach by then.
"""
