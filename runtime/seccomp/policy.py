"""What a container may ask of the kernel if nobody says otherwise: Docker's default policy, in effect.

An allow list; everything else fails with EPERM. Not on it, among others: keyctl and add_key (the keyring
has no namespace of its own), io_uring (its requests pass by this filter), userfaultfd (makes races in the
kernel winnable), kexec_load, swapon, nfsservctl, move_pages.

Source: github.com/moby/profiles seccomp/default.json.
"""

from __future__ import annotations

from runtime.seccomp.profile import Argument, Profile, Rule

_FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
    fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listmount listxattr
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile
    sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
    vmsplice write writev
"""
_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list io_cancel
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select set_robust_list signalfd signalfd4
"""
_MEMORY = """
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
    mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
_PROCESSES = """
    alarm capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32 getgid
    getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid
    getresuid32 getrlimit getrusage getsid get_thread_area gettid getuid getuid32 ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open pidfd_send_signal prctl
    prlimit64 process_mrelease restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
    sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setrlimit setsid set_thread_area set_tid_address setuid setuid32 sigaltstack sigprocmask sigreturn
    tgkill tkill ugetrlimit uretprobe vfork wait4 waitid waitpid process_vm_readv process_vm_writev ptrace
"""
_TALKING = """
    accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
    recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg
    sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair
"""
# adjtimex and its kin read the clock's state; setting it takes CAP_SYS_TIME of the machine's own user namespace.
_TIME_AND_FACTS = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep riscv_hwprobe setitimer
    sysinfo time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times uname
"""
_ALWAYS = " ".join((_FILES, _WAITING, _MEMORY, _PROCESSES, _TALKING, _TIME_AND_FACTS))

# By the name that Docker has for the processor.
_BY_PROCESSOR = {
    ("ppc64le",): "sync_file_range2 swapcontext",
    ("arm", "arm64"): "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ("amd64", "x32"): "arch_prctl",
    ("amd64", "x32", "x86"): "modify_ldt",
    ("s390", "s390x"): "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ("riscv64",): "riscv_flush_icache",
}

_WITH_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# Address families are numbered from 0 to 45. Not allowed: those nobody has used for decades, whose code is
# where the kernel's holes were found; AF_ALG (38), the same; and AF_VSOCK (40), which speaks to the
# hypervisor and knows no network namespaces.
_FAMILIES_BELOW = 12
_FAMILIES = (13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45)

# personality(2): query, and Linux with or without UNAME26 and 32 bits. ADDR_NO_RANDOMIZE is what an attacker wants.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# clone(2) with any of CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
_NEW_NAMESPACES = 0x7E020000
_ENOSYS = 38
_S390 = ("s390", "s390x")


def default_policy() -> Profile:
    """The policy as a profile."""
    admin = ("CAP_SYS_ADMIN",)
    return Profile(
        default_action="SCMP_ACT_ERRNO",
        default_errno=1,
        architectures={
            "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
            "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
            "SCMP_ARCH_S390X": ("SCMP_ARCH_S390",),
            "SCMP_ARCH_RISCV64": (),
        },
        rules=(
            _allow(_ALWAYS),
            *(_allow("socket", Argument(0, family, "SCMP_CMP_EQ")) for family in _FAMILIES),
            _allow("socket", Argument(0, _FAMILIES_BELOW, "SCMP_CMP_LT")),
            *(_allow("personality", Argument(0, value, "SCMP_CMP_EQ")) for value in _PERSONALITIES),
            *(_allow(names, with_processors=processors) for processors, names in _BY_PROCESSOR.items()),
            *(_allow(names, with_capabilities=(capability,)) for capability, names in _WITH_CAPABILITY.items()),
            _allow(
                "clone",
                Argument(0, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ"),
                without_capabilities=admin,
                without_processors=_S390,
            ),
            _allow(
                "clone",
                Argument(1, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ"),  # its arguments are the other way round there
                without_capabilities=admin,
                with_processors=_S390,
            ),
            # Its flags are in memory, where a filter cannot look. A libc that hears ENOSYS goes on with clone.
            Rule(names=("clone3",), action="SCMP_ACT_ERRNO", errno=_ENOSYS, without_capabilities=admin),
        ),
    )


def _allow(
    names: str,
    *arguments: Argument,
    with_capabilities: tuple[str, ...] = (),
    without_capabilities: tuple[str, ...] = (),
    with_processors: tuple[str, ...] = (),
    without_processors: tuple[str, ...] = (),
) -> Rule:
    return Rule(
        names=tuple(names.split()),
        action="SCMP_ACT_ALLOW",
        arguments=arguments,
        with_capabilities=with_capabilities,
        without_capabilities=without_capabilities,
        with_processors=with_processors,
        without_processors=without_processors,
    )
