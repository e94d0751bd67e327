"""cp: files between containers and here."""

from __future__ import annotations

import base64
import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb
from netmodel.client import ApiError, Client

_GO_DIRECTORY, _GO_LINK = 1 << 31, 1 << 27


class Place(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """CONTAINER:PATH, a path here, or "-"."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from click.shell_completion import CompletionItem

        if incomplete.startswith((".", "/", "-")):
            return [CompletionItem(incomplete, type="file")]
        names = [
            CompletionItem(f"{one.value}:", help=one.help) for one in CONTAINER.shell_complete(ctx, param, incomplete)
        ]
        return [*names, CompletionItem(incomplete, type="file")]


@click.command(cls=Verb)
@click.option("-a", "--archive", is_flag=True, help="Keep owners")
@click.option("-L", "--follow-link", is_flag=True, help="Follow a symbolic link at the end of SOURCE")
@click.option("-q", "--quiet", is_flag=True, hidden=True, help="Nothing is said anyway")
@click.argument("source", type=Place())
@click.argument("target", type=Place())
@click.pass_obj
def cp(session: Session, source: str, target: str, archive: bool, follow_link: bool, quiet: bool) -> None:
    """Copy files between a container, running or not, and here: CONTAINER:PATH and a path, in either order.

    A "-" is a tar stream on stdin or stdout. "DIRECTORY/." is what is in a directory.
    """
    from_container, there = _split(source)
    to_container, here = _split(target)
    if bool(from_container) == bool(to_container):
        raise click.UsageError("one of the two must be CONTAINER:PATH, and one a path here")
    if from_container:
        _copy_out(session.client, from_container, there, here, archive, follow_link)
    else:
        _copy_in(session.client, there, to_container, here, archive, follow_link)


def _split(text: str) -> tuple[str, str]:
    """The container, or "", and the path; what begins as a path is none of a container."""
    container, colon, path = text.partition(":")
    if not colon or not container or container.startswith((".", "/")):
        return "", text
    if not path:
        raise click.UsageError(f"{text} names no path: {container}:/ is the whole root")
    return container, path


def _look(client: Client, container: str, path: str) -> dict[str, Any] | None:
    """What there is at a path of a container."""
    try:
        with client.open("HEAD", f"/containers/{container}/archive", path_=path) as response:
            found: dict[str, Any] = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
            return found
    except ApiError as error:
        if error.status != 404:
            raise
        client.get(f"/containers/{container}/json")  # it may be the container that is not there
        return None


# --- out ----------------------------------------------------------------------------------------


def _copy_out(client: Client, container: str, path: str, target: str, archive: bool, follow: bool) -> None:
    found = _look(client, container, path)
    if found is None:
        raise click.ClickException(f"{path} is not in container {container}")
    if follow and found["mode"] & _GO_LINK:
        path = found["linkTarget"]
        found = _look(client, container, path) or found
    if target != "-" and found["mode"] & _GO_DIRECTORY and os.path.lexists(target) and not os.path.isdir(target):
        raise click.ClickException(f"{target} is a file here, and {path} a directory of container {container}")
    with client.open("GET", f"/containers/{container}/archive", path_=path) as response:
        if target == "-":
            for piece in response.body():
                sys.stdout.buffer.write(piece)
            return
        _unpack(response.body(), path, target, archive)


def _unpack(pieces: Iterator[bytes], path: str, target: str, keep_owners: bool) -> None:
    content_only = path.endswith("/.")
    into, name = (target, None) if os.path.isdir(target) else (os.path.dirname(target) or ".", os.path.basename(target))
    if not os.path.isdir(into):
        raise click.ClickException(f"{into} is not a directory here")
    if name is not None and not name:
        raise click.ClickException(f"{target} is not a directory here")
    timed = []
    with tarfile.open(fileobj=cast("IO[bytes]", _Reader(pieces)), mode="r|") as tar:
        for member in tar:
            _, slash, rest = member.name.partition("/")
            if name is not None:
                member.name = name + slash + rest if not content_only else os.path.join(name, rest)
                if member.islnk():
                    member.linkname = name + "/" + member.linkname.partition("/")[2]
            if not keep_owners:
                member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
            # What a container wrote must not lead anywhere but below the target.
            try:
                tar.extract(member, into, numeric_owner=True, filter="tar")
            except (OSError, tarfile.FilterError) as error:
                words = error.strerror if isinstance(error, OSError) else error
                raise click.ClickException(f"{os.path.join(into, member.name)}: {words}") from error
            if member.isdir() or member.issym():
                timed.append(member)
    for member in reversed(timed):  # what was put into a directory has changed its
        with suppress(OSError):
            os.utime(os.path.join(into, member.name), (member.mtime, member.mtime), follow_symlinks=False)


class _Reader:
    """Pieces as a file that can only be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


# --- in -----------------------------------------------------------------------------------------


def _copy_in(client: Client, source: str, container: str, path: str, archive: bool, follow: bool) -> None:
    found = _look(client, container, path)
    if found is not None and found["mode"] & _GO_LINK:
        path = found["linkTarget"]
        found = _look(client, container, path)
    is_directory = found is not None and bool(found["mode"] & _GO_DIRECTORY)
    if source == "-":
        if not is_directory:
            raise click.ClickException(f"{path} is not a directory of container {container}")
        _put(client, container, path, archive, sys.stdin.buffer)
        return
    source = os.path.realpath(source) + ("/." if source.endswith("/.") else "") if follow else source
    if not os.path.lexists(source):
        raise click.ClickException(f"{source} is not here")
    whole = os.path.isdir(source) and not os.path.islink(source)
    if found is not None and not is_directory and whole:
        raise click.ClickException(f"{path} is a file in container {container}, and {source} a directory")
    if is_directory:
        into, name = path, "." if source.endswith("/.") else os.path.basename(os.path.abspath(source))
    elif path.endswith("/") and not whole:
        raise click.ClickException(f"{path} is not a directory of container {container}")
    else:
        into, name = os.path.dirname(path.rstrip("/")) or "/", os.path.basename(path.rstrip("/"))

    def pack(tar: tarfile.TarFile) -> None:
        tar.add(source, name)

    with _packed(pack) as stream:
        _put(client, container, into, archive, stream)


def _put(client: Client, container: str, path: str, archive: bool, stream: IO[bytes]) -> None:
    with client.open(
        "PUT",
        f"/containers/{container}/archive",
        stream,
        path_=path,
        noOverwriteDirNonDir=True,
        copyUIDGID=archive,
    ) as response:
        response.read()


@contextmanager
def _packed(pack: Callable[[tarfile.TarFile], None]) -> Iterator[IO[bytes]]:
    """A tar stream that is made while it is read."""
    read, write = os.pipe2(os.O_CLOEXEC)
    failures: list[OSError] = []

    def body() -> None:
        try:
            with (
                os.fdopen(write, "wb") as sink,
                tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                pack(tar)
        except BrokenPipeError:
            pass  # the engine has had enough, and says why
        except OSError as error:
            failures.append(error)

    worker = threading.Thread(target=body)
    worker.start()
    try:
        with os.fdopen(read, "rb") as stream:
            yield stream
    finally:
        worker.join()
    if failures:
        raise click.ClickException(f"{failures[0].filename}: {failures[0].strerror}")
