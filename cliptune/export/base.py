"""What a format is: whom it serves, what it writes, and how the other library reads it back."""

from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from cliptune.adapted import AdaptedCLIP
from cliptune.blend import folds
from cliptune.errors import ExportError
from cliptune.loading import untouched_of

ROWS = 2e-5  # what float32 rows of unit length may differ: rounding in another order gives 1e-7 to 2e-6
OWN_ROWS = 0.05  # where the other library also resizes by itself: other filters, to a level or so of a pixel


class Format(ABC):
    """A form to take a model away in.

    `folds`: what was learned is written into plain CLIP weights first, where the method can; what is left is a probe's or prompts'.
    `modules`: what must be installed to write and to read it.
    """

    name: str
    title: str
    folds = True
    modules: tuple[str, ...] = ()
    extra = ""

    def check(self, model: AdaptedCLIP) -> None:  # noqa: B027 - most formats take every model
        """Refuse a model that this format has no place for; before anything is folded.

        Raises:
            ExportError: with the reason, and the format that fits.
        """

    def check_installed(self) -> None:
        """Refuse where a library is missing.

        Raises:
            ExportError: naming it and its extra.
        """
        missing = [name for name in self.modules if find_spec(name) is None]
        if missing:
            raise ExportError(f"--format {self.name} needs {', '.join(missing)}. Install: pip install 'cliptune[{self.extra}]'")

    @abstractmethod
    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """Write the files.

        Args:
            model: folded, where the format folds.
            folder: empty.
            precision: `fp32`; onnx takes `fp16` and `int8` too.

        Raises:
            ExportError: the architecture has no place in the format.
        """

    def allowed(self, precision: str, scale: float) -> dict[str, float]:
        """The largest differences allowed, by what is compared; logits are cosines times `scale`."""
        rows = dict.fromkeys(("image_rows", "text_rows", "plain_image_rows", "loaded_image_rows"), ROWS)
        return {**rows, "logits": ROWS * scale, "similarity": ROWS * scale, "own_image_rows": OWN_ROWS}

    @abstractmethod
    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """Three lines of Python, or so, that load what was written from `place`."""


def check_folds(model: AdaptedCLIP, format_name: str) -> None:
    """Refuse a method whose learning is no weight of a CLIP.

    Raises:
        ExportError: with the formats that fit.
    """
    if not folds(model.method):
        raise ExportError(
            f"what {type(model.method).__name__} learns is no weight of a plain CLIP, so {format_name} has no place for it. "
            f"Use --format {' or '.join(fitting(model))}."
        )


def fitting(model: AdaptedCLIP) -> list[str]:
    """The formats that hold what a method which does not fold has learned."""
    return ["onnx", "torch_export"] if image_tower_is_prompted(model) else ["classifier", "onnx", "torch_export"]


def image_tower_is_prompted(model: AdaptedCLIP) -> bool:
    """Whether the image rows come from more than the plain tower."""
    return getattr(model.method, "image_prompts", None) is not None


def image_tower_is_untouched(model: AdaptedCLIP) -> bool:
    """Whether the image rows are those of the CLIP before it was adapted."""
    pixels = torch.randn(2, 3, *model.backbone.preprocess.size, generator=torch.Generator().manual_seed(0))
    return bool(torch.allclose(model.encode_pixels(pixels), untouched_of(model).encode_pixels(pixels), rtol=0, atol=1e-6))


def preprocessing(model: AdaptedCLIP) -> dict[str, Any]:
    """open_clip's preprocess configuration: size, mean, std, interpolation, resize_mode, fill_color."""
    known = dict(model.about["preprocess"])
    known.update(size=list(model.backbone.preprocess.size), mode="RGB")
    return known
