"""What the numbers and choices of `ImageTextData` may be."""

from cliptune.data.options import Options
from cliptune.data.texts.templates import TEMPLATE
from cliptune.errors import ConfigError, did_you_mean

SPLITS = ("train", "validation", "test")


def check_arguments(paths: list[str], options: Options, needs: set[str]) -> None:
    """Refuse what cannot be, before anything is opened.

    Args:
        paths: of the sources.
        options: as given.
        needs: what the objective compares images with.

    Raises:
        ConfigError: naming the value, the rule and the way out.
    """
    if not paths:
        raise ConfigError("data: path is empty. Give digits, a file, a folder or a hub id.")
    _check_numbers(options)
    if isinstance(options.views, str) and options.views not in ("auto", "fresh"):
        raise ConfigError(f"data: views {options.views!r} is not known. Take auto, fresh, 0, or a number of views.")
    if options.shots is None and options.shots_column is not None:
        raise ConfigError(f"data: shots_column {options.shots_column} is set without shots. Set shots to the number of the list.")
    if options.shots_file is not None and (options.shots is not None or options.shots_column is not None):
        raise ConfigError("data: shots_file lists the images, and shots chooses others. Leave out one of them.")
    if (options.swaps or options.negative_column) and "pairs" not in needs:
        raise ConfigError(
            "data: hard negatives (negative_column, swaps) serve Contrastive and Sigmoid. Leave them out, or use one of these."
        )
    if options.weight_column is not None and options.sampler != "weighted":
        raise ConfigError(f"data: weight_column {options.weight_column} serves the sampler weighted. Set data.sampler: weighted.")
    if options.descriptions is not None and options.templates not in (TEMPLATE, [TEMPLATE]):
        raise ConfigError("data: descriptions take the place of templates, and both are set. Leave out one of them.")
    if options.streaming:
        _check_stream(paths, options)
    if options.sampler != "pk" and (options.classes_per_batch or options.images_per_class):
        raise ConfigError("data: classes_per_batch and images_per_class serve the sampler pk. Set data.sampler: pk, or leave them out.")
    if options.sampler == "pk" and not (options.classes_per_batch and options.images_per_class):
        raise ConfigError("data: the sampler pk needs classes_per_batch and images_per_class. Set both, such as 16 and 4.")
    if options.sampler == "weighted" and options.weight_column is None:
        raise ConfigError("data: the sampler weighted goes by a column. Set data.weight_column.")
    for names in (options.splits, *(part.splits for part in options.sources)):
        _check_splits(names or {})


def _check_numbers(options: Options) -> None:
    rules = [
        ("batch_size", options.batch_size >= 1, "is not positive. Take 64."),
        ("workers", (options.workers or 0) >= 0, "is negative. Take 0 to decode in the main process, or leave it out."),
        ("views", isinstance(options.views, str) or options.views >= 0, "is negative. Take 0 for evaluation's view, or a number of views."),
        ("shots", options.shots is None or options.shots >= 1, "is not positive. Take 16, or leave it out for all."),
        ("swaps", options.swaps >= 0, "is negative. Take 1 to 4, or 0 for none."),
        ("max_bad", 0 <= options.max_bad <= 1, "is no share in 0..1. Take 0.01."),
        ("flip", options.flip is None or 0 <= options.flip <= 1, "is no probability in 0..1. Take 0.5, or 0 for never."),
        ("epoch_rows", options.epoch_rows is None or options.epoch_rows >= 1, "is not positive. Give the rows of an epoch."),
        ("shuffle_buffer", options.shuffle_buffer >= 1, "is not positive. Take 10000."),
        ("eval_rows", options.eval_rows >= 1, "is not positive. Take 2000."),
        ("label_separator", options.label_separator != "", "is empty. Give what stands between labels, such as |."),
    ]
    for name, right, why in rules:
        if not right:
            raise ConfigError(f"data: {name} {getattr(options, name)} {why}".replace("  ", " "))
    scale = options.crop_scale
    if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"data: crop_scale {list(scale)} is not two growing shares in 0..1. Take [0.9, 1.0].")


def _check_splits(names: dict[str, str | list[str]]) -> None:
    unknown = [name for name in names if name not in SPLITS]
    if unknown:
        raise ConfigError(f"data: splits has the unknown {unknown[0]!r}. {did_you_mean(unknown[0], SPLITS)}")
    listed = {ours: [theirs] if isinstance(theirs, str) else theirs for ours, theirs in names.items()}
    for ours, theirs in listed.items():
        if not theirs or len(set(theirs)) < len(theirs):
            raise ConfigError(f"data: splits names {theirs} for {ours}. Name one or more, each once.")
    for one, other in (("validation", "test"), ("train", "test"), ("train", "validation")):
        both = next((name for name in listed.get(one, []) if name in listed.get(other, [])), None)
        if both is not None:
            raise ConfigError(
                f"data: splits takes {both} for {one} and {other}. A model that is chosen or trained on what it is tested on "
                f"says nothing of new images: leave {one if one == 'validation' else other} out, and it is held out of train."
            )


def _check_stream(paths: list[str], options: Options) -> None:
    refused = {
        "shots": options.shots is not None or options.shots_file is not None,
        "sources": bool(options.sources),
        "path (several)": len(paths) > 1,
        "eval_path": options.eval_path is not None,
        "decoded": options.decoded,
        "classes": options.classes != "all",
        "where": bool(options.where),
        "group_column": options.group_column is not None,
        "splits (a list)": any(not isinstance(theirs, str) for theirs in (options.splits or {}).values()),
        "sampler": options.sampler != "shuffle",
        "views": isinstance(options.views, int),
    }
    for name, wanted in refused.items():
        if wanted:
            raise ConfigError(
                f"data: {name} needs to know all rows, and a stream is read as it comes. Leave out data.{name} or data.streaming."
            )
