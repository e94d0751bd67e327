"""A disk with a small Debian made of this machine's own packages, this Python and this repository, for guests.

It is one ext4, which can be mounted with other owners as containers' layers must be, and which an emulated
machine reads fast; what a guest writes it keeps elsewhere.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Beside what Debian calls essential; each comes with what it depends on.
PACKAGES = (
    "libnftables1", "libseccomp2", "iproute2", "nftables", "mount", "procps", "kmod", "apparmor", "xz-utils",
    "python3", "nginx-light", "redis-server", "curl", "iputils-ping", "docker-registry", "skopeo",
    "zstd", "openssl", "dnsmasq-base", "busybox-static", "e2fsprogs", "xfsprogs", "btrfs-progs",
)  # fmt: skip
# What the first file system needs; all else the kernel loads by itself, with modprobe.
_BOOT = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_SIZE = "3G"  # sparse
_UNREAD = re.compile(r"^/(usr/share/(doc|man|locale|info|lintian|bug)|boot|var/cache)/")
# Of hardware that a guest has not; of modules, they are most.
_HARDWARE = shutil.ignore_patterns(
    "sound", "gpu", "media", "wireless", "infiniband", "staging", "scsi", "hwmon", "iio", "ethernet"
)
_OURS = ("netmodel", "ipam", "drivers", "runtime")
_NOT_PYTHON = shutil.ignore_patterns("test", "tests", "site-packages", "dist-packages", "idlelib", "config-*")
_NOT_OURS = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "mypy", "ruff", ".debian-kernel")

_FIRST_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
{insert}
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount -t devtmpfs devtmpfs /root/dev
exec /bin/busybox switch_root /root /init
"""


class CannotMake(Exception):
    """Something that belongs on the disk is not on this machine."""


def make(kernel: Path, place: Path, other_modules: Path, init: str) -> tuple[Path, Path]:
    """Make the disk, and the little file system that finds it.

    Args:
        kernel: Where Debian's kernel package was unpacked.
        place: A directory to work in.
        other_modules: Modules of further kernels, a directory for each release.
        init: The first program on the disk.

    Returns:
        The initial file system and the disk.
    """
    modules = next((kernel / "lib/modules").iterdir())
    subprocess.run(["depmod", "-b", str(kernel), modules.name], check=True)
    tree = place / "tree"
    _lay_out(tree)
    _copy(_files_of_packages(), tree)
    _copy_python(tree)
    for directory in (modules, *other_modules.iterdir()):
        shutil.copytree(directory, tree / "usr/lib/modules" / directory.name, ignore=_HARDWARE)
    _write_program(tree / "init", init)
    disk = place / "disk"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk), _SIZE], check=True, capture_output=True)
    shutil.rmtree(tree)
    return _initial(place / "initial", modules), disk


def _lay_out(tree: Path) -> None:
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev", "run", "root", "var/tmp"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)


def _files_of_packages() -> Iterator[str]:
    listed = subprocess.run(["dpkg", "-L", *_closure()], check=True, capture_output=True, text=True).stdout
    yield from (path for path in listed.splitlines() if path.startswith("/") and not _UNREAD.match(f"{path}/"))
    # Made by the packages' scripts, so on no list: users, the names of alternatives, where libraries are.
    yield from (str(path) for path in Path("/etc").rglob("*"))
    for directory in (Path("/usr/bin"), Path("/usr/sbin")):
        links = (path for path in directory.iterdir() if path.is_symlink())
        yield from (str(path) for path in links if path.readlink().parts[:3] == ("/", "etc", "alternatives"))


def _closure() -> set[str]:
    """The packages, the essential ones, and all that these depend on."""
    fields = "${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n"
    listed = subprocess.run(["dpkg-query", "-W", "-f", fields], check=True, capture_output=True, text=True).stdout
    needs: dict[str, str] = {}
    provided: dict[str, str] = {}
    wanted = list(PACKAGES)
    for line in listed.splitlines():
        package, essential, below, provides = line.split("\t")
        needs[package] = below
        provided.update(dict.fromkeys(_names(provides), package))
        if essential == "yes":
            wanted.append(package)
    if missing := [package for package in PACKAGES if package not in needs]:
        raise CannotMake(f"not installed: {' '.join(missing)}; make test-kernels installs what it needs")
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        package = name if name in needs else provided.get(name)
        if package and package not in found:
            found.add(package)
            wanted += _names(needs[package])
    return found


def _names(relations: str) -> list[str]:
    """Of "a (>= 1) | b, c:any": a, b, c."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9.+-]*)", relations)


def _copy_python(tree: Path) -> None:
    """This very interpreter, its environment, the repository, and the libraries that any of it is linked with."""
    base, environment = Path(sys.base_prefix), Path(sys.prefix)
    _compile()
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, tree / library.relative_to("/"), symlinks=True, dirs_exist_ok=True, ignore=_NOT_PYTHON)
    _copy((str(path) for path in (base / "bin").glob("python3*")), tree)
    for directory in (REPOSITORY, environment):
        copy = tree / directory.relative_to("/")
        shutil.copytree(directory, copy, symlinks=True, dirs_exist_ok=True, ignore=_NOT_OURS)
    _copy(_libraries([Path(sys.executable).resolve(), *library.rglob("*.so"), *environment.rglob("*.so")]), tree)


def _compile() -> None:
    """What would take a guest longest; pytest keeps the tests in a form of its own."""
    writing = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for command in (["compileall", "-q", *_OURS], ["pytest", "-qq", "--collect-only", "tests"]):
        subprocess.run([sys.executable, "-m", *command], cwd=REPOSITORY, env=writing, capture_output=True)


def _libraries(binaries: Iterable[Path]) -> Iterator[str]:
    printed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True).stdout
    for path in set(re.findall(r"=> (/\S+)", printed)):
        yield path
        yield str(Path(path).resolve())


def _copy(paths: Iterable[str], tree: Path) -> None:
    for path in map(Path, paths):
        # /bin/sh lies in /usr/bin, here and there.
        source = path.parent.resolve() / path.name
        target = tree / source.relative_to("/")
        if os.path.lexists(target):
            continue
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        elif source.is_dir():
            target.mkdir(parents=True)


def _initial(tree: Path, modules: Path) -> Path:
    for name in ("bin", "dev", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", tree / "bin/busybox")
    insert = []
    for path in _in_order(modules, _BOOT):
        plain = tree / path.name.removesuffix(".xz")
        plain.write_bytes(lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes())
        insert.append(f"/bin/busybox insmod /{plain.name}")
    _write_program(tree / "init", _FIRST_INIT.format(insert="\n".join(insert)))
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
    packed = subprocess.run(
        ["/bin/busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=tree, check=True, capture_output=True
    )
    archive = tree.with_suffix(".cpio")
    archive.write_bytes(packed.stdout)
    return archive


def _in_order(directory: Path, names: Iterable[str]) -> list[Path]:
    """Files of these modules, each once and after all that it needs; those that are built in have none."""
    needs: dict[str, list[str]] = {}
    # "kernel/net/x.ko: kernel/net/y.ko kernel/net/z.ko", each after all that it needs in reverse order.
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, below = line.partition(":")
        needs[_module(path)] = [*reversed(below.split()), path]
    return [directory / path for path in dict.fromkeys(path for name in names for path in needs.get(_module(name), ()))]


def _module(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _write_program(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)
