"""What image host keeps to itself: a layer above the machine's root that covers its secrets.

Who is root in a container may read what only root may, and the machine's root file system holds more
than tools. The layer covers the passwords and private keys that lie in well-known places: gone is what
is a secret as a whole; of the password files the accounts stay, locked. It costs a start no mount.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from runtime.errors import RuntimeFault

# Below the root.
_SYSTEM = (
    "etc/ssl/private",
    "etc/letsencrypt",
    "etc/wireguard",
    "etc/ipsec.secrets",
    "etc/krb5.keytab",
    "etc/NetworkManager/system-connections",
    "etc/security/opasswd",
    "etc/docker/key.json",
    "var/lib/systemd/credential.secret",
)
_SYSTEM_PATTERNS = (("etc/ssh", "ssh_host_*_key"), ("etc/ppp", "*-secrets"))
# Below each home directory.
_PERSONAL = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker/config.json", ".netrc", ".git-credentials", ".pgpass",
    ".config/gcloud", ".config/gh", ".config/containers/auth.json", ".local/share/keyrings", ".password-store",
)  # fmt: skip
_PASSWORDS = ("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-")


def veil(directory: Path, root: Path = Path("/")) -> Path:
    """The layer for a root as it is now; made below the directory unless it is there already."""
    covered = sorted(_secrets(root))
    passwords = [name for name in _PASSWORDS if (root / name).is_file()]
    made_of = "\n".join((*covered, *(f"{name} {_stamp(root / name)}" for name in passwords)))
    _own(directory)
    layer = directory / hashlib.sha256(made_of.encode()).hexdigest()[:16]
    if not layer.is_dir():
        _make(layer, root, covered, passwords)
    return layer


def _own(directory: Path) -> None:
    """Make it, or make sure that it is ours: it may lie where anybody can make one.

    Raises:
        BadVeil: It is somebody else's.
    """
    with suppress(FileExistsError):
        directory.mkdir(0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise BadVeil(directory)


class BadVeil(RuntimeFault):
    """Somebody has put something where the layer is to be."""

    kind = "conflict"
    hint = "remove it"

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is not a directory of root's alone")


def _secrets(root: Path) -> Iterator[str]:
    base = str(root)
    homes = ["root", *(f"home/{name}" for name in _listed(f"{base}/home"))]
    for name in (*_SYSTEM, *(f"{home}/{name}" for home in homes for name in _PERSONAL)):
        if os.path.lexists(f"{base}/{name}"):
            yield name
    for directory, pattern in _SYSTEM_PATTERNS:
        for name in fnmatch.filter(_listed(f"{base}/{directory}"), pattern):
            yield f"{directory}/{name}"


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_mtime_ns} {status.st_size} {status.st_mode}"


def _make(layer: Path, root: Path, covered: list[str], passwords: list[str]) -> None:
    half = layer.with_name(f"{layer.name}.{os.getpid()}")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for name in covered:
        _make_parents(half, root, Path(name).parent)
        # What overlay takes for "there is no such file". Source: Linux Documentation/filesystems/overlayfs.rst.
        os.mknod(half / name, 0o20000, 0)
    for name in passwords:
        _make_parents(half, root, Path(name).parent)
        (half / name).write_text("".join(map(_locked, (root / name).read_text(errors="replace").splitlines(True))))
        _take_after(half / name, root / name)
    _take_after(half, root)
    try:
        half.rename(layer)
    except OSError:  # another thread was quicker
        shutil.rmtree(half, ignore_errors=True)


def _make_parents(half: Path, root: Path, name: Path) -> None:
    """Directories merge with those below, but it is the topmost whose owner and mode count."""
    if (half / name).is_dir():
        return
    _make_parents(half, root, name.parent)
    (half / name).mkdir()
    _take_after(half / name, root / name)


def _take_after(path: Path, original: Path) -> None:
    status = original.stat()
    os.chown(path, status.st_uid, status.st_gid)
    path.chmod(status.st_mode & 0o7777)


def _locked(line: str) -> str:
    """ "name:hash:..." without the hash: man 5 shadow, man 5 gshadow."""
    name, colon, rest = line.partition(":")
    _, rest_colon, others = rest.partition(":")
    return f"{name}:*:{others}" if colon and rest_colon else line
