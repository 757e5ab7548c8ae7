"""`cliptune predict MODEL IMAGES ...`: classes or rows of images, as a file."""

import os
from pathlib import Path
from typing import Literal

from cliptune.call import call
from cliptune.errors import ConfigError


def run(words: list[str]) -> None:
    """Run `predict`."""
    call("predict", words, predict)


def predict(
    model: str,
    *images: str,
    output: Path = Path("predictions.csv"),
    rows: bool = False,
    classes: str | None = None,
    templates: str | None = None,
    top_k: int = 1,
    batch_size: int = 64,
    workers: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto",
) -> None:
    """Say of each image which class it is of, or give its row.

    Args:
        model: see `cliptune.load`.
        images: files, folders, tables, hub ids.
        output: the file to write.
        rows: write rows.
        classes: any words, with commas between them.
        templates: texts around them, with | between them.
        top_k: classes of each image.
        batch_size: images of a step.
        workers: threads that decode.
        overwrite: write over the output.
        device: where to run; a GPU where there is one.
        precision: of the towers' products; that of `cliptune test`.
    """
    if not images:
        raise ConfigError("predict needs images: cliptune predict MODEL IMAGES ... --output FILE; or --config FILE, for its test split.")
    from cliptune.quiet import quiet

    quiet()
    from cliptune.devices import default_precision
    from cliptune.loading import load, usual_device
    from cliptune.predicting import predict as run_over

    loaded = load(model, usual_device() if device == "auto" else device)
    found = run_over(
        loaded,
        images,
        output,
        classes=_parts(classes, ","),
        templates=_parts(templates, "|"),
        rows=rows,
        top_k=top_k,
        batch_size=batch_size,
        workers=workers or os.cpu_count() or 1,
        overwrite=overwrite,
        precision=default_precision(str(loaded.device.type)) if precision == "auto" else precision,
        model_key=loaded.fingerprint(),
    )
    before = f", {found.resumed:,} of them before" if found.resumed else ""
    print(f"{found.count:,} images, {found.images_per_second:.0f} images/s{before}")
    if found.correct is not None:
        print(f"{found.correct:,} of {found.labelled:,} that are labelled are right: {found.correct / found.labelled:.4f}")
    if found.failed:
        print(f"{found.failed:,} cannot be read, and are listed in {found.files[-1]}")
    print(f"written: {', '.join(str(file) for file in found.files)}")


def _parts(text: str | None, between: str) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(between) if part.strip()]
