"""The few facts that recommendations are made from, drawn together from what was found and what the config says."""

from dataclasses import dataclass
from statistics import median

from cliptune.doctor.findings import Findings
from cliptune.doctor.settings import Values, class_of, value_at
from cliptune.doctor.zero_shot import ZeroShot


@dataclass(frozen=True)
class Facts:
    """What recommendations are made from.

    Args:
        findings: of the scan.
        zero: of the untouched backbone.
        config: as `fit` resolves it.
    """

    findings: Findings
    zero: ZeroShot
    config: Values

    @property
    def rows(self) -> int:
        """Of train."""
        return self.findings.splits["train"].rows

    @property
    def classes(self) -> int:
        """How many there are; 0 for none."""
        return len(self.findings.classes.names)

    @property
    def per_class(self) -> float:
        """The median of train's images of a class; 0 without classes."""
        counts = [count for count in self.findings.splits["train"].labels.values() if count]
        return float(median(counts)) if counts and self.classes else 0.0

    @property
    def several(self) -> bool:
        """Whether images of train have several classes."""
        train = self.findings.splits["train"]
        return sum(train.labels.values()) > train.rows

    @property
    def captions(self) -> bool:
        """Whether images have texts of their own."""
        return self.findings.captions.source == "captions" and self.findings.captions.count > 0

    @property
    def by_classes(self) -> bool:
        """Whether classes are what is to be learned: there is nothing else, or the objective says so."""
        objective = class_of(value_at(self.config, "model.objective"))
        return self.classes > 1 and (not self.captions or objective == "CrossEntropy")

    @property
    def fresh_start(self) -> bool:
        """Whether the backbone knows nothing yet."""
        return value_at(self.config, "model.backbone.pretrained") == "random"

    @property
    def verdict(self) -> str:
        """See `Distance`."""
        return self.zero.distance.verdict
