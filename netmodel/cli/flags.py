"""Flags with a value, as Docker's hands write them: --ipv4=false, --rm=true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

# Source: Go's strconv.ParseBool.
_VALUES = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


def without_values(ctx: click.Context, parameters: Sequence[click.Parameter], args: list[str]) -> list[str]:
    """The same arguments, with every --FLAG=true and --FLAG=false written as click knows it.

    Raises:
        click.BadParameter: What a flag is given is neither.
    """
    if not any(arg.startswith("--") and "=" in arg for arg in args):
        return args
    options = {name: one for one in parameters if isinstance(one, click.Option) for name in one.opts}
    return list(_written(ctx, options, args))


def _written(ctx: click.Context, options: Mapping[str, click.Option], args: Sequence[str]) -> Iterator[str]:
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        option = options.get(name)
        if arg == "--" or (not arg.startswith("-") and not ctx.allow_interspersed_args):
            yield arg
            break
        if equals and option is not None and option.is_flag:
            yield from _plain(ctx, option, name, value)
            continue
        yield arg
        if _takes_the_next(options, arg):
            yield from (following for following in [next(rest, None)] if following is not None)
    yield from rest


def _plain(ctx: click.Context, option: click.Option, name: str, value: str) -> Iterator[str]:
    if value not in _VALUES:
        raise click.BadParameter(f"{value!r} is neither true nor false", ctx, option)
    if _VALUES[value]:
        yield name
    elif option.secondary_opts:  # else it is false where nobody says anything
        yield next(opt for opt in option.secondary_opts if opt.startswith("--"))


def _takes_the_next(options: Mapping[str, click.Option], arg: str) -> bool:
    """Whether what comes after is this option's value: --name x, -e x, -ite x; not --name=x, -ex."""
    if arg.startswith("--"):
        return arg in options and not _stands_alone(options[arg])
    for place, letter in enumerate(arg[1:], 1):
        option = options.get(f"-{letter}")
        if option is None or not _stands_alone(option):
            return option is not None and place == len(arg) - 1
    return False


def _stands_alone(option: click.Option) -> bool:
    return option.is_flag or option.count
