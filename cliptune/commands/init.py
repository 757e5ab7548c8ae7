"""`cliptune init`: looks at somebody's images and writes the config to begin with, each line with its reason."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliptune.call import call
from cliptune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cliptune.doctor.report import Report

BACKBONE = "ViT-B-16-quickgelu"
PRETRAINED = "openai"
EPOCHS = 10
SHOWN = 8  # class names
FEW = 100  # images of test, from where on half the 95 % interval of a share, 1 / sqrt(n) at most, is below 10 points


def run(words: list[str]) -> None:
    """Run `init`."""
    from cliptune.quiet import quiet

    quiet()
    logging.getLogger("cliptune").setLevel(logging.WARNING)  # what the data notes is told once, with the rest
    from cliptune.launch import own_errors

    try:
        with own_errors():
            call("init", words, init)
    except DataError as error:  # of init, which takes no keys of a config
        raise DataError(str(error).replace("set data.allow_outside: true", "give --allow-outside")) from None


def init(
    *,
    path: str = "",
    output: Path | None = None,
    name: str = BACKBONE,
    pretrained: str = "",
    images: int = 500,
    allow_outside: bool = False,
    overwrite: bool = False,
) -> None:
    """Look at the data, and write a config with what is recommended for it.

    Args:
        path: of the images, as `data.path`.
        output: the config; where not given, the data's name with `.yaml`, here.
        name: of the backbone; `nano` needs no network.
        pretrained: its weights; `openai` for the usual backbone.
        images: that zero-shot is measured on, at most.
        allow_outside: let image paths of a table lead out of its folder.
        overwrite: write over a config that is there.

    Raises:
        ConfigError: nothing to look at, or a file that would be written over.
        DataError: what is at the path cannot be used.
    """
    import yaml

    from cliptune.commands.doctor import examine
    from cliptune.data.formats.sources import open_source

    if not path:
        raise ConfigError("init lacks --path. Give a folder of images or a table: cliptune init --path my_images/")
    file = output or Path(f"{_stem(path)}.yaml")
    if file.exists() and not overwrite:
        raise ConfigError(f"init: {file} is there already. Give another --output, or --overwrite.")
    if images < 1:
        raise ConfigError(f"init --images is {images}, but must be 1 or more. Take 500.")
    weights = pretrained or (PRETRAINED if name == BACKBONE else "")
    backbone = {"name": name, **({"pretrained": weights} if weights else {})}
    with tempfile.TemporaryDirectory() as folder:
        if not Path(path).expanduser().exists():
            open_source(path)  # a mistyped path is said before weights are fetched
        config, begun = _begun(path, backbone, allow_outside), Path(folder) / f"{_stem(path)}.yaml"
        begun.write_text(yaml.safe_dump(config), encoding="utf-8")
        report, _ = examine(["--config", str(begun)], images)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(written(report, config, file), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"init cannot write {file}: {error.strerror or error}. Give another --output.") from None
    for line in seen(report):
        print(line)
    for problem in report.problems:
        if problem.level != "note":
            print(f"! {problem.title}. {problem.way}")
    print(f"\nconfig: {file}\nnext:  cliptune fit --config {file}")
    print(f"       cliptune doctor --config {file} --open    all that was found, with pictures")


def written(report: "Report", begun: dict[str, Any], file: Path) -> str:
    """The config: what was seen, how to go on, and each key with its reason.

    Args:
        report: of the doctor.
        begun: the config that the doctor was asked of.
        file: where it will lie.
    """
    from cliptune.doctor.fixed import fixed_config, plain

    head = [f"# {begun['data']['path']}, as cliptune init saw it:", *(f"#   {line}" for line in seen(report))]
    head += [
        f"#   cliptune fit --config {file}      adapt: scores before and after, a run folder in runs/",
        f"#   cliptune test --config {file} --ckpt_path best",
        "# Every key that is not here is at its default: cliptune fit --help. Comments say why a key is what it is.",
    ]
    told = [replace(one, value=_short(plain(one.value)), current=None) if one.apply else one for one in report.recommendations]
    body = fixed_config(begun, told, begun, file.stem).splitlines()
    while body and body[0].startswith("#"):
        body.pop(0)
    return "\n".join([*head, *(_told(line) for line in body)]) + "\n"


def seen(report: "Report") -> list[str]:
    """What the data is, in a few lines."""
    found, zero = report.findings, report.zero
    lines = [", ".join(f"{_counted(split.rows, 'image')} of {name}" for name, split in found.splits.items())]
    names = found.classes.names
    if names:
        more = f", ... {len(names):,} in all" if len(names) > SHOWN else ""
        lines.append(f"{len(names):,} classes: {', '.join(names[:SHOWN])}{more}")
    if found.captions.source == "captions" and found.captions.count:
        lines.append(_counted(found.captions.count, "caption"))
    lines += found.notes
    test = found.splits["test"].rows if "test" in found.splits else 0
    if 0 < test < FEW:
        sure = f"known to some ±{100 / test**0.5:.0f} points"
        lines.append(f"only {_counted(test, 'image')} of test: a share of them is {sure}, and decides little")
    if zero.classes is not None and zero.classes.classes:
        told = f"top-1 {zero.classes.top1:.3f} on {_counted(zero.images, 'image')}"
        lines.append(f"zero-shot {zero.backbone}: {told}; guessing {zero.classes.chance:.3f}")
    if zero.retrieval is not None and "recall@10_text_to_image" in zero.retrieval.recall:
        recall, among = zero.retrieval.recall["recall@10_text_to_image"], zero.retrieval.images
        told = f"text to image R@10 {recall:.3f} among {_counted(among, 'image')}"
        lines.append(f"zero-shot {zero.backbone}: {told}; guessing {min(10 / max(among, 1), 1):.3f}")
    return lines


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


COMMENTS = {
    "seed_everything": "of everything that is random; --seeds [1,2,3] tells the spread",
    "  backbone": "what is pretrained; `nano` to try it without network",
    "  allow_outside": "image paths lead out of the table's folder, as --allow-outside says that they may",
    "  path": "a folder, a table, a hub id, or a list of these",
    "  templates": "texts around a class name: say what your images are",
    "trainer": "more where validation still rises",
}


def _told(line: str) -> str:
    """A line of the config with what its key is for, where nothing is said of it yet."""
    key = line.partition(":")[0]
    return f"{line} # {COMMENTS[key]}" if key in COMMENTS and not line.endswith(":") else line


def _short(value: Any) -> Any:
    """A class without arguments as its name."""
    from cliptune.doctor.settings import arguments_of, class_of

    named = isinstance(value, dict) and "." not in str(value.get("class_path", "."))
    return class_of(value) if named and not arguments_of(value) else value


def _begun(path: str, backbone: dict[str, Any], allow_outside: bool) -> dict[str, Any]:
    """The config before anybody has looked."""
    return {
        "seed_everything": 1,
        "model": {
            "backbone": backbone,
            "method": "Full",
            "objective": "Contrastive",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-5, "weight_decay": 0.1}},
        },
        "data": {"path": path, "templates": ["a photo of a {}."], "batch_size": 8, **({"allow_outside": True} if allow_outside else {})},
        "trainer": {"max_epochs": EPOCHS},
    }


def _stem(path: str) -> str:
    name = Path(path.rstrip("/")).name.partition(".")[0]
    return name or "own"
