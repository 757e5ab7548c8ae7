"""`cliptune doctor`: what the data is like before anything is trained on it, and what config that speaks for."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliptune.errors import ConfigError

if TYPE_CHECKING:
    from cliptune.data.images import ImageTextData
    from cliptune.doctor.report import Report

OWN = ("--output", "--write", "--open", "--zero-shot")


@dataclass
class Options:
    """What the doctor takes beside the words of `fit`."""

    output: Path | None = None
    write: Path | None = None
    open: bool = False
    zero_shot: int | None = None


def run(words: list[str]) -> None:
    """Run `doctor`: the words are those of `fit`, and a few of its own."""
    from cliptune.quiet import quiet

    own, rest = own_options(words)
    quiet()
    from cliptune.launch import own_errors

    with own_errors():
        _doctor(own, rest)


def own_options(words: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the doctor's own options out of the words.

    Raises:
        ConfigError: one without its value, or with one that is of another kind.
    """
    found, rest, left = Options(), [], list(words)
    while left:
        word = left.pop(0)
        key, equals, value = word.partition("=")
        if key not in OWN:
            rest.append(word)
            continue
        if key == "--open":
            found.open = value.lower() != "false"
            continue
        value = value if equals else (left.pop(0) if left and not left[0].startswith("--") else "")
        if not value:
            raise ConfigError(f"doctor {key} is missing its value. See cliptune doctor --help")
        if key == "--zero-shot":
            if not value.isdigit() or int(value) < 1:
                raise ConfigError(f"doctor --zero-shot is {value}, but must be a number of images, 1 or more. Take 2000.")
            found.zero_shot = int(value)
        else:
            setattr(found, key[2:], Path(value))
    return found, rest


def _doctor(own: Options, words: list[str]) -> None:
    from rich.console import Console

    from cliptune.doctor.page import write_page
    from cliptune.doctor.report import write_json
    from cliptune.doctor.terminal import print_report

    if own.write is not None:
        _check_write(own.write, words)
    report, root = examine(words, own.zero_shot)
    folder = own.output or Path(root) / f"doctor-{report.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "doctor.json", report)
        write_page(folder / "doctor.html", report)
        if own.write is not None:
            own.write.parent.mkdir(parents=True, exist_ok=True)
            own.write.write_text(report.fixed, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"doctor cannot write {error.filename or folder}: {error.strerror or error}. Give another --output.") from None
    console = Console(highlight=False, soft_wrap=False)
    print_report(report, console)
    console.print()
    lines = [f"page: {folder / 'doctor.html'}   data: {folder / 'doctor.json'}"]
    lines.append(f"config: {own.write}   next: cliptune fit --config {own.write}" if own.write else "config: --write fixed.yaml writes it")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if own.open:
        import webbrowser

        webbrowser.open((folder / "doctor.html").resolve().as_uri())


def _check_write(file: Path, words: Sequence[str]) -> None:
    """Keep the user's own config from being written over."""
    given = [word.partition("=")[2] or after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--config")]
    if any(Path(name).exists() and file.exists() and Path(name).samefile(file) for name in given):
        raise ConfigError(f"doctor --write {file} is the config itself. Give another name, such as fixed.yaml.")


def examine(words: Sequence[str], images: int | None = None) -> tuple["Report", str]:
    """Look at the data of a command line of `fit`.

    Args:
        words: after `cliptune doctor`, less its own options.
        images: of the zero-shot sample at most.

    Returns:
        What was found, and the folder of runs.
    """
    import yaml

    from cliptune.cli import AdaptCLI, Parser
    from cliptune.doctor.fixed import fixed_config, merged, with_keys
    from cliptune.doctor.problems import problems
    from cliptune.doctor.recommend import recommend
    from cliptune.doctor.report import Report
    from cliptune.doctor.scan import scan
    from cliptune.doctor.zero_shot import IMAGES, zero_shot
    from cliptune.launch import prepared
    from cliptune.run import versions

    class Parts(AdaptCLI):
        """Makes backbone, method, objective and data, and no trainer."""

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            """Make none."""

        def _run_subcommand(self, subcommand: str) -> None:
            """Run nothing."""

    found, name = prepared(["fit", *words])
    parts = Parts(found, name)
    config = yaml.safe_load(parts.resolved)
    data: ImageTextData = parts.datamodule
    _set_up(data)
    findings = scan(data)
    with bar("zero-shot") as told:
        zero = zero_shot(parts.model.backbone, data, images or IMAGES, told)
    advice = recommend(findings, zero, config)
    given = merged([yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {} for file in Parser.configs])
    keys = [match[1] for word in words if (match := re.match(r"--([\w.]+)", word)) and match[1] != "config"]
    fixed = fixed_config(with_keys(given, keys, config), advice, config, name)
    report = Report(config["run"]["name"] or name, findings, zero, problems(findings, zero, config), advice, fixed, versions())
    return report, str(config["run"]["root"])


def _set_up(data: "ImageTextData") -> None:
    """Open the data, a batch that is larger than it included: the doctor says so, and goes on."""
    if data.options.streaming:
        raise ConfigError("the doctor looks at every row, and a stream is read as it comes. Give it the files: leave out data.streaming.")
    batch, data.batch_size = data.batch_size, 1
    data.setup()
    data.batch_size = batch


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar, on a terminal; gives what is called with how much is done, of how much."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, whole: shown.update(task, completed=done, total=whole)
