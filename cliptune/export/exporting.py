"""`cliptune export`: a run in another library's form, proven, with a card; all of it, or nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import cliptune
from cliptune.adapted import AdaptedCLIP
from cliptune.blend import Blend, Point, checked_keep, checked_share, folded
from cliptune.data.images import ImageTextData
from cliptune.errors import CheckpointError, ConfigError, DataError, ExportError, did_you_mean
from cliptune.export.base import Format
from cliptune.export.blending import draw_curve, pick
from cliptune.export.card import Facts, write_card
from cliptune.export.classifier import Classifier
from cliptune.export.onnx import Onnx
from cliptune.export.open_clip import OpenClip
from cliptune.export.peft import Peft
from cliptune.export.proof import Proof, prove
from cliptune.export.samples import Samples, of_data, of_digits
from cliptune.export.torch_export import TorchExport
from cliptune.export.transformers import Transformers
from cliptune.loading import RECIPE_FILE, load, untouched_of, usual_device
from cliptune.rescore import data_of, other_data, score
from cliptune.summary import read_summary

FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (OpenClip, Transformers, Onnx, Peft, Classifier, TorchExport)}
MOVED = {"images": "image_rows", "texts": "text_rows"}


class Export:
    """One model on its way into one format.

    Args:
        path: of the model, see `cliptune.load`.
        kind: the format's name.
        output: the folder to write, which must not exist.
        blend: the share of what was learned that counts; `auto` picks it on validation.
        precision: of onnx.
        guard: other data with classes or captions, to see what was forgotten.
        samples: images of the proof.
        keep: the least share of the guard's zero-shot score that a blend may have to be picked.

    Raises:
        CliptuneError: before anything is written.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        output: Path,
        blend: float | str | None = None,
        precision: str = "fp32",
        guard: str | None = None,
        samples: int = 64,
        keep: float | None = None,
    ) -> None:
        if kind not in FORMATS:
            raise ConfigError(f"--format {kind} is not known. {did_you_mean(kind, FORMATS)}")
        if precision != "fp32" and kind != "onnx":
            raise ConfigError(f"--precision {precision} is of onnx; {kind} keeps float32. Leave it out.")
        if samples < 1:
            raise ConfigError(f"--samples {samples} is not positive. Take 64.")
        if output.exists():
            raise ConfigError(f"--output {output} exists already. Give another folder, or remove it.")
        self.blend, self.keep = checked_share(blend), checked_keep(keep, "--keep")
        if keep is not None and (blend != "auto" or guard is None):
            raise ConfigError(f"--keep {keep:g} is for --blend auto with a --guard, of which that much is to be kept. Give both.")
        self.kind, self.output, self.precision, self.count = FORMATS[kind](), output, precision, samples
        self.kind.check_installed()
        self.model = load(path, usual_device())
        self.kind.check(self.model)
        if self.blend is not None and self.kind.folds:
            self.model = folded(self.model)  # so that weights are blended, whatever made them
        self.run = Path(path) if (Path(path) / "checkpoints").is_dir() else None
        self.data, self.why = self._find_data()
        self.guard = other_data(guard, self.model) if guard else None
        self.guard_path = guard or ""
        self.curve: list[Point] = []

    def _find_data(self) -> tuple[ImageTextData | None, str]:
        """The run's data, or why it is not at hand."""
        if self.run is None:
            return None, "a checkpoint alone does not say what its data was"
        try:
            return data_of(self.run, self.model), ""
        except DataError as error:
            return None, str(error).rstrip(".")

    def __call__(self) -> Proof:
        """Write, prove, and put in place.

        Raises:
            ExportError: the other library does not say the same; nothing is left.
        """
        share = self._blended()
        images = self.data if self.data is not None and not self.data.vectors else None
        why = self.why or "the run's data holds rows, not images"
        samples = of_data(self.model, images, self.count) if images is not None else of_digits(self.model, self.count, why)
        facts = self._facts(share, samples)
        self.model.to("cpu")  # where all formats are written, and read back
        expected = samples.expected(self.model)
        with self._draft() as draft, tempfile.TemporaryDirectory() as scratch:
            samples.write(Path(scratch), self.model)
            model = folded(self.model) if self.kind.folds else self.model
            self.kind.write(model, draft, self.precision)
            allowed = self.kind.allowed(self.precision, float(model.backbone.logit_scale))
            proof = prove(self.kind, draft, samples, expected, Path(scratch), allowed)
            if not proof.holds:
                raise ExportError(_refusal(proof, self.kind))
            if "images_per_second" in proof.facts:
                proof.facts["torch_images_per_second"] = _speed(self.model, samples)
            if self.curve:
                self._draw(share, draft / "blend.png")
            write_card(draft, model, self.kind, facts, proof, self.output.name)
            self._write_facts(draft, facts, proof)
        return proof

    def _blended(self) -> float:
        """Blend, and give the share that counts."""
        if self.blend is None:
            return 1.0
        way, share = Blend(self.model), self.blend
        if not isinstance(share, float):
            if self.data is None:
                raise DataError(f"--blend auto picks on validation, and {self.why}. Give a number: --blend 0.5")
            self.curve, share = pick(self.model, way, self.data, self.guard, self.keep)
        way.set(share)
        return share

    def _facts(self, share: float, samples: Samples) -> Facts:
        """All that the card tells, measured where that is possible."""
        summary, notes = self._summary()
        zero_shot, adapted = (_test(summary.get(part, {})) for part in ("zero_shot", "adapted"))
        evaluated = summary.get("evaluated", {}).get("test", {})
        if share != 1 and share != 0:
            adapted = {}
            if self.data is not None:
                found = score(self.model, self.data, "test")
                adapted, evaluated = found.metrics, found.evaluated
            else:
                notes.append(f"This blend was not scored: {self.why}.")
        elif share == 0:
            adapted = zero_shot
        start = untouched_of(self.model)
        before, after = samples.expected(start), samples.expected(self.model)
        moved = {kind: float((before[rows] * after[rows]).sum(dim=1).mean()) for kind, rows in MOVED.items()}
        guard: dict[str, Any] = {}
        if self.guard is not None:
            scores = [score(model, self.guard, "test") for model in (start, self.model)]
            guard = {"path": self.guard_path, "before": scores[0].metrics, "after": scores[1].metrics, "evaluated": scores[0].evaluated}
        name = self.run.name if self.run is not None else self.output.name
        curve = [(point.share, point.validation, point.guards[0] if point.guards else None) for point in self.curve]
        return Facts(
            name,
            self.kind.name,
            self.precision,
            share,
            zero_shot,
            adapted,
            evaluated,
            summary,
            moved,
            guard,
            curve,
            notes,
        )

    def _summary(self) -> tuple[dict[str, Any], list[str]]:
        if self.run is None:
            return {}, ["A checkpoint alone, or a CLIP's name, tells no metrics: export the run's folder."]
        try:
            return read_summary(self.run), []
        except CheckpointError:
            return {}, ["The run has not ended, so its metrics are not known."]

    def _draw(self, share: float, file: Path) -> None:
        metric = "top-1" if self.data is not None and self.data.class_names else "mean recall"
        draw_curve(self.curve, share, f"validation, {metric}", f"guard, {Path(self.guard_path).name}", file)

    def _write_facts(self, draft: Path, facts: Facts, proof: Proof) -> None:
        told = asdict(facts)
        told["run"] = {key: facts.run[key] for key in ("counts", "seed", "epochs", "versions") if key in facts.run}
        told["guard"] = {**facts.guard, "path": Path(facts.guard["path"]).name} if facts.guard else {}
        whole = {
            "version": cliptune.__version__,
            **told,
            "base_fingerprint": self.model.about["base_fingerprint"],
            "fingerprint": self.model.fingerprint(),
            "proof": {**proof._asdict(), "holds": proof.holds},
        }
        (draft / "export.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if self.kind.name == "open_clip":
            (draft / RECIPE_FILE).write_text(json.dumps(self.model.about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """A folder beside the output, which takes its name when all is well, and is removed when not."""
        draft = self.output.with_name(f".{self.output.name}.tmp")
        shutil.rmtree(draft, ignore_errors=True)  # what a kill left
        try:
            draft.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"--output {self.output} cannot be made: {error.strerror}. Give another folder.") from None
        try:
            yield draft
            draft.replace(self.output)
        except OSError as error:
            raise ExportError(f"cannot write {self.output}: {error.strerror or error}. Nothing is left of it; make room.") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _refusal(proof: Proof, kind: Format) -> str:
    worst = max(proof.differences, key=lambda key: proof.differences[key] / proof.allowed[key])
    return (
        f"{kind.title} does not say what the model says: {worst} differ by {proof.differences[worst]:.1e}, and {proof.allowed[worst]:.1e} "
        f"is allowed. Nothing is left of it; use another --format, and report this with the backbone's name."
    )


def _test(metrics: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}


def _speed(model: AdaptedCLIP, samples: Samples) -> float:
    """Images per second of the model itself, measured as the readers do."""
    from cliptune.export.readers.reading import per_second

    pixels = samples.pixels(model)
    with torch.no_grad():
        return per_second(lambda: model.encode_pixels(pixels), len(pixels))
