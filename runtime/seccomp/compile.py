"""From a policy to the kernel's own program (classic BPF), by way of libseccomp.

The only door to libseccomp's binding. Loaded when the first filter is made, and never by the spawner.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from typing import Any

from runtime.seccomp.compact import compact
from runtime.seccomp.errors import BadProfile, SeccompUnavailable
from runtime.seccomp.profile import Argument, Profile, Rule, native_kernel

# Docker's names of processors (Go's, mostly) and libseccomp's for what uname calls the machine.
_PROCESSORS = {
    "x86_64": ("amd64", "X86_64"),
    "aarch64": ("arm64", "AARCH64"),
    "riscv64": ("riscv64", "RISCV64"),
    "s390x": ("s390x", "S390X"),
    "ppc64le": ("ppc64le", "PPC64LE"),
}

# Calls that an older libseccomp has no names for; from 424 on numbers are the same on all processors.
# Source: Linux scripts/syscall.tbl.
_NEW_CALLS = {
    "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
    "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip

_OPTIMIZE, _BY_TREE = 8, 2  # SCMP_FLTATR_CTL_OPTIMIZE: a binary tree instead of a list of all calls
_BAD_ARCH_ACTION = 2  # SCMP_FLTATR_ACT_BADARCH
_EPERM, _ENOSYS = 1, 38

_STEP = struct.Struct("=HBBI")  # opcode, jump if true, jump if false, value
_LOAD_WORD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_FROM, _ANSWER = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # struct seccomp_data
_ERRNO = 0x00050000
_X32 = 0x40000000


def compile_filter(profile: Profile, capabilities: Collection[str]) -> bytes:
    """The program for a container with these capabilities: 8 bytes an instruction.

    Names that this libseccomp does not know are passed over, as Docker does.

    Raises:
        BadProfile: libseccomp does not take the rules.
        SeccompUnavailable: There is no libseccomp, or it does not know this machine.
    """
    binding = _binding()
    machine = os.uname().machine
    if machine not in _PROCESSORS:
        raise SeccompUnavailable(f"netmodel does not know the processor {machine}")
    processor, native = _PROCESSORS[machine]
    kernel = native_kernel()
    default = _action(binding, profile.default_action, profile.default_errno)
    rules = [rule for rule in profile.rules if rule.counts(capabilities, processor, kernel)]
    try:
        made = binding.SyscallFilter(default)
        made.set_attr(_OPTIMIZE, _BY_TREE)
        made.set_attr(_BAD_ARCH_ACTION, default)
        # Numbers alone, before other architectures join: libseccomp could not translate these for them.
        highest = max((_add(binding, made, rule, default, only_new=True) for rule in rules), default=0)
        for name in profile.architectures.get(f"SCMP_ARCH_{native}", ()):
            architecture = getattr(binding.Arch, name.removeprefix("SCMP_ARCH_"), None)
            if architecture is not None:
                made.add_arch(architecture)
        highest = max((highest, *(_add(binding, made, rule, default, only_new=False) for rule in rules)))
        program = _export(made)
    except OSError as error:
        raise BadProfile("", f"libseccomp does not take it: {error.strerror or error}") from None
    if profile.default_action == "SCMP_ACT_ERRNO" and highest:
        program = _unknown_is_enosys(binding.system_arch(), highest) + program
    return compact(program)


def _binding() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:  # the latter: the module is there, the library is not
        raise SeccompUnavailable(str(error)) from None
    return pyseccomp


def _add(binding: Any, made: Any, rule: Rule, default: int, *, only_new: bool) -> int:
    """Add a rule for those of its calls that libseccomp knows, or those it does not; the highest number of them."""
    action = _action(binding, rule.action, rule.errno)
    highest = 0
    for name in rule.names:
        number = binding.resolve_syscall(binding.Arch.NATIVE, name)
        is_new = number < 0 and name in _NEW_CALLS
        if is_new:
            number = _NEW_CALLS[name]
        elif number == -1:
            continue
        highest = max(highest, number)
        # A rule that says what happens anyway is one that libseccomp refuses.
        if is_new is only_new and action != default:
            for arguments in _alternatives(rule.arguments):
                made.add_rule(action, number, *(_condition(binding, argument) for argument in arguments))
    return highest


def _alternatives(arguments: tuple[Argument, ...]) -> list[tuple[Argument, ...]]:
    """Several conditions on one argument are alternatives, each a rule of its own; libseccomp takes one each.

    Source: runc libcontainer/seccomp/seccomp_linux.go, matchCall().
    """
    if len({argument.index for argument in arguments}) == len(arguments):
        return [arguments]
    return [(argument,) for argument in arguments]


def _condition(binding: Any, argument: Argument) -> Any:
    operator = getattr(binding, argument.operator.removeprefix("SCMP_CMP_"))
    return binding.Arg(argument.index, operator, argument.value, argument.second)


def _action(binding: Any, action: str, errno: int | None) -> int:
    name = action.removeprefix("SCMP_ACT_")
    if name in ("ERRNO", "TRACE"):
        value: int = getattr(binding, name)(_EPERM if errno is None else errno)
        return value
    plain: int = getattr(binding, name)
    return plain


def _export(made: Any) -> bytes:
    # In memory: the disk may be full, and the program is put there whole or not at all by the caller.
    with open(os.memfd_create("netmodel-seccomp", os.MFD_CLOEXEC), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _unknown_is_enosys(architecture: int, highest: int) -> bytes:
    """Instructions in front: a call newer than any that the policy speaks of does not exist.

    With EPERM, a libc that tries a new call first would not go on to the old one.
    Source: runc libcontainer/seccomp/patchbpf.
    """
    x32_is_another = 1
    return b"".join(
        (
            _STEP.pack(_LOAD_WORD, 0, 0, _ARCHITECTURE_AT),
            _STEP.pack(_JUMP_EQUAL, 0, 3 + x32_is_another, architecture),
            _STEP.pack(_LOAD_WORD, 0, 0, _NUMBER_AT),
            _STEP.pack(_JUMP_FROM, 2, 0, _X32),
            _STEP.pack(_JUMP_ABOVE, 0, 1, highest),
            _STEP.pack(_ANSWER, 0, 0, _ERRNO | _ENOSYS),
        )
    )
