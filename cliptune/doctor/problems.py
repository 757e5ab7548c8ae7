"""What is wrong with the data, or unusual, and what to do about it: the worst first. A pure function of what was found."""

from dataclasses import dataclass, field

from cliptune.doctor.findings import Findings
from cliptune.doctor.places import UNREADABLE, Place
from cliptune.doctor.settings import Values, class_of, value_at
from cliptune.doctor.zero_shot import ZeroShot

LEVELS = ("stop", "warn", "note")
IMBALANCE = 10.0  # the least that studies of long tails look at (Cui et al. 2019, "Class-Balanced Loss", sec. 5.1)
TRUNCATED = 0.05  # share of texts
FEW = 100  # images of a split, whose top-1 is then known to no better than ten points (Wilson's interval)
CAUSES = {
    "missing": "{n} image files are not there",
    "empty": "{n} image files have 0 bytes",
    "not_image": "{n} files are no images",
    "truncated": "{n} image files are cut off",
    "broken": "{n} image files cannot be decoded",
    "bomb": "{n} images have more pixels than is safe to decode",
}
ODDITIES = {
    "blank": ("warn", "{n} images show a single colour", "Look at them: they teach nothing but their label."),
    "wrong_suffix": ("note", "{n} files are of another format than their name says", "They are read by their content, so nothing is lost."),
    "animated": ("note", "{n} images are animated", "Their first frame is used. Cut out the frame that you mean, if it is another."),
    "extreme_aspect": ("note", "{n} images are more than four times as long as wide", "Evaluation sees their middle alone. Cut them."),
    "tiny": ("note", "{n} images are eight times smaller than the model's input, or more", "Try `transform: pixel_art`, or larger ones."),
    "16_bit": ("note", "{n} images have 16 bits", "They are scaled to 8. Where a window of values matters, cut it out before."),
    "cmyk": ("note", "{n} images are CMYK", "They are turned into RGB, without a colour profile."),
    "alpha": (
        "note",
        "{n} images have transparency",
        "What is transparent gets the colour of `model.backbone.background`, white unless set.",
    ),
    "palette": ("note", "{n} images have a palette", "They are turned into RGB, which loses nothing."),
    "exif_rotated": ("note", "{n} images are turned by EXIF", "They are turned upright before anything else."),
    "odd_end": ("note", "{n} files do not end as they should", "They decode. Save them again where other programs stumble."),
    "dicom": ("note", "{n} files are DICOM", "They need `pip install 'cliptune[dicom]'`."),
}
CAPTIONS = {
    "number": "numbers",
    "url": "addresses of web pages",
    "file_name": "file names",
    "html": "pieces of HTML",
    "single_token": "a single token",
}

ONE = {"images": "image", "files": "file", "pairs": "pair", "captions": "caption", "rows": "row", "are": "is", "have": "has"} | {
    "show": "shows",
    "repeat": "repeats",
}  # words of titles where the number is one


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, or unusual.

    Args:
        level: `stop` where a fit would end, or its numbers be wrong; `warn` where it would be worse; `note` for what is good to know.
        title: what.
        way: what to do.
        kind: of the files, where it is about files; else "".
        places: some of them.
    """

    level: str
    title: str
    way: str
    kind: str = ""
    places: list[Place] = field(default_factory=list)


def problems(findings: Findings, zero: ZeroShot, config: Values) -> list[Problem]:
    """List what is wrong.

    Args:
        findings: of the scan.
        zero: what the untouched backbone says.
        config: as `fit` resolves it.
    """
    found = [
        *_of_config(findings, zero, config),
        *_of_files(findings, float(value_at(config, "data.max_bad", 0.01) or 0)),
        *_of_copies(findings),
        *_of_splits(findings),
        *_of_classes(findings, zero),
        *_of_texts(findings),
    ]
    return sorted(found, key=lambda problem: LEVELS.index(problem.level))


def _of_config(findings: Findings, zero: ZeroShot, config: Values) -> list[Problem]:
    found, rows, batch = [], findings.splits["train"].rows, int(value_at(config, "data.batch_size", 0))
    if batch > rows:
        found.append(Problem("stop", f"a batch of {batch} is more than the {rows:,} rows of train", "Set data.batch_size lower."))
    if class_of(value_at(config, "model.objective")) == "CrossEntropy" and not findings.classes.names:
        found.append(Problem("stop", "CrossEntropy needs classes, and there are none", "Set data.label_column, or take Contrastive."))
    return found


def _of_files(findings: Findings, max_bad: float) -> list[Problem]:
    odd, found = findings.images.odd, []
    whole = findings.images.readable + findings.images.unreadable
    share = findings.images.unreadable / max(whole, 1)
    of = f"{findings.images.unreadable:,} of {whole:,} images ({share:.2%})"
    limit = f"{of} are unreadable, and a fit stops beyond `data.max_bad`, {max_bad:.2%}. Mend them, or take their rows out."
    way = limit if share > max_bad else "They are skipped, counted and listed in a run. Mend them, or take their rows out."
    for kind in UNREADABLE:
        if kind in odd:
            title = _counted(CAUSES[kind], odd[kind].count)
            found.append(Problem("stop" if share > max_bad else "warn", title, way, kind, odd[kind].places))
    for kind, (level, title, way) in ODDITIES.items():
        if kind in odd:
            found.append(Problem(level, _counted(title, odd[kind].count), way, kind, odd[kind].places))
    return found


def _of_copies(findings: Findings) -> list[Problem]:
    found, copies = [], findings.duplicates
    for where, count in copies.across.items():
        if count:
            first, _, second = where.partition(" in ")
            whole = max(findings.splits[first].rows, 1) if first in findings.splits else 1
            title = _counted(f"{{n}} images of {first} ({count / whole:.1%}) are in {second} too", count)
            what = "scores on it count what was learned by heart" if second == "train" else "what is chosen on one is known to the other"
            level = "stop" if first == "test" and second == "train" else "warn"
            found.append(Problem(level, title, f"Take them out of {second}: {what}.", "across"))
    if copies.conflicts:
        title = _counted("{n} pairs of copies have different labels", copies.conflicts)
        found.append(Problem("warn", title, "Look at them: at most one of the labels is right.", "conflict"))
    for split, count in copies.inside.items():
        if count:
            share = count / max(findings.splits[split].rows, 1) if split in findings.splits else 0.0
            title = _counted(f"{{n}} images of {split} ({share:.1%}) repeat others in it", count)
            found.append(Problem("warn" if share > 0.05 else "note", title, "They count several times. Keep one of each.", "inside"))
    return found


def _of_splits(findings: Findings) -> list[Problem]:
    found = []
    for name, split in findings.splits.items():
        for reason, count in split.left_out.items():
            if count:
                found.append(
                    Problem(
                        "warn", _counted(f"{{n}} rows of {name} are left out: {reason}", count), "Fill in what is missing, if it is there."
                    )
                )
        if name != "train" and 0 < split.rows < FEW:
            title = f"{name} has {split.rows} rows: its scores are known to about ten points"
            found.append(Problem("note", title, "Compare several seeds before believing a difference."))
        if split.unlabelled and findings.classes.names:
            found.append(Problem("note", _counted(f"{{n}} rows of {name} have no label", split.unlabelled), "They count in no accuracy."))
    return found


def _of_classes(findings: Findings, zero: ZeroShot) -> list[Problem]:
    found, classes = [], findings.classes
    if classes.imbalance >= IMBALANCE:
        title = (
            f"the largest class of train has {classes.imbalance:,.0f} times the images of the smallest ({classes.largest_share:.0%} of all)"
        )
        way = f"Always saying it would be right in {classes.largest_share:.0%}: look at accuracy per class, and see the recommendations."
        found.append(Problem("warn", title, way))
    for split, names in classes.absent.items():
        if names:
            level = "warn" if split == "train" else "note"
            found.append(Problem(level, f"{split} has no image of {_some(names)}", "Nothing is learned or measured of them there."))
    for split, names in classes.only_in.items():
        if names:
            found.append(Problem("warn", f"{split} has labels that train lacks: {_some(names)}", "They can only be right by zero-shot."))
    if zero.distance.alike:
        a, b, cosine = zero.distance.alike[0]
        title = f"the texts of {a!r} and {b!r} are nearly the same to the backbone (cosine {cosine:.3f})"
        more = f", and {len(zero.distance.alike) - 1} more pairs" if len(zero.distance.alike) > 1 else ""
        found.append(Problem("note", title + more, "Words that tell them apart, in class_names or templates, help every method."))
    if classes.cut:
        most = classes.cut[0]
        title = f"the tokenizer cuts {len(classes.cut)} class names, {most.name!r} into {' + '.join(most.pieces)}"
        found.append(Problem("note", title, "A plainer word in class_names may be known better."))
    return found


def _of_texts(findings: Findings) -> list[Problem]:
    found, texts, language = [], findings.captions, findings.languages
    if texts.truncated:
        title = (
            f"{texts.truncated:,} texts ({texts.truncated_share:.0%}) are longer than the {texts.context_length} tokens that are read; "
            f"{texts.truncated_words:.0%} of all words are lost"
        )
        level = "warn" if texts.truncated_share >= TRUNCATED else "note"
        found.append(Problem(level, title, "data.long_text chooses what is read of them."))
    for kind, what in CAPTIONS.items():
        if kind in texts.odd:
            odd = texts.odd[kind]
            found.append(
                Problem(
                    "warn", _counted(f"{{n}} captions are {what}", odd.count), "Take these rows out, or give their words.", kind, odd.places
                )
            )
    if texts.empty:
        found.append(Problem("note", _counted("{n} rows have an empty caption", texts.empty), "They are left out."))
    if texts.source == "captions" and texts.repeated:
        first = texts.repeated[0]
        title = f"{texts.repeated_rows:,} rows share their caption with others; the most frequent, {first.text[:60]!r}, has {first.count:,}"
        found.append(Problem("note", title, "Contrastive and Sigmoid do not take such pairs for wrong ones."))
    if language.broken >= TRUNCATED:
        better = f" Multilingual backbones: {', '.join(language.backbones[:3])}." if language.backbones else ""
        title = f"the tokenizer breaks {language.broken:.0%} of the texts into bytes, such as {language.example[:60]!r}"
        found.append(Problem("warn", title, f"It hardly knows this language.{better}"))
    return found


def _some(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _counted(title: str, count: int) -> str:
    """A title with its number, in the singular where it is one."""
    words = title.replace("{n}", f"{count:,}").split(" ")
    return " ".join(ONE.get(word, word) if count == 1 and i < 6 else word for i, word in enumerate(words))
