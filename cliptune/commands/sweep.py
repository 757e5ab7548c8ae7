"""`cliptune sweep`: a recipe by several methods, with several numbers of shots and seeds; which method is worth it."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cliptune.errors import CliptuneError, ConfigError, did_you_mean

if TYPE_CHECKING:
    from cliptune.sweep.entries import Entry
    from cliptune.sweep.running import Lane

OWN = ("--methods", "--shots", "--seeds", "--jobs", "--devices", "--output", "--keep")
GIVEN = {  # keys that a sweep gives each run
    "--run.name": "Results go to --output FOLDER",
    "--run.root": "Results go to --output FOLDER",
    "--seed_everything": "Take --seeds 1,2,3",
    "--data.shots": "Take --shots 1,4,16",
    "--data.shots_file": "Take --shots 1,4,16",
    "--model.method": "Write a YAML file of entries, and name it: --methods FILE.yaml",
    "--model.objective": "Write a YAML file of entries, and name it: --methods FILE.yaml",
    "--ckpt_path": "The same command goes on with what was cut off",
    "--extend": "Extend a run of the sweep by itself",
}


@dataclass
class Options:
    """What a sweep takes beside the words of `fit`."""

    methods: str = "all"
    shots: str = "1,2,4,8,16,all"
    seeds: str = ""
    jobs: str = ""
    devices: str = ""
    output: str = ""
    keep: str = "best"


def run(words: list[str]) -> None:
    """Run `sweep`: the words are those of `fit`, and a few of its own."""
    from cliptune.quiet import quiet

    own, rest = own_options(words)
    quiet()
    from cliptune.launch import own_errors

    with own_errors():
        _sweep(own, rest, f"cliptune sweep {shlex.join(words)}")


def work(words: list[str]) -> int:
    """Run a command line of `fit` in this process, and give its status; an error is the last line that it says."""
    from cliptune.launch import run as launch

    try:
        launch(words)
    except CliptuneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def own_options(words: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the sweep's own options out of the words.

    Raises:
        ConfigError: one without its value, or a key that a sweep gives itself.
    """
    found, rest, left = Options(), [], list(words)
    while left:
        word = left.pop(0)
        key, equals, value = word.partition("=")
        given = next((name for name in GIVEN if key == name or (name.startswith("--model.") and key.startswith(f"{name}."))), None)
        if given is not None:
            raise ConfigError(f"sweep gives {given} to each of its runs. {GIVEN[given]}.")
        if key not in OWN:
            rest.append(word)
            continue
        value = value if equals else (left.pop(0) if left and not left[0].startswith("--") else "")
        if not value:
            raise ConfigError(f"sweep {key} is missing its value. See cliptune sweep --help")
        setattr(found, key[2:], value)
    return found, rest


def _sweep(own: Options, rest: list[str], command: str) -> None:
    import yaml

    from cliptune.launch import resolved, with_configs
    from cliptune.sweep.cells import cells_of
    from cliptune.sweep.course import Sweep, run_sweep
    from cliptune.sweep.entries import entries_of

    shots, keep, lanes = shots_of(own.shots), keep_of(own.keep), lanes_of(own.jobs, own.devices)
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1:
        raise ConfigError("sweep: this is one of several processes already. Start it once, and spread its runs by --jobs or --devices.")
    words, paths = with_configs(["fit", *rest])
    if not paths:
        raise ConfigError("sweep lacks --config FILE, the recipe that all methods share. See cliptune sweep --help")
    configs = [yaml.safe_load(Path(path).read_text(encoding="utf-8")) for path in paths]
    entries, seeds = entries_of(own.methods, configs), seeds_of(own.seeds, configs)
    base = yaml.safe_load(resolved([*words, "--seeds=null"]))
    name = base["run"]["name"]
    output = Path(own.output) if own.output else Path(base["run"]["root"]) / f"{name}-sweep"
    recipes = recipes_of(words, dict(zip(paths, configs, strict=True)), entries, output / "methods")
    cells = cells_of(recipes, shots, seeds, output)
    imported = ("cliptune.launch", "cliptune.commands.sweep")
    run_sweep(Sweep(name, command, output, list(recipes), shots, keep, lanes, imported), cells, work)


def recipes_of(words: Sequence[str], configs: dict[str, Any], entries: Sequence["Entry"], folder: Path) -> dict[str, str]:
    """Resolve the config of each entry.

    Args:
        words: the command line of `fit`, with paths of configs.
        configs: by path.
        entries: to lay over it.
        folder: for the files that this takes.

    Returns:
        By name, what `fit` would write as its config.
    """
    import yaml

    from cliptune.launch import resolved
    from cliptune.sweep.entries import bare

    def write(name: str, values: dict[str, Any]) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return str(file)

    bared = {path: write(f"recipe-{i}", bare(config)) for i, (path, config) in enumerate(configs.items(), 1)}
    given = {**bared, **{f"{flag}={path}": f"{flag}={file}" for path, file in bared.items() for flag in ("--config", "-c")}}
    words = [given.get(word, word) for word in words[1:]]
    plain = ["--run.pictures=false", "--run.report=false"]  # of each run; the recipe may want them
    return {one.name: resolved(["fit", *plain, *words, f"--config={write(one.name, one.over)}", "--seeds=null"]) for one in entries}


def shots_of(text: str) -> list[int | None]:
    """Read `--shots`, such as 1,4,all.

    Raises:
        ConfigError: something else than numbers above 0 and `all`, or one of them twice.
    """
    found: list[int | None] = []
    for word in filter(None, (part.strip().lower() for part in text.strip("[]").split(","))):
        if word != "all" and not (word.isdigit() and int(word)):
            raise ConfigError(f"sweep --shots: {word} is no number of images of a class. Take 1,2,4,8,16,all.")
        found.append(None if word == "all" else int(word))
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"sweep --shots {text} names {'one twice' if found else 'none'}. Take 1,2,4,8,16,all.")
    return sorted(found, key=lambda count: float("inf") if count is None else count)


def seeds_of(text: str, configs: Sequence[dict[str, Any]]) -> list[int]:
    """Read `--seeds`; where not given, those of the recipe, or 1, 2 and 3.

    Raises:
        ConfigError: they are no different whole numbers.
    """
    from cliptune.seeds import checked_seeds

    if not text:
        return checked_seeds(next((config["seeds"] for config in reversed(configs) if config.get("seeds")), [1, 2, 3]))
    words = [part.strip() for part in text.strip("[]").split(",")]
    if not all(word.isdigit() for word in words):
        raise ConfigError(f"sweep --seeds {text} is no list of whole numbers. Take 1,2,3.")
    return checked_seeds([int(word) for word in words])


def keep_of(text: str) -> Any:
    """Read `--keep`.

    Raises:
        ConfigError: it is not known.
    """
    from cliptune.sweep.course import Keep

    if text not in get_args(Keep):
        raise ConfigError(f"sweep --keep is {text}, but must be best, all or none. {did_you_mean(text, get_args(Keep))}")
    return text


def lanes_of(jobs: str, devices: str) -> list["Lane"]:
    """Read `--jobs` and `--devices`: how many runs at a time, and what each sees of the machine.

    Raises:
        ConfigError: no number above 0.
    """
    from cliptune.sweep.running import Lane

    names = [part.strip() for part in devices.strip("[]").split(",") if part.strip()]
    if jobs and not (jobs.isdigit() and int(jobs)):
        raise ConfigError(f"sweep --jobs is {jobs}, but must be how many runs go on at a time, 1 or more.")
    if not all(name.isdigit() for name in names) or len(set(names)) < len(names):
        raise ConfigError(f"sweep --devices {devices} is no list of different GPUs' numbers. Take 0,1.")
    count = int(jobs) if jobs else max(len(names), 1)
    told = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(told) if told.isdigit() and int(told) else max((os.cpu_count() or 1) // count, 1)
    return [Lane(names[i % len(names)] if names else None, threads) for i in range(count)]
