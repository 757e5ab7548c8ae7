"""Linear probe: the class rows themselves learn, drawn towards the zero-shot rows that they start from; both towers are frozen."""

import logging
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.logistic import Choice, Problem, Solution, trust_of, undo
from cliptune.methods.base import ClassRows, ClassTexts, LabelledRows, Method
from cliptune.objectives.base import Objective
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.optim import Group
from cliptune.similarity import exact
from cliptune.towers import last_product

log = logging.getLogger(__name__)


class LinearProbe(Method):
    """Learns a row for each class as a difference from where it starts, so that weight decay draws towards the start.

    Drawn towards the zero-shot rows, a probe does not fall below them where shots are few: CLAP (Silva-Rodriguez et al. 2024, "A Closer
    Look at the Few-Shot Adaptation of Large Vision-Language Models", sec. 4) penalises the distance of class rows from text rows, LP++
    (Huang et al. 2024, "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP", sec. 3) adds a share of the text rows to them. As far
    as the texts say nothing of the training images, `lbfgs` is drawn towards a share of their rows only (`trust`).

    The learned rows serve their own classes. Any other words are scored by the untouched CLIP's rows.

    Args:
        start: `text` starts from the class texts' rows, which is zero-shot; `zero` from nothing, as plain logistic regression.
        solver: `sgd` learns step by step, by the optimizer; `lbfgs` solves the L2 problem on all rows at once, with the L2 strength
            chosen on validation by the search of CLIP's paper (Radford et al. 2021, appendix A.3), there by accuracy, here by likelihood
            and how usual the strength is (`logistic.sweep`); the optimizer and its keys are not used.
        normalize: make the learned rows unit rows.
        bias: learn a bias for each class.
        lr_factor: factor on the optimizer's learning rate, which is that of full fine-tuning: 100 makes 1e-3 of 1e-5.
        trust: the share of the class texts' rows that `lbfgs` is drawn towards, in 0..1; where not given, the one whose logits fit
            the training images best.
        penalty: where the differences are measured that `lbfgs` keeps small: `tower`, in the coordinates of the image tower before its
            last product, which CLIP's own probes are in (ibid.); `rows`, in those of the rows, as scikit-learn would on them, which is the
            same where a tower ends with no product. Where not given, `tower` for `lbfgs`; weight decay is always on the rows.

    Raises:
        ConfigError: a value that is not known; no classes to learn.
    """

    bound_to_classes = True
    delta: nn.Parameter  # [C, D]
    start_rows: Tensor  # [C, D]
    bias: nn.Parameter | None  # [C]

    def __init__(
        self,
        start: Literal["text", "zero"] = "text",
        solver: Literal["sgd", "lbfgs"] = "sgd",
        normalize: bool = False,
        bias: bool = False,
        lr_factor: float = 100.0,
        trust: float | None = None,
        penalty: Literal["tower", "rows"] | None = None,
    ) -> None:
        super().__init__()
        if start not in ("text", "zero"):
            raise ConfigError(f"LinearProbe: start {start!r} is not known. Take text or zero.")
        if solver not in ("sgd", "lbfgs"):
            raise ConfigError(f"LinearProbe: solver {solver!r} is not known. Take sgd or lbfgs.")
        if solver == "lbfgs" and normalize:
            raise ConfigError(
                "LinearProbe: with normalize the problem has no single minimum for lbfgs. Set solver: sgd, or normalize: false."
            )
        if normalize and start == "zero":
            raise ConfigError("LinearProbe: rows of zero cannot be made unit rows. Set start: text, or normalize: false.")
        if lr_factor <= 0:
            raise ConfigError(f"LinearProbe: lr_factor {lr_factor} is not positive. Take 100.")
        if trust is not None and not 0 <= trust <= 1:
            raise ConfigError(f"LinearProbe: trust {trust} is not in 0..1. It is a share of the texts' rows: take 1, or leave it out.")
        if trust is not None and (solver == "sgd" or start == "zero"):
            raise ConfigError(f"LinearProbe: trust {trust} is for solver lbfgs that starts from the texts. Leave it out, or set these.")
        if penalty not in ("tower", "rows", None):
            raise ConfigError(f"LinearProbe: penalty {penalty!r} is not known. Take tower or rows.")
        if penalty == "tower" and solver == "sgd":
            raise ConfigError(
                "LinearProbe: penalty tower is for solver lbfgs; weight decay is on the rows. Set solver: lbfgs, or leave it out."
            )
        self.trust, self.penalty = trust, penalty or ("tower" if solver == "lbfgs" else "rows")
        self.from_text, self.solver, self.normalize, self.with_bias, self.lr_factor = start == "text", solver, normalize, bias, lr_factor
        self.class_names: list[str] = []
        self.found: Choice | None = None
        self.register_parameter("bias", None)

    def check(self, objective: Objective) -> None:
        """It needs classes."""
        if "pairs" in objective.needs:
            name = type(objective).__name__
            raise ConfigError(f"LinearProbe learns from class names, but {name} needs image-text pairs. Use objective: CrossEntropy.")
        if self.solves and type(objective) is not CrossEntropy:
            raise ConfigError(f"LinearProbe: solver lbfgs minimises CrossEntropy, not {type(objective).__name__}. Use solver: sgd.")

    def attach(self, backbone: Backbone, classes: ClassTexts) -> None:
        """Freeze both towers, and take the class texts' rows."""
        if not classes:
            raise ConfigError("LinearProbe learns a row for each class, and the data has no classes. Set data.label_column.")
        backbone.requires_grad_(False)
        self.class_names = classes.names
        with torch.no_grad():
            rows = super().class_rows(backbone, classes).rows
        self.register_buffer("start_rows", rows if self.from_text else torch.zeros_like(rows))
        self.delta = nn.Parameter(torch.zeros_like(rows))
        if self.with_bias:
            self.bias = nn.Parameter(rows.new_zeros(len(rows)))

    def drift(self, backbone: Backbone, start: Backbone | None) -> Tensor:
        """The squared differences."""
        return self.delta.square().sum()

    @torch.no_grad()
    def zero_shot(self, backbone: Backbone, start: Backbone, classes: ClassTexts) -> dict[str, Tensor]:
        """The class texts' rows, and no bias."""
        rows = super().class_rows(backbone, classes).rows
        found = {"method.delta": rows - self.start_rows}
        return found if self.bias is None else {**found, "method.bias": torch.zeros_like(self.bias)}

    def groups(self, backbone: Backbone) -> list[Group]:
        """The differences decay, which draws the rows towards their start; the bias does not."""
        parts: list[tuple[nn.Parameter | None, bool]] = [(self.delta, True), (self.bias, False)]
        return [Group(params=[p], lr_factor=self.lr_factor, decay=decay) for p, decay in parts if p is not None]

    def class_rows(self, backbone: Backbone, classes: ClassTexts) -> ClassRows:
        """The learned rows, for the classes that they were learned for; the untouched CLIP's for any other words."""
        if classes.names != self.class_names:
            return super().class_rows(backbone, classes)
        rows = self.start_rows + self.delta
        biases = [bias for bias in (self.bias, backbone.logit_bias) if bias is not None]
        return ClassRows(F.normalize(rows, dim=-1) if self.normalize else rows, sum(biases) if biases else None)  # type: ignore[arg-type]

    @property
    def learns_class_rows(self) -> bool:
        """They are what learns."""
        return True

    @property
    def starts_as_clip(self) -> bool:
        """From the texts' rows."""
        return self.from_text

    @property
    def solves(self) -> bool:
        """By L-BFGS."""
        return self.solver == "lbfgs"

    @torch.no_grad()
    def solve(self, backbone: Backbone, objective: Objective, train: LabelledRows, validation: LabelledRows) -> float:
        """Minimise on the training rows at strengths that validation chooses among, which counts each class as the objective does."""
        assert isinstance(objective, CrossEntropy)
        scale, weights = float(backbone.logit_scale), objective.weight(validation.labels)
        counted = weights.sum().clamp(min=1e-12)  # nothing, where validation has only classes that weigh nothing
        turn, back = self._coordinates(backbone, train.rows)
        texts = scale * train.rows @ self.start_rows.T
        trust = self.trust
        if trust is None and self.from_text:
            trust = trust_of(texts, lambda logits: objective.of(logits, train.labels))
        towards = self.start_rows * (1.0 if trust is None else trust)

        def logits(solution: Solution | None) -> Tensor:
            found = scale * validation.rows @ (self.start_rows if solution is None else towards + solution.delta @ turn).T
            return (found if solution is None or solution.bias is None else found + solution.bias).float()

        def accuracy(solution: Solution | None) -> float:
            return float((weights * (logits(solution).argmax(dim=1) == validation.labels)).sum() / counted)

        def loss(solution: Solution | None) -> float:
            return float(objective.of(logits(solution), validation.labels))

        with exact(train.rows.device):
            targets = objective.targets(train.labels, len(self.start_rows))
            problem = Problem(train.rows @ turn, targets, towards @ back, scale, self.with_bias)
            images = float(counted**2 / weights.square().sum().clamp(min=1e-12))  # of equal weight (Kish 1965)
            best, self.found = problem.search(accuracy, loss, max(images, 1.0))
            self.delta.copy_(torch.zeros_like(self.delta) if best is None else towards - self.start_rows + best.delta @ turn)
        drawn = f"; drawn towards {trust:g} of the class texts' rows" if trust is not None and trust < 1 and best is not None else ""
        what = "top-1" if objective.weights is None else "top-1 by weight"
        log.info(
            f"linear probe: of {len(self.found.tried)} L2 strengths C = {self.found.strength:g} is chosen on validation, "
            f"{what} {self.found.accuracy:.4f} ({self.found.tried[0.0]:.4f} at the start){drawn}"
        )
        if self.bias is not None:
            self.bias.copy_(torch.zeros_like(self.bias) if best is None or best.bias is None else best.bias)
        return float(objective.of(texts, train.labels)) if best is None else best.loss

    def _coordinates(self, backbone: Backbone, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[D, D], symmetric, that turns unit rows into others of about that length, where the penalty is measured; and its inverse."""
        product = last_product(backbone.towers()["image"]) if self.penalty == "tower" else None
        if product is None or product.shape[1] != rows.shape[1]:  # rows of a file may be of another CLIP
            alike = torch.eye(rows.shape[1]).to(rows)
            return alike, alike
        with exact(rows.device):
            turn, back = undo(product.to(rows))
            length = (rows @ turn).norm(dim=1).mean()
            return turn / length, back * length
