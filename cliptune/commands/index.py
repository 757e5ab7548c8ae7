"""`cliptune index`: the rows of many images, seen once, to be searched."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cliptune.call import call
from cliptune.errors import ConfigError

if TYPE_CHECKING:
    from cliptune.image_sources import Item


def run(words: list[str]) -> None:
    """Run `index`."""
    call("index", words, index)


def index(
    model: str,
    *images: str,
    output: Path | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto",
) -> None:
    """Make or bring up to date an index of images.

    Args:
        model: see `cliptune.load`.
        images: folders, files, tables.
        output: the folder of the index.
        batch_size: images of a step.
        workers: threads that decode.
        device: where to run; a GPU where there is one.
        precision: of the tower's products; that of `cliptune test`.
    """
    if not images or output is None:
        raise ConfigError("index needs images and a folder: cliptune index MODEL FOLDER --output INDEX")
    from cliptune.quiet import quiet

    quiet()
    from contextlib import closing

    from cliptune.devices import default_precision
    from cliptune.index_writer import IndexWriter
    from cliptune.inputs import Inputs
    from cliptune.loading import load, usual_device
    from cliptune.stream import encode

    loaded = load(model, usual_device() if device == "auto" else device)
    inputs = Inputs(images)
    seen, failures = 0, []
    with IndexWriter(output, model, loaded.fingerprint(), int(loaded.backbone.config["embed_dim"])) as writer:

        def unknown() -> Iterator["Item"]:
            return (item for item in inputs.items() if not writer.known(item.name, item.stamp))

        wanted = default_precision(loaded.device.type) if precision == "auto" else precision
        batches = encode(loaded, unknown(), batch_size, workers or os.cpu_count() or 1)
        with loaded.in_precision(wanted), closing(batches):
            for batch in batches:
                writer.add([item.name for item in batch.items], [item.stamp for item in batch.items], batch.rows)
                seen += len(batch.items)
                failures += batch.failures
        made = writer.finish()
    for name, why in failures[:5]:
        print(f"left out: {name}: {why}")
    if len(failures) > 5:
        print(f"... and {len(failures) - 5:,} more that cannot be read")
    print(f"{len(made):,} images, {seen:,} of them seen now: {output}")
    print(f'next:  cliptune search {output} "words"')
