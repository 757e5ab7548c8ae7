"""`cliptune export`: a run in the form that another library reads, with proof and a model card."""

from pathlib import Path
from typing import Literal

from cliptune.call import call
from cliptune.errors import ConfigError


def run(words: list[str]) -> None:
    """Run `export`."""
    call("export", words, export)


def export(
    model: str,
    *,
    format: str = "",
    output: Path | None = None,
    blend: float | Literal["auto"] | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    guard: str | None = None,
    samples: int = 64,
    push: str | None = None,
    private: bool = False,
    keep: float | None = None,
) -> None:
    """Write a model in another library's form, and say what the proof found.

    Args:
        model: a run folder, or what `cliptune.load` takes.
        format: see `export.exporting.FORMATS`.
        output: the folder to write; the model's name and the format where not given.
        blend: the share of what was learned that counts, or `auto`.
        precision: of onnx.
        guard: other data, to see what was forgotten.
        samples: images of the proof.
        push: the id of a model on the Hugging Face hub to upload to.
        private: make it private there.
        keep: the least share of the guard's zero-shot score that `blend auto` may leave.
    """
    if not format:
        raise ConfigError("export needs a form: --format open_clip, transformers, onnx, peft, classifier or torch_export.")
    from cliptune.quiet import quiet

    quiet()
    from cliptune.export.exporting import Export

    if push is not None:
        from cliptune.push import check_push

        check_push(push)

    folder = output or Path(f"{Path(model).name}-{format}")
    exporting = Export(model, format, folder, blend, precision, guard, samples, keep)
    proof = exporting()
    print("\n".join(proof.lines()))
    speed = {key: proof.facts.get(key) for key in ("images_per_second", "torch_images_per_second")}
    if all(speed.values()):
        ratio = speed["images_per_second"] / speed["torch_images_per_second"]  # type: ignore[operator]
        print(f"{speed['images_per_second']:.0f} images/s there, {speed['torch_images_per_second']:.0f} here: {ratio:.2f} times")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"written: {folder}  ({_size(size)}; README.md is its card)")
    print()
    print(exporting.kind.usage(exporting.model, str(folder)))
    if push is not None:
        from cliptune.push import push as upload

        print(f"\npushed: {upload(folder, push, private)}")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"
