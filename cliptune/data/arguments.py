"""What the numbers and choices of `ImageTextData` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cliptune.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from cliptune.data.images import ImageTextData


def check_arguments(data: ImageTextData, workers: int | None) -> None:
    """Refuse what cannot be, before anything is opened.

    Args:
        data: with its arguments set.
        workers: as given.

    Raises:
        ConfigError: naming the value, the rule and the way out.
    """
    if not data.paths:
        raise ConfigError("data: path is empty. Give digits, a file, a folder or a hub id.")
    if data.batch_size < 1:
        raise ConfigError(f"data: batch_size {data.batch_size} is not positive. Take 64.")
    if workers is not None and workers < 0:
        raise ConfigError(f"data: workers {workers} is negative. Take 0 to decode in the main process, or leave it out.")
    if not 0 < data.crop_scale[0] <= data.crop_scale[1] <= 1:
        raise ConfigError(f"data: crop_scale {list(data.crop_scale)} is not two growing shares in 0..1. Take [0.9, 1.0].")
    if isinstance(data.views, str) and data.views not in ("auto", "fresh"):
        raise ConfigError(f"data: views {data.views!r} is not known. Take auto, fresh, 0, or a number of views.")
    if isinstance(data.views, int) and data.views < 0:
        raise ConfigError(f"data: views {data.views} is negative. Take 0 for evaluation's view, or a number of views.")
    if data.shots is not None and data.shots < 1:
        raise ConfigError(f"data: shots {data.shots} is not positive. Take 16, or leave it out for all.")
    if data.shots is None and data.shots_column is not None:
        raise ConfigError(f"data: shots_column {data.shots_column} is set without shots. Set shots to the number of the list.")
    if data.swaps < 0:
        raise ConfigError(f"data: swaps {data.swaps} is negative. Take 1 to 4, or 0 for none.")
    if (data.swaps or data.negative_column) and "pairs" not in data.needs:
        raise ConfigError(
            "data: hard negatives (negative_column, swaps) serve Contrastive and Sigmoid. Leave them out, or use one of these."
        )
    unknown = [name for name in data.split_names if name not in ("train", "validation", "test")]
    if unknown:
        raise ConfigError(f"data: splits has the unknown {unknown[0]!r}. {did_you_mean(unknown[0], ('train', 'validation', 'test'))}")
