"""The Hugging Face hub where it cannot be reached: asked once, where its client would try each file for half a minute."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from huggingface_hub import constants, get_session

SECONDS = 10  # that an answer may take


def reachable() -> bool:
    """Whether the hub answers, whatever it says."""
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # of httpx or requests, by the client's version; also where HF_HUB_OFFLINE is set
        return False
    return True


@contextmanager
def asked_once() -> Iterator[bool]:
    """Where the hub cannot be reached, take what was fetched before, and fail at once on what was not.

    Yields:
        Whether it can be reached.
    """
    reached = reachable()
    places = (constants, datasets.config)  # the client's switch, and its copy in `datasets`
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place, offline in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = offline or not reached
        yield reached
    finally:
        for place, offline in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = offline
