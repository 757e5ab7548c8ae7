"""From a stream of images to a stream of rows: threads decode and preprocess ahead of the model, in order, a few batches at most.

Threads and not processes, since decoding and resizing let go of the interpreter, and pixels then need not be sent anywhere.
"""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.errors import ConfigError, DataError
from cliptune.inputs import Item
from cliptune.preprocess import Preprocess

AHEAD = 2  # batches that are decoded or waiting for it; one more is with the model


class Encoded(NamedTuple):
    """A batch."""

    items: list[Item]  # that could be decoded, in order
    rows: Tensor  # [B, D], of unit length, on the CPU
    failures: list[tuple[str, str]]  # names of the others, and why


def encode(model: AdaptedCLIP, items: Iterable[Item], batch_size: int, workers: int) -> Generator[Encoded, None, None]:
    """Encode images batch by batch.

    What is held in memory does not grow with the number of images. The threads end with the stream, or when it is closed.

    Args:
        model: whose preprocessing and image tower are used.
        items: read only as far as is needed.
        batch_size: images of a batch, those included that cannot be decoded.
        workers: threads that decode.

    Raises:
        ConfigError: a number that is not positive.
    """
    for name, value, usual in (("batch_size", batch_size, 64), ("workers", workers, 4)):
        if value < 1:
            raise ConfigError(f"{name} {value} is not positive. Take {usual}.")
    return _encoded(model, items, batch_size, workers)


def _encoded(model: AdaptedCLIP, items: Iterable[Item], batch_size: int, workers: int) -> Generator[Encoded, None, None]:
    source = iter(items)
    waiting: deque[tuple[Item, Future[Tensor | str]]] = deque()
    cores = torch.get_num_threads()
    threads = ThreadPoolExecutor(workers, "decode", initializer=torch.set_num_threads, initargs=(1,))  # else each would start `cores` more
    try:
        while True:
            for item in islice(source, AHEAD * batch_size - len(waiting)):
                waiting.append((item, threads.submit(_pixels, item, model.backbone.preprocess)))
            if not waiting:
                return
            yield _batch(model, [waiting.popleft() for _ in range(min(batch_size, len(waiting)))])
    finally:
        threads.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what a thread sets for itself is what new ones begin with


def _pixels(item: Item, preprocess: Preprocess) -> Tensor | str:
    """[3, h, w], uint8; or why there are none."""
    try:
        return preprocess.eval(preprocess.decode(item.image, item.name))
    except DataError as error:
        return str(error)
    except (OSError, ValueError, ArithmeticError, RuntimeError) as error:  # of a picture too odd to be resized, among millions
        return f"cannot prepare the image {item.name}: {(str(error).splitlines() or [type(error).__name__])[0]}"


def _batch(model: AdaptedCLIP, taken: list[tuple[Item, Future[Tensor | str]]]) -> Encoded:
    found = [(item, future.result()) for item, future in taken]
    failures = [(item.name, pixels) for item, pixels in found if isinstance(pixels, str)]
    images = [pixels for _, pixels in found if isinstance(pixels, Tensor)]
    rows = model.encode_pixels(torch.stack(images)) if images else torch.empty(0, model.backbone.config["embed_dim"])
    return Encoded([item for item, pixels in found if isinstance(pixels, Tensor)], rows, failures)
