"""The default seccomp profile: which system calls a container may make (seccomp(2)).

An allow list, as container engines agree on it; the rest answers EPERM. What only makes sense with a
capability is there with that capability.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_PROFILE_SIZE: Final = 4 * 1024 * 1024  # bytes
_ALLOW: Final = "SCMP_ACT_ALLOW"
_ERRNO: Final = "SCMP_ACT_ERRNO"
_ENOSYS: Final = 38
# Architecture of an image -> those whose calls its kernel takes, its own first.
_ARCHITECTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "amd64": ("X86_64", "X86", "X32"),
    "386": ("X86",),
    "arm64": ("AARCH64", "ARM"),
    "arm": ("ARM",),
    "mips64": ("MIPS64", "MIPS", "MIPS64N32"),
    "mips64le": ("MIPSEL64", "MIPSEL", "MIPSEL64N32"),
    "mips": ("MIPS",),
    "mipsle": ("MIPSEL",),
    "ppc64le": ("PPC64LE",),
    "ppc64": ("PPC64", "PPC"),
    "riscv64": ("RISCV64",),
    "s390x": ("S390X", "S390"),
    "s390": ("S390",),
    "loong64": ("LOONGARCH64",),
}
_FILES: Final = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown
    fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat
    fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
    getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32
    lgetxattr link linkat listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat
    lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64
    preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv removexattr
    removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64
    statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink
    unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev landlock_add_rule
    landlock_create_ruleset landlock_restrict_self
"""
_MEMORY: Final = """
    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect remap_file_pages
"""
_PROCESSES: Final = """
    arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32
    getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 get_robust_list get_thread_area
    ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease
    process_vm_readv process_vm_writev ptrace restart_syscall rseq sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setrlimit setsid setuid setuid32 set_robust_list set_thread_area set_tid_address sysinfo tgkill tkill
    ugetrlimit uname vfork wait4 waitid waitpid getrandom
"""
_SIGNALS_AND_TIME: Final = """
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 sigprocmask sigreturn
    time timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 times
"""
_WAITING_AND_TALKING: Final = """
    accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv
    futex_wake getpeername getsockname getsockopt io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit ipc listen mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd _newselect
    poll ppoll ppoll_time64 pselect6 pselect6_time64 recv recvfrom recvmmsg recvmmsg_time64 recvmsg select
    semctl semget semop semtimedop semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl
    shmdt shmget shutdown socketcall socketpair
"""
# Only an architecture of that name has these; others know no such call.
_OF_ARCHITECTURE: Final[Mapping[str, str]] = {
    "amd64": "modify_ldt",
    "386": "modify_ldt",
    "arm": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "arm64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "sync_file_range2 swapcontext",
    "ppc64": "sync_file_range2 swapcontext",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}
_OF_CAPABILITY: Final[Mapping[str, str]] = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
        move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
        umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module query_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}
# personality(2): Linux, 32 bits, uname26, both, and the question what it is.
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# linux/sched.h: CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID and _NEWNET.
NAMESPACE_FLAGS: Final = 0x7E020000
_AF_VSOCK: Final = 40  # talks to the machine outside, past every namespace


def default_profile(architecture: str, capabilities: Collection[str]) -> dict[str, object]:
    """``linux.seccomp`` of a runtime's config.

    Args:
        architecture: Of the image, as ``Platform`` has it; one that is not known brings no list, and
            then the runtime takes the machine's.
        capabilities: What the container is bounded by.
    """
    names = {*_FILES.split(), *_MEMORY.split(), *_PROCESSES.split()}
    names |= {*_SIGNALS_AND_TIME.split(), *_WAITING_AND_TALKING.split()}
    names |= set(_OF_ARCHITECTURE.get(architecture, "").split())
    for capability in capabilities:
        names |= set(_OF_CAPABILITY.get(capability, "").split())
    calls = [_rule(sorted(names))]
    calls += [_rule(["personality"], _argument(0, value)) for value in _PERSONALITIES]
    calls.append(_rule(["socket"], _argument(0, _AF_VSOCK, "NE")))
    if "CAP_SYS_ADMIN" not in capabilities:
        # The kernel of s390 takes the flags second (clone(2)).
        at = 1 if architecture in ("s390", "s390x") else 0
        flags = {"index": at, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        calls.append(_rule(["clone"], flags))
        # Its flags are in memory, out of a filter's sight; C libraries fall back to clone on ENOSYS.
        calls.append({"names": ["clone3"], "action": _ERRNO, "errnoRet": _ENOSYS})
    profile: dict[str, object] = {"defaultAction": _ERRNO}
    if architecture in _ARCHITECTURES:
        profile["architectures"] = [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES[architecture]]
    profile["syscalls"] = calls
    return profile


def parse_profile(data: bytes, *, subject: str) -> dict[str, object]:
    """A profile in the form of the runtime specification; ``validate`` looks at what it says.

    Raises:
        InvalidArgument: Not JSON, or in the form of docker's and podman's profiles, which is another one.
    """
    try:
        profile = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{subject}: not JSON") from error
    if not isinstance(profile, dict):
        raise InvalidArgument(f"{subject}: not a JSON object")
    calls = profile.get("syscalls")
    conditions = ("includes", "excludes")
    if "archMap" in profile or (
        isinstance(calls, list)
        and any(isinstance(call, dict) and any(call.get(key) for key in conditions) for call in calls)
    ):
        raise InvalidArgument(
            f"{subject}: a profile with conditions (archMap, includes, excludes), as docker has them;"
            " want linux.seccomp as the runtime specification has it"
        )
    return profile


def _rule(names: list[str], *arguments: dict[str, object]) -> dict[str, object]:
    rule: dict[str, object] = {"names": names, "action": _ALLOW}
    if arguments:
        rule["args"] = list(arguments)
    return rule


def _argument(index: int, value: int, operator: str = "EQ") -> dict[str, object]:
    return {"index": index, "value": value, "op": f"SCMP_CMP_{operator}"}
