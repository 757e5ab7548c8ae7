"""What can be set of the data: every key of `data.` but the path."""

from dataclasses import dataclass, field
from typing import Literal

from cliptune.data.texts.templates import TEMPLATE

Presets = Literal["clip", "photo", "medical", "pixel_art", "document"]
Samplers = Literal["shuffle", "balanced", "weighted", "distinct", "pk"]
LongTexts = Literal["truncate", "sample_sentence", "split_mean"]


@dataclass
class Part:
    """One of several sources. What is not set is as for all of them.

    Args:
        path: as `data.path`.
        weight: share of an epoch's rows, against the other sources' weights; by default each row comes once an epoch.
        image_column: this source's.
        caption_column: this source's.
        label_column: this source's.
        negative_column: this source's.
        split_column: this source's.
        splits: this source's own names for train, validation and test.
        where: which of this source's rows are used.
        text: this source's phrase over columns.
        templates: the texts around this source's class names in training; evaluation takes those for all.
    """

    path: str
    weight: float | None = None
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    negative_column: str | None = None
    split_column: str | None = None
    splits: dict[str, str | list[str]] | None = None
    where: dict[str, str | list[str]] | None = None
    text: str | None = None
    templates: str | list[str] | None = None


@dataclass
class Options:
    """How data is read, chosen and seen.

    Args:
        sources: several sources instead of `path`, each with its own weight, columns and templates.
        eval_path: where validation and test come from, if not from `path`.
        batch_size: pairs of a step, on each device.
        image_column: the column of images or image paths; `auto` finds it.
        caption_column: the column of captions, one text or a list of several; `auto`, or null not to use captions.
        text: a caption made of columns, such as "a photo of a {label} at {place}"; where a cell is empty, what belongs to it is left out.
        label_column: the column of labels, or of lists of them; `auto`, or null not to use labels.
        label_separator: what stands between several labels in a cell, such as "|".
        label_map: other names for labels: a map, or a JSON file of one; several labels may get the same name.
        ignore_classes: labels that do not count; an image that has no other is left out.
        split_column: the column that names the splits; `auto` takes one called split, null none.
        splits: this source's own names for train, validation and test, where they are unusual; a list puts several together.
        where: the values that columns must have for a row to be used, such as {view: [PA, AP], finding: "*"}; "*" is anything but an empty
            cell, "" an empty one.
        group_column: the column that says which rows belong together, such as a patient's; what is held out of train is whole groups.
        class_names: the names of the classes: a list, or a file with a name per line or a JSON list. Integer labels count into it;
            labels that are words are the names themselves.
        classes: `base` keeps the first half of the classes alone, `new` the other half, for training and evaluation alike (CoCoOp's
            base-to-new protocol).
        templates: texts around a class name, `{}` its place: one, or several, of which training draws one and evaluation means all; or
            `imagenet` (CLIP's 80), `simple` (7 of them), or a file, a JSON list or a template per line.
        descriptions: a JSON file of sentences for each class, in place of templates: {"cat": ["A cat is ...", ...], ...} (CuPL's format).
        long_text: what is done with a text that is longer than the context: `truncate` it; `sample_sentence` draws one of its sentences
            for each training view; `split_mean` sees it in pieces and means their rows, in training and evaluation.
        transform: what a training view does to an image, beside what `crop_scale` and `flip` say: docs/transforms.md.
        crop_scale: least and greatest share of an image's area that a training view keeps; by the transform where not given.
        flip: probability of mirroring a training view; by the transform where not given.
        views: training views of an image: `fresh` draws a new one each epoch, 0 takes evaluation's, K draws that many once, and epochs
            take turns; `auto` is 0 where the method leaves the image tower frozen, so that it need run only once, and `fresh` elsewhere.
        sampler: which rows meet in a batch. `shuffle`: at random; `balanced`: classes equally often; `weighted`: by `weight_column`;
            `distinct`: no two images of a class in a batch; `pk`: so many classes, so many images of each.
        weight_column: how often a row is seen, against others, by the sampler `weighted`.
        classes_per_batch: classes in a batch of all devices, of the sampler `pk`.
        images_per_class: images of each, of the sampler `pk`.
        shots: images of each class that training sees, and at most 4 of each in validation (CoOp's protocol); all where not given.
        shots_column: the column of published few-shot lists, such as `train_shot16_seed1`; the seed draws where not given.
        shots_file: a file that lists the images of training: a run's `few_shot.json`, CoOp's JSON, or an image per line.
        cache: keep what frozen towers give on disk, for later epochs and runs; without it the numbers are the same.
        decoded: keep training images decoded and shrunk on disk, so that later epochs and runs only crop them.
        cache_gb: GB that all that is kept may take; by default the environment's CLIPTUNE_CACHE_GB, or 20.
        activations_gb: GB that what enters the first block that learns may take, where only the last blocks learn.
        streaming: read training rows as they come, over the network too, without a copy of the data on disk.
        epoch_rows: rows of an epoch of a stream, over all devices; by default as many as the source says that it has.
        shuffle_buffer: rows of a stream that are shuffled together.
        eval_rows: rows of a stream's validation, and of its test, that are read once and held in memory.
        workers: processes that decode, of each device; null for one less than the cores, 8 at most, shared among devices; 0 for none.
        max_bad: share of a split's images that may be unreadable; they are left out and listed in the run's `bad_samples.csv`.
        allow_outside: let image paths in a table lead out of its folder.
        negative_column: the column of texts that are much like an image's caption and not true of it, one or a list.
        swaps: hard negatives made of each training text, by words that change places (attributes first, then word order).
        seed: of order, views, texts and few shots; what is held out of train is the same for every seed.
    """

    sources: list[Part] = field(default_factory=list)
    eval_path: str | None = None
    batch_size: int = 64
    image_column: str = "auto"
    caption_column: str | None = "auto"
    text: str | None = None
    label_column: str | None = "auto"
    label_separator: str | None = None
    label_map: str | dict[str, str] | None = None
    ignore_classes: list[str] = field(default_factory=list)
    split_column: str | None = "auto"
    splits: dict[str, str | list[str]] | None = None
    where: dict[str, str | list[str]] | None = None
    group_column: str | None = None
    class_names: str | list[str] | None = None
    classes: Literal["all", "base", "new"] = "all"
    templates: str | list[str] = TEMPLATE
    descriptions: str | None = None
    long_text: LongTexts = "truncate"
    transform: Presets = "clip"
    crop_scale: tuple[float, float] | None = None
    flip: float | None = None
    views: int | Literal["auto", "fresh"] = "auto"
    sampler: Samplers = "shuffle"
    weight_column: str | None = None
    classes_per_batch: int | None = None
    images_per_class: int | None = None
    shots: int | None = None
    shots_column: str | None = None
    shots_file: str | None = None
    cache: bool = True
    decoded: bool = False
    cache_gb: float | None = None
    activations_gb: float = 4.0
    streaming: bool = False
    epoch_rows: int | None = None
    shuffle_buffer: int = 10_000
    eval_rows: int = 2_000
    workers: int | None = None
    max_bad: float = 0.01
    allow_outside: bool = False
    negative_column: str | None = None
    swaps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Take sources as plain maps too, as a config has them."""
        self.sources = [part if isinstance(part, Part) else Part(**part) for part in self.sources]
