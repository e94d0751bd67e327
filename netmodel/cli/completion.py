"""completion."""

from __future__ import annotations

import click

from netmodel.cli.session import Local


@click.command(cls=Local)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands in your shell.

    bash: netmodel completion bash > /etc/bash_completion.d/netmodel
    """
    from click.shell_completion import get_completion_class

    from netmodel.cli.app import netmodel

    found = get_completion_class(shell)
    assert found is not None
    print(found(netmodel, {}, "netmodel", "_NETMODEL_COMPLETE").source())
