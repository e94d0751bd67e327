"""images, pull, push, load, save, import, export, tag, history, rmi."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from netmodel.cli.listing import listing_options, print_list
from netmodel.cli.names import CONTAINER, IMAGE
from netmodel.cli.session import Session, Verb, each, json_option, note, show_json
from netmodel.client import Client, ClientError

_platform = click.option("--platform", default="", help="Of several, the one for: linux/arm64 [this machine's]")
_quiet = click.option("-q", "--quiet", is_flag=True, help="No progress")


@click.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, hidden=True, help="Always so")
@click.option("--digests", is_flag=True, help="The digests that registries know them by, too")
@click.option(
    "-f", "--filter", "filters", multiple=True, help="Only those with NAME=VALUE: dangling, label, reference..."
)
@listing_options
@click.argument("name", default="")
@click.pass_obj
def images(session: Session, /, name: str, every: bool, digests: bool, filters: tuple[str, ...], **o: Any) -> None:
    """List images; a directory or a tar archive is one by its path, too."""
    from netmodel.cli.filters import filters as parsed

    wanted = parsed(filters)
    if name:
        wanted.setdefault("reference", []).append(name)
    found = session.client.get("/images/json", filters=wanted)
    if o["as_json"] or o["template"] == "json":
        show_json(found)
    elif o["quiet"]:
        for one in found:
            print(one["Id"] if o["no_trunc"] else _short(one["Id"]))
    else:
        named = [{**one, "Name": tag} for one in found for tag in one["RepoTags"] or ["<none>"]]
        columns = ("Name", *(("Digest",) if digests else ()), "ID", "CreatedSince", "Size")
        header = ("IMAGE", *(("DIGEST",) if digests else ()), "ID", "CREATED", "SIZE")
        print_list(named, o, header, lambda one, whole: [_fields(one, whole)[name] for name in columns], _fields)


def _fields(one: dict[str, Any], whole: bool) -> dict[str, Any]:
    """What a template sees of an image under one of its names."""
    from netmodel.cli.units import size

    repository, _, tag = one["Name"].rpartition(":")
    known = [digest.partition("@")[2] for digest in one["RepoDigests"] or () if digest.partition("@")[0] == repository]
    return {
        "Name": one["Name"],
        "Repository": repository or "<none>",
        "Tag": tag if repository else "<none>",
        "Digest": known[0] if known else "<none>",
        "ID": one["Id"] if whole else _short(one["Id"]),
        "CreatedSince": _age(one["Created"]),
        "CreatedAt": one["Created"],
        "Size": size(one["Size"]) if one["Size"] else "-",
        "Labels": ",".join(f"{name}={value}" for name, value in (one["Labels"] or {}).items()),
    }


@click.command(cls=Verb)
@_platform
@_quiet
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@click.pass_obj
def pull(session: Session, names: tuple[str, ...], platform: str, quiet: bool) -> int:
    """Fetch images from registries; prints their names.

    Credentials are taken from where login and docker keep them. What was fetched before is not fetched again, nor is
    what an interrupted pull left.
    """

    def act(name: str) -> None:
        fetch(session.client, name, platform, quiet=quiet)
        print(name)

    return each(names, act)


@click.command(cls=Verb)
@_quiet
@click.argument("names", nargs=-1, required=True, type=IMAGE, metavar="IMAGE...")
@click.pass_obj
def push(session: Session, names: tuple[str, ...], quiet: bool) -> int:
    """Give images to the registries in their names; prints the names with their digests."""
    from netmodel.cli.credentials import header_for
    from netmodel.cli.transfer import Transfer

    def act(name: str) -> None:
        transfer = Transfer(quiet)
        transfer.follow(
            session.client.stream("POST", f"/images/{name}/push", headers={"X-Registry-Auth": header_for(name)})
        )
        digest = next((line.partition("digest: ")[2].split(" ")[0] for line in transfer.last if "digest: " in line), "")
        print(f"{name}@{digest}" if digest else name)

    return each(names, act)


@click.command(cls=Verb)
@click.option("-i", "--input", "file", type=click.Path(), help="Archive to read [standard input]")
@_quiet
@click.pass_obj
def load(session: Session, file: str | None, quiet: bool) -> None:
    """Take in the images of an archive that save, docker, podman or skopeo has written; prints their names."""
    from netmodel.cli.transfer import Transfer

    with _source(file or "-") as archive:
        transfer = Transfer(quiet)
        transfer.follow(session.client.stream("POST", "/images/load", archive, quiet=quiet))
    for line in transfer.results:
        print(line.removeprefix("Loaded image: ").removeprefix("Loaded image ID: "))


@click.command(cls=Verb)
@click.option("-o", "--output", "file", type=click.Path(), help="File to write [standard output]")
@click.argument("names", nargs=-1, required=True, type=IMAGE, metavar="IMAGE...")
@click.pass_obj
def save(session: Session, names: tuple[str, ...], file: str | None) -> None:
    """Write images to one archive, which load, Docker, podman and skopeo read."""
    _receive(session.client, "/images/get", file, names=",".join(names))


@click.command(cls=Verb, name="import")
@click.option("-c", "--change", "changes", multiple=True, help="Line of a Dockerfile: 'CMD /bin/sh', 'ENV A=1', ...")
@click.option("-m", "--message", default="", help="Word for its history")
@click.argument("file", type=click.Path(), metavar="FILE|-")
@click.argument("name", default="")
@click.pass_obj
def import_(session: Session, file: str, name: str, changes: tuple[str, ...], message: str) -> None:
    """Make an image of the archive of a root file system; prints its id."""
    from netmodel.cli.transfer import Transfer

    with _source(file) as archive:
        transfer = Transfer(quiet=True)
        transfer.follow(
            session.client.stream(
                "POST",
                "/images/create",
                archive,
                fromSrc="-",
                repo=name,
                message=message or (os.path.abspath(file) if file != "-" else ""),
                changes="\n".join(changes),
            )
        )
    print(transfer.last[-1] if transfer.last else "")


@click.command(cls=Verb)
@click.option("-o", "--output", "file", type=click.Path(), help="File to write [standard output]")
@click.argument("container", type=CONTAINER)
@click.pass_obj
def export(session: Session, container: str, file: str | None) -> None:
    """Write a container's file system to an archive, without what is mounted in it."""
    _receive(session.client, f"/containers/{container}/export", file)


@click.command(cls=Verb)
@click.option("-a", "--author", default="", help="Who has made it")
@click.option("-c", "--change", "changes", multiple=True, help="Line of a Dockerfile: 'CMD /bin/sh', 'ENV A=1', ...")
@click.option("-m", "--message", default="", help="Word for its history")
@click.option("-p/ ", "--pause/--no-pause", default=True, help="Freeze the container meanwhile [it is]")
@click.argument("container", type=CONTAINER)
@click.argument("name", default="")
@click.pass_obj
def commit(session: Session, /, container: str, name: str, changes: tuple[str, ...], pause: bool, **o: str) -> None:
    """Make an image of what a container has written; prints its id."""
    made = session.client.post(
        "/commit",
        container=container,
        repo=name,
        author=o["author"],
        comment=o["message"],
        changes="\n".join(changes),
        pause="1" if pause else "0",
    )
    print(made["Id"])


@click.command(cls=Verb)
@click.argument("image", type=IMAGE)
@click.argument("name")
@click.pass_obj
def tag(session: Session, image: str, name: str) -> None:
    """Give an image a further name."""
    session.client.post(f"/images/{image}/tag", repo=name)


@click.command(cls=Verb)
@json_option
@click.option("--no-trunc", is_flag=True, help="Whole commands")
@click.argument("image", type=IMAGE)
@click.pass_obj
def history(session: Session, image: str, no_trunc: bool, as_json: bool) -> None:
    """Show what was done to make an image, the last step first."""
    from netmodel.cli.table import short, show
    from netmodel.cli.units import size

    found = session.client.get(f"/images/{image}/history")
    if as_json:
        show_json(found)
        return
    width = 10_000 if no_trunc else 60
    show(
        ("CREATED", "SIZE", "BY", "COMMENT"),
        [
            (_age(one["Created"]), size(one["Size"]), short(" ".join(one["CreatedBy"].split()), width), one["Comment"])
            for one in found
        ],
    )


@click.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, help="Take names away even from an image that a stopped container needs")
@click.argument("names", nargs=-1, required=True, type=IMAGE, metavar="IMAGE...")
@click.pass_obj
def rmi(session: Session, names: tuple[str, ...], force: bool) -> int:
    """Take names from images; with its last name an image leaves the disk."""

    def act(name: str) -> None:
        show_removed(session.client.delete(f"/images/{name}", force=force))

    return each(names, act)


def fetch(client: Client, name: str, platform: str = "", *, quiet: bool = False) -> None:
    """Pull an image, with its progress on stderr.

    Raises:
        ApiError: The registry has none, or does not answer.
    """
    from netmodel.cli.credentials import header_for
    from netmodel.cli.transfer import Transfer

    headers = {"X-Registry-Auth": header_for(name)}
    Transfer(quiet).follow(client.stream("POST", "/images/create", headers=headers, fromImage=name, platform=platform))


def show_removed(entries: Iterable[dict[str, str]]) -> None:
    for entry in entries:
        for what, name in entry.items():
            print(f"{what.lower()}: {name}")


@contextmanager
def _source(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        if sys.stdin.isatty():
            raise click.UsageError("an archive is expected on standard input; give one with < FILE or --input")
        yield sys.stdin.buffer
        return
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error
    with open(descriptor, "rb") as opened:
        yield opened


def _receive(client: Client, path: str, file: str | None, **parameters: Any) -> None:
    """Write what the engine sends; a file appears when it is whole."""
    if file is None and sys.stdout.isatty():
        raise click.UsageError("an archive is no text for a terminal; give --output, or redirect standard output")
    with client.open("GET", path, **parameters) as response:
        if file is None:
            for piece in response.body():
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        part = f"{file}.part"
        try:
            with open(part, "wb") as target:
                for piece in response.body():
                    target.write(piece)
            os.replace(part, file)
        except OSError as error:
            raise ClientError(f"{file} cannot be written: {error.strerror}") from error
        finally:
            if os.path.exists(part):
                os.unlink(part)
    note(f"{file}: {os.path.getsize(file) / 1e6:.4g} MB")


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _age(created: int) -> str:
    seconds = max(int(time.time()) - created, 0)
    for unit, length in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit} ago" if created else "-"
    return f"{seconds}s ago"
