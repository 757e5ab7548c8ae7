"""What is tried again, how often and after which waits; and what comes out at once."""

import errno
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cliptune.retries import retried


class Calls:
    """Fails with the errors in turn, then gives 7; and notes the waits."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors, self.made, self.waits = list(errors), 0, list[float]()

    def __call__(self) -> int:
        self.made += 1
        if self.made <= len(self.errors):
            raise self.errors[self.made - 1]
        return 7


def of_client(module: str, name: str = "ReadTimeout", base: type[BaseException] = Exception, **attributes: Any) -> BaseException:
    """An error as a client of the network would raise it, without the client."""
    error: BaseException = type(name, (base,), {"__module__": module})("no answer")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def of_status(status: int) -> BaseException:
    return of_client("huggingface_hub.errors", "HfHubHTTPError", OSError, response=SimpleNamespace(status_code=status))


PASSING: dict[str, Callable[[], BaseException]] = {
    "timeout": lambda: TimeoutError("timed out"),
    "reset": lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "disk": lambda: OSError(errno.EIO, "Input/output error"),
    "stale handle": lambda: OSError(errno.ESTALE, "Stale file handle"),
    "client without errno": lambda: of_client("requests.exceptions", "ChunkedEncodingError", OSError),
    "client that is no OSError": lambda: of_client("httpx2"),
    "busy server": lambda: of_status(503),
    "too many": lambda: of_status(429),
}
LASTING: dict[str, Callable[[], BaseException]] = {
    "missing": lambda: FileNotFoundError(errno.ENOENT, "No such file"),
    "forbidden": lambda: PermissionError(errno.EACCES, "Permission denied"),
    "full disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "a decoder's": lambda: OSError("image file is truncated"),
    "404": lambda: of_status(404),
    "offline": lambda: of_client("huggingface_hub.errors", "OfflineModeIsEnabled", ConnectionError),
    "address": lambda: of_client("httpx2", "InvalidURL"),
    "bug": lambda: KeyError("a"),
}


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_tried_again(kind: str) -> None:
    calls = Calls(PASSING[kind](), PASSING[kind]())
    assert retried(calls, "reading", sleep=calls.waits.append) == 7
    assert (calls.made, len(calls.waits)) == (3, 2)


@pytest.mark.parametrize("kind", LASTING)
def test_what_lasts_comes_out_at_once(kind: str) -> None:
    error = LASTING[kind]()
    calls = Calls(error)
    with pytest.raises(type(error)) as caught:
        retried(calls, "reading", sleep=calls.waits.append)
    assert (caught.value, calls.made, calls.waits) == (error, 1, [])


def test_the_last_try_raises_its_own_error() -> None:
    errors = [TimeoutError(str(i)) for i in range(3)]
    calls = Calls(*errors)
    with pytest.raises(TimeoutError, match=r"^2$"):
        retried(calls, "reading", tries=3, sleep=calls.waits.append)
    assert (calls.made, len(calls.waits)) == (3, 2)


def test_waits_double_and_are_spread_and_bounded() -> None:
    calls = Calls(*[TimeoutError()] * 9)
    retried(calls, "reading", tries=10, first_wait=1.0, sleep=calls.waits.append)
    for wait, most in zip(calls.waits, [1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert most / 2 <= wait <= most
    assert len({wait / most for wait, most in zip(calls.waits, [1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True)}) > 1


def test_each_further_try_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cliptune"):
        retried(Calls(TimeoutError("no answer\nof the server"), ConnectionError()), "reading a.tar", sleep=lambda _: None)
    first, second = caplog.messages
    assert first.startswith("reading a.tar failed (TimeoutError: no answer); try 2 of 5 in ")
    assert second.startswith("reading a.tar failed (ConnectionError); try 3 of 5 in ")
