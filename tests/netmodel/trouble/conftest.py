from tests.netmodel.trouble.state import at_ease
from tests.support.daemon import daemon

__all__ = ["at_ease", "daemon"]
