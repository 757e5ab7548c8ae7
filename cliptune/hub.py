"""The Hugging Face hub where it cannot be reached: asked once, where its client would try each file for half a minute."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from huggingface_hub import constants, get_session
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from cliptune.errors import UnreachableError

SECONDS = 10  # that an answer may take


def reachable() -> bool:
    """Whether the hub answers, whatever it says."""
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # of httpx or requests, by the client's version; also where HF_HUB_OFFLINE is set
        return False
    return True


@contextmanager
def asked_once() -> Iterator[str]:
    """Where the hub cannot be reached, take what was fetched before, and fail at once on what was not.

    Yields:
        Why nothing can be fetched; empty where it can.
    """
    lost = "" if reachable() else "HF_HUB_OFFLINE forbids the hub" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
    places = (constants, datasets.config)  # the client's switch, and its copy in `datasets`
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place, offline in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = offline or bool(lost)
        yield lost
    finally:
        for place, offline in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = offline


@contextmanager
def fetched(what: str) -> Iterator[None]:
    """Do something that may want a model of the hub.

    Args:
        what: is wanted, for the message.

    Raises:
        UnreachableError: it was not fetched before, and the hub cannot be reached.
    """
    with asked_once() as lost:
        try:
            yield
        except Exception as error:
            if lost and missing(error):
                raise UnreachableError(
                    f"{what} was not fetched before, and {lost}. Connect first, or take the backbone nano, which needs no network."
                ) from None
            raise


def missing(error: BaseException | None) -> bool:
    """Whether an error says that something is not among what was fetched before."""
    while error is not None:
        if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
            return True
        error = error.__cause__ or error.__context__
    return False
