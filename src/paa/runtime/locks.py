"""Locking an open file against other processes, where the system and the file system can."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}


def try_lock(file: int) -> bool | None:
    """Lock an open file and return whether that succeeded; None if the file system cannot lock files.

    file: its descriptor. The lock is released when the file is closed, and at the end of the process.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # some network file systems give the second
        return False
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return None
        raise
    return True
