"""What is measured of a model beside the metrics of its splits: the section `evaluation` of a config."""

from dataclasses import dataclass, field
from typing import Literal

from cliptune.errors import ConfigError


@dataclass
class Bias:
    """How scores for words differ between groups of images.

    Args:
        column: of the data, that names each image's group, such as `sex`; numbers of many values, such as `age`, are cut into thirds.
        words: what images are compared with, such as "a doctor" and "a nurse"; the class names where not given.
        template: around each of them, `{}` its place.
    """

    column: str
    words: list[str] = field(default_factory=list)
    template: str = "{}"


class Evaluate:
    """What is measured at the end of a fit, and by `cliptune test`, for the untouched and the adapted model alike.

    Args:
        resamples: of the bootstrap that intervals and changes come from; 0 for none.
        crops: how else images are seen, for fine detail: `5` crops (corners and centre), or a `grid` (the whole, and its four quarters,
            each at the model's size), whose rows are averaged; what that wins and costs is told.
        composition: pairs of a true and a swapped caption, one source or several: `swap` makes them of the data's own captions; or files
            in SugarCrepe's or Winoground's format, `PATH@FOLDER` where their pictures lie in another folder.
        bias: how scores for words differ between groups of the test images.
        curve: whether the models between zero-shot and adapted are scored (WiSE-FT); `auto` where there is a guard.
    """

    def __init__(
        self,
        resamples: int = 1000,
        crops: Literal["5", "grid"] | None = None,
        composition: str | list[str] | None = None,
        bias: Bias | None = None,
        curve: bool | Literal["auto"] = "auto",
    ) -> None:
        if resamples < 0:
            raise ConfigError(f"evaluation: resamples {resamples} is negative. Take 1000, or 0 for no intervals.")
        self.resamples, self.crops, self.bias, self.curve = resamples, crops, bias, curve
        self.composition = [composition] if isinstance(composition, str) else list(composition or [])
