from tests.support.daemon import daemon

__all__ = ["daemon"]
