"""All sources together: their splits one after another, the classes that they share, and the images that few shots leave."""

from dataclasses import replace
from typing import Any, NamedTuple

from cliptune.data.classes import Classes, half_of, name_classes, read_names
from cliptune.data.labels import LabelRules, Labels, read_map, word_of
from cliptune.data.opening import Opened, filled, open_part, part_of
from cliptune.data.options import Options, Part
from cliptune.data.shot_lists import names_of
from cliptune.data.shots import Chosen, few_shot, shots_of_file
from cliptune.data.split import Split
from cliptune.data.usable import LeftOut
from cliptune.errors import DataError, did_you_mean


class Gathered(NamedTuple):
    """What the sources hold."""

    splits: dict[str, list[Split]]  # train, validation and test, each of one or more sources
    weights: list[float] | None  # of train's sources
    classes: Classes
    notes: list[str]
    left_out: list[LeftOut]
    chosen: Chosen | None = None  # the images that few shots left


def parts_of(paths: list[str], options: Options) -> list[Part]:
    """The sources of training, one that is named twice twice."""
    return [filled(part, options) for part in options.sources] or [part_of(path, options) for path in paths]


def gather(paths: list[str], options: Options, needs: set[str]) -> Gathered:
    """Open all sources.

    Args:
        paths: of `data.path`, where `options.sources` names none.
        options: of the data.
        needs: what the objective compares images with.

    Raises:
        DataError: a source does not hold what is wanted, or they do not fit one another.
    """
    parts = parts_of(paths, options)
    evals = [part_of(options.eval_path, options)] if options.eval_path else _once(parts)
    opened = {_key(part): open_part(part, options, needs) for part in _once([*parts, *evals])}
    classes = name_classes([split for part in evals for split in opened[_key(part)].splits.values()], read_names(options.class_names))
    _check_labels(opened, options)
    few = options.shots is not None or options.shots_file is not None
    used = {"train": [_key(part) for part in _once(parts)], "validation": [_key(part) for part in evals]}
    if few:  # of all classes, so that both halves have the images that they have there
        opened, used = _few(opened, used, options)
    if options.classes != "all":
        half = half_of(classes, options.classes)
        opened, classes = {key: _only(one, half, classes) for key, one in opened.items()}, half
    chosen: Chosen | None = None
    told: list[str] = []
    if few:
        chosen, told = _chosen(opened, used, options)
    splits = {
        "train": [opened[_key(part)].splits["train"] for part in parts],
        "validation": [opened[_key(part)].splits["validation"] for part in evals],
        "test": [opened[_key(part)].splits["test"] for part in evals],
    }
    notes = [f"{part.path}: {opened[_key(part)].note}" for part in _once([*parts, *evals]) if opened[_key(part)].note]
    notes += [*told, *([classes.note] if classes.note else [])]
    return Gathered(splits, _weights(parts), classes, notes, [lost for one in opened.values() for lost in one.left_out], chosen)


def _key(part: Part) -> str:
    """What is opened once, whatever weight it has."""
    return repr(replace(part, weight=None))


def _once(parts: list[Part]) -> list[Part]:
    return list({_key(part): part for part in parts}.values())


def _check_labels(opened: dict[str, Opened], options: Options) -> None:
    """Refuse rules for labels that no source has: a typing error would change nothing, in silence."""
    renamed = read_map(options.label_map)
    if not (renamed or options.ignore_classes):
        return
    splits = [split for one in opened.values() for split in one.splits.values() if split.labels]
    plain = LabelRules(separator=options.label_separator)
    raw = {label for split in splits for label in Labels(split.whole, str(split.columns.label), plain).distinct()}
    dropped = {lost.reason for one in opened.values() for lost in one.left_out}
    for key, wanted, known in (("label_map", list(renamed), raw), ("ignore_classes", options.ignore_classes, {*raw, *renamed.values()})):
        odd = [name for name in wanted if word_of(name) not in known]
        if odd and not (key == "ignore_classes" and any("label that counts" in reason for reason in dropped)):
            raise DataError(f"{key} has {odd[0]!r}, which is no label of the data. {did_you_mean(str(odd[0]), sorted(known))}")


def _only(opened: Opened, wanted: Classes, classes: Classes) -> Opened:
    """Of a source the rows of the wanted classes, and of the labels of a row those."""
    others = frozenset(classes.number) - frozenset(wanted.number)
    kept = {}
    for name, split in opened.splits.items():
        if split.labels is None:
            raise DataError(f"data path {split.name}: classes keeps half of the classes, and there are no labels. Set label_column.")
        rules = replace(split.reading.labels, ignored=frozenset(split.reading.labels.ignored) | others)
        kept[name] = split.select(split.labels.mask(wanted.number).nonzero()[0], split.reading._replace(labels=rules))
    return opened._replace(splits=kept)


def _few(opened: dict[str, Opened], used: dict[str, list[str]], options: Options) -> tuple[dict[str, Opened], dict[str, list[str]]]:
    """Keep few shots of the sources that are used, by split; and of which they are."""
    parts = [{name: one.splits[name] for name, keys in used.items() if key in keys} for key, one in opened.items()]
    if options.shots_file is not None:
        rows = shots_of_file(parts, options.shots_file)
    else:
        assert options.shots is not None
        rows = [few_shot(splits, options.shots, options.shots_column, options.seed) for splits in parts]
    found = {}
    for (key, one), numbers in zip(opened.items(), rows, strict=True):
        found[key] = one._replace(splits={**one.splits, **{name: one.splits[name].select(chosen) for name, chosen in numbers.items()}})
    return found, {name: keys for name, keys in used.items() if any(name in numbers for numbers in rows)}


def _chosen(opened: dict[str, Opened], used: dict[str, list[str]], options: Options) -> tuple[Chosen, list[str]]:
    """Which images few shots left, of the sources that are used, by split; and how many."""
    if options.shots_file is not None:
        about: dict[str, Any] = {"shots_file": options.shots_file}
    else:
        about = {"shots": options.shots, "seed": options.seed, "shots_column": options.shots_column}
    how = f"{options.shots} of a class" if options.shots is not None else f"by {options.shots_file}"
    ids: dict[str, list[str]] = {"train": [], "validation": []}
    for name, keys in used.items():
        for place, key in enumerate(keys):
            names = names_of(opened[key].splits[name])
            ids[name] += [f"{place}:{each}" for each in names] if len(keys) > 1 else names
    trains = [opened[key].splits["train"] for key in used["train"]]
    empty = next((train.name for train in trains if not len(train)), None)
    if empty is not None:
        raise DataError(f"data path {empty}: none of its images is among the few. Leave it out, or take other shots.")
    return Chosen(about, ids), [f"{train.name.removesuffix('/train')}: {len(train)} images of train, {how}" for train in trains]


def _weights(parts: list[Part]) -> list[float] | None:
    """How often each source is seen; None where each row comes once an epoch."""
    given = [part.weight for part in parts]
    if all(weight is None for weight in given):
        return None
    if any(weight is None for weight in given):
        raise DataError("some sources have a weight, and others none. Give each one, or none at all.")
    return [float(weight or 0) for weight in given]
