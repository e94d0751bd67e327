"""Talking to the engine: a small synchronous client that starts the engine when none answers.

Imports are kept few on purpose: every cold `netmodel` command pays for them.
"""

from netmodel.client.api import Client
from netmodel.client.errors import ApiError, ClientError, EngineUnavailable, NotRoot

__all__ = ["ApiError", "Client", "ClientError", "EngineUnavailable", "NotRoot"]
