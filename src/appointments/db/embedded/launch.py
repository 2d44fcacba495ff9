"""Become another program that never outlives its parent, as another user if asked. Linux only.

This is a program of its own, run by its path, because the caller may have threads, and Python code between fork and
exec can deadlock then. It needs only the standard library. The order matters: a change of user clears PR_SET_PDEATHSIG,
and the parent may have died before that was set.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(parent: int, death: int, uid: int, gid: int, *, command: list[str]) -> None:
    """Replace this process by ``command``; a ``uid`` of -1 keeps the user.

    The signal ``death`` arrives when the thread ends that started this process, or its whole process.
    """
    if death != signal.SIGKILL:
        signal.signal(death, signal.SIG_DFL)
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606 - the program that our caller named, and no shell


if __name__ == "__main__":
    try:
        become(*(int(number) for number in sys.argv[1:5]), command=sys.argv[5:])
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[5]} as user {sys.argv[3]}: {error}")
