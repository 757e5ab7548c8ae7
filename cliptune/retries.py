"""Hiccups of networks and disks: what failed for the moment is tried again, with waits that double; what will fail again comes out at once.

The waits are spread, so that many workers do not come back at once (Brooker 2015, "Exponential backoff and jitter", its equal jitter).
"""

import errno
import logging
import random
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST = 30.0  # seconds between two tries
PASSING = {  # what a disk over a network, or a network, says when it is not there for the moment
    *(errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
    *(errno.ECONNABORTED, errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EPIPE),
}
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, ValueError)
CLIENTS = {
    "aiohttp",
    "botocore",
    "fsspec",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "requests",
    "socket",
    "urllib",
    "urllib3",
}
NAMED = {"OfflineModeIsEnabled", "InvalidURL", "UnsupportedProtocol"}  # the clients' own that last, though their bases may pass
STATUSES = {408, 425, 429, 500, 502, 503, 504}  # of HTTP: late, too early, too many, and the server's own trouble


def retried(call: Callable[[], T], what: str, tries: int = 5, first_wait: float = 0.5, sleep: Callable[[float], object] = time.sleep) -> T:
    """Call, and call again after an error that may pass.

    Args:
        call: what is done; nothing of it may be left over when it fails.
        what: it is, for the log: `reading shard-000.tar`.
        tries: in all.
        first_wait: seconds before the second try, at most; each further one may be twice as long.
        sleep: waits.

    Returns:
        What `call` returns.

    Raises:
        Exception: `call`'s own; of the last try, where it may have passed.
    """
    for attempt in range(1, tries):
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            wait = min(first_wait * 2 ** (attempt - 1), LONGEST) * random.uniform(0.5, 1.0)
            log.warning(f"{what} failed ({_short(error)}); try {attempt + 1} of {tries} in {wait:.1f} s")
            sleep(wait)
    return call()


def passes(error: BaseException) -> bool:
    """Whether an error may be gone in a moment: timeouts, lost connections, a busy server, a disk over a network that stumbles."""
    if isinstance(error, LASTING) or type(error).__name__ in NAMED:
        return False
    status = (
        getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    )
    if isinstance(status, int) and status >= 300:
        return status in STATUSES
    if isinstance(error, (TimeoutError, ConnectionError, HTTPException)):
        return True
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return error.errno in PASSING
    return any(kind.__module__.partition(".")[0] in CLIENTS for kind in type(error).__mro__)  # by name: they need not be installed


def _short(error: BaseException) -> str:
    said = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
