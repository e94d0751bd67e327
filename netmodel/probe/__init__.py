"""Packets as proof: expectations and reachability, tested from inside the sandboxes.

Runs in the command line's process, as root; the engine only says who is where. Importing the
functions imports scapy (0.25 s), so import this package when about to send.
"""

from netmodel.probe.check import check
from netmodel.probe.matrix import Matrix, matrix
from netmodel.probe.render import matrix_json, matrix_table, render_table, to_json
from netmodel.probe.result import Outcome, Result, exit_code

__all__ = [
    "Matrix",
    "Outcome",
    "Result",
    "check",
    "exit_code",
    "matrix",
    "matrix_json",
    "matrix_table",
    "render_table",
    "to_json",
]
