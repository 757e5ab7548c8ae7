"""What evaluation costs beyond the towers: a pass of `cliptune test` against one bare forward pass over the same batches.

Both see the same loader (decoding counts on both sides) and the same weights; nothing is cached. A pass is the trainer's, with all
metrics of classes and of retrieval; the bootstrap's intervals, which are computed once at the end of a run, have a line of their own.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from measure import Line, Pairs, alternate, report, skip_without, timed

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.uncertainty import resampled

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {"ham10000_96": "7 classes", "caltech101": "100 classes", "flickr8k": "5 captions an image"}
GOAL = 1.05


def made(name: str, backbone: str) -> tuple[L.Trainer, AdaptModule, ImageTextData]:
    """A trainer, a module and data, set up."""
    module = AdaptModule(Backbone(backbone, pretrained=None if backbone == "nano" else "random"), Full(), Contrastive())
    columns: dict[str, Any] = {"caption_column": None} if name != "flickr8k" else {}
    data = ImageTextData(
        str(DATA / name / "data.parquet"), preprocess=module.preprocess, needs="pairs", batch_size=64, workers=0, cache=False, **columns
    )
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = L.Trainer(accelerator="cpu", precision="32-true", use_distributed_sampler=False, **quiet)
    return trainer, module, data


def forward(module: AdaptModule, data: ImageTextData) -> Callable[[], None]:
    """One bare pass over the test split."""
    backbone = module.backbone.eval()

    @torch.inference_mode()
    def run() -> None:
        for batch in data.test_dataloader():
            backbone.encode_image(batch["images"])
            if "tokens" in batch:
                backbone.encode_text(batch["tokens"])
        if data.class_names:
            backbone.encode_text(module.preprocess.tokenize([text for texts in data.class_texts for text in texts]))

    return run


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    skip_without(*(DATA / name for name in SETS))
    torch.set_num_threads(arguments.threads)
    lines = []
    for name, what in SETS.items():
        trainer, module, data = made(name, arguments.backbone)
        evaluate = lambda: trainer.test(module, datamodule=data, verbose=False)  # noqa: E731, B023
        evaluate()
        count = len(data.rows("test", images=False))
        pairs = alternate(evaluate, forward(module, data), arguments.pairs, warmup=1)
        intervals = timed(lambda: resampled(module.evaluation.answers, 1000, seed=0))  # noqa: B023
        lines.append(Line(f"{name}, {what}", pairs, count, at_most=GOAL, notes={"intervals, s": intervals}))
        once = Pairs([a + intervals for a in pairs.a], pairs.b)
        lines.append(Line(f"{name}, with intervals of 1,000 resamples", once, count))
    report("evaluation", "evaluation", "bare forward", lines)


if __name__ == "__main__":
    main()
