"""Runs one command: names of shipped configs become paths, libraries are quiet, and a mistake of the user comes out as one error."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from cliptune import errors
from cliptune.cli import AdaptCLI, Parser
from cliptune.data.workers import lost
from cliptune.errors import CliptuneError, ConfigError, did_you_mean
from cliptune.parse_errors import check_config
from cliptune.quiet import quiet
from cliptune.seeds import asked_seeds, run_seeds
from cliptune.shipped import OVERLAYS, laid_over, recipe_folder, shipped_config, shipped_configs, shipped_recipes

DEFAULTS = {"method": "Full", "objective": "Contrastive"}


def run(words: Sequence[str]) -> None:
    """Run one command; errors of the user come out as `CliptuneError`."""
    quiet()
    with own_errors():
        seeds = asked_seeds(*with_configs(list(words)))
        if seeds is None or "--help-all" in words:
            AdaptCLI(*prepared(words))
        else:
            run_seeds(list(words), seeds, resolved)


def prepared(words: Sequence[str]) -> tuple[list[str], str]:
    """The command line as the parser reads it, and the name of the run where it gives none."""
    found, configs = with_configs(list(words))
    Parser.made, Parser.configs = [], configs
    found = with_defaults(found, configs)
    return ["--help" if word == "--help-all" else word for word in found], Path(configs[0]).stem if configs else words[0]


class _Resolving(AdaptCLI):
    """A fit that stops before anything is made of its config."""

    def instantiate_classes(self) -> None:
        """Make nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing."""


def resolved(words: Sequence[str]) -> str:
    """The config that a fit would run with, as it would write it into the run folder."""
    return _Resolving(*prepared(words)).resolved


def with_configs(words: list[str]) -> tuple[list[str], list[str]]:
    """Turn the names of shipped configs into paths.

    Args:
        words: the command line.

    Returns:
        The command line with paths, and the configs' paths.

    Raises:
        ConfigError: a config that is neither a file nor shipped, that is no map of known sections, or an overlay with nothing below it.
    """
    paths: list[str] = []
    for i, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag not in ("--config", "-c") or (not equals and i + 1 == len(words)):
            continue
        value = value if equals else words[i + 1]
        path = Path(value)
        if not path.is_file():
            found = shipped_config(value)
            if found is None:
                raise ConfigError(f"config {value}{_no_config(value)}")
            path = found
        words[i if equals else i + 1] = f"{flag}={path}" if equals else str(path)
        check_config(path)
        if not paths and (below := laid_over(path)):
            raise ConfigError(f"config {value} is an overlay, which changes a recipe and is none. Give one before it: {below}")
        paths.append(str(path))
    return words, paths


def _no_config(name: str) -> str:
    """What a name is that is no config's, and what was meant."""
    short = {recipe: "/".join(recipe.split("/")[-2:]) for recipe in shipped_recipes()}
    if (folder := recipe_folder(name)) is not None:
        inside = [recipe for recipe in short if recipe.startswith(f"{folder}/") and Path(recipe).name not in OVERLAYS]
        kind = "data set" if any(recipe.rpartition("/")[0] == folder for recipe in inside) else "domain"
        return f" is a {kind}, not a recipe. Its recipes: {', '.join(short[recipe] for recipe in inside)}."
    path = Path(name)
    near = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    return f": there is no such file. {did_you_mean(name, [*near, *shipped_configs(), *short.values()])}"


def with_defaults(words: list[str], configs: list[str]) -> list[str]:
    """Name the method and the objective where nobody does.

    As the parser's defaults they would hand on their own arguments, such as `towers`, to a method that is named instead of them.
    """
    models = [yaml.safe_load(Path(config).read_text(encoding="utf-8")).get("model") or {} for config in configs]
    given = {key for model in models if isinstance(model, dict) for key in model}
    for key, name in DEFAULTS.items():
        if key not in given and not any(word.partition("=")[0] == f"--model.{key}" for word in words):
            words = [words[0], f"--model.{key}={name}", *words[1:]]
    return words


@contextmanager
def own_errors() -> Iterator[None]:
    """Of an error that a library wrapped around one of ours let out ours alone."""
    try:
        yield
    except Exception as error:
        ours = _cause(error)
        if ours is None or ours is error:
            raise
        raise ours from None


def _cause(error: BaseException | None) -> CliptuneError | None:
    """Our own error inside one that a library wrapped it in (a worker process's comes as text)."""
    while error is not None:
        text = re.search(r"cliptune\.errors\.(\w+): (.+)", str(error))
        if text:
            kind = getattr(errors, text[1], CliptuneError)
            return kind(text[2].strip())
        if isinstance(error, CliptuneError):
            return error
        if (found := lost(error)) is not None:
            return found
        error = error.__cause__ or error.__context__
    return None
