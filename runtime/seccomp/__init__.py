"""Which system calls a container may make: policies, and the kernel's programs made of them.

The engine compiles; the spawner and what it forks only load the result (runtime.kernel.seccomp).
"""

from runtime.seccomp.errors import BadProfile, SeccompUnavailable
from runtime.seccomp.filters import Filters
from runtime.seccomp.profile import DEFAULT, UNCONFINED, Profile, profile_of

__all__ = ["DEFAULT", "UNCONFINED", "BadProfile", "Filters", "Profile", "SeccompUnavailable", "profile_of"]
