"""Which transforms, texts, sampling and caching; each only where the data has the key and something speaks for it."""

import re

from cliptune.doctor.facts import Facts
from cliptune.doctor.problems import IMBALANCE, TRUNCATED
from cliptune.doctor.settings import Recommendation, known, value_at

MEDICAL = ("dermoscop", "x-ray", "xray", "radiograph", "histolog", "histopath", "ct scan", "ct slice", "mri", "ultrasound", "fundus",
           "endoscop", "microscop", "blood smear", "patholog", "mammogra", "retina")  # fmt: skip
LARGER = 2.0  # times the model's input, from where decoding and resizing takes longer than the rest of an image's way
ROOM = 20e9  # bytes that decoded images may take on disk before one should be asked
GUESSING = 0.15  # the skill below which words say next to nothing


def data_advice(facts: Facts, method: str) -> list[Recommendation]:
    """All that is to be said of the section `data`, and of the backbone's input."""
    rules = (_transform, _long_text, _rare_classes, _monitor, _templates, _max_bad, _workers, _backbone, _image_size)
    found = [one for rule in rules if (one := rule(facts)) is not None]
    decoded = _decoded(facts, method)
    return [one for one in [*found, decoded] if one is not None and (known(facts.config, one.key) or not one.apply)]


def _transform(facts: Facts) -> Recommendation | None:
    key, looks, images = "data.transform", facts.zero.looks, facts.findings.images
    current, whole = value_at(facts.config, key), max(images.readable, 1)
    if facts.zero.vectors:
        return None
    deep = sum(images.odd[kind].count for kind in ("dicom", "16_bit") if kind in images.odd)
    word = _medical_word(facts)
    if deep / whole >= 0.5:
        why = f"{deep:,} images are DICOM or of 16 bits, as scanners write them: no mirroring and no new colours, which carry meaning."
        return Recommendation("transforms", key, "medical", current, why)
    if word:
        why = f"The texts say {word!r}: no mirroring and no other colours, which carry meaning there."
        return Recommendation("transforms", key, "medical", current, why)
    if looks.document:
        why = f"Large, {looks.white:.0%} white, without colour: sheets of paper, of which mirroring makes other signs."
        return Recommendation("transforms", key, "document", current, why)
    if looks.pixel_art:
        why = (
            f"{looks.short_side:.0f} pixels of a side and {looks.colours:.0f} colours (medians): enlarged by nearest neighbour, edges stay."
        )
        return Recommendation("transforms", key, "pixel_art", current, why)
    if images.grey / whole >= 0.9:
        why = f"{images.grey / whole:.0%} of the images are grey, as scans and writing are: `medical` neither mirrors nor recolours them."
        return Recommendation("transforms", key, "medical", current, why)
    if "JPEG" in images.formats and images.formats["JPEG"] / whole > 0.9 and facts.by_classes and current in (None, "clip"):
        why = "If these are photographs whose colour and side mean nothing, `photo` mirrors and recolours them; pixels cannot tell."
        return Recommendation("transforms", key, "photo", current, why, apply=False)
    return None


def _medical_word(facts: Facts) -> str:
    given = value_at(facts.config, "data.templates", [])
    texts = [given] if isinstance(given, str) else list(given)
    texts += [str(value_at(facts.config, "data.text") or ""), *facts.findings.classes.names]
    texts += [one.text for one in facts.findings.captions.repeated[:50]]
    said = " ".join(texts).lower()
    return next((word for word in MEDICAL if re.search(rf"\b{re.escape(word)}", said)), "")


def _long_text(facts: Facts) -> Recommendation | None:
    key, texts = "data.long_text", facts.findings.captions
    current = value_at(facts.config, key)
    if texts.truncated_share < TRUNCATED or current not in ("truncate", None):  # what reads all of a text already is left as it is
        return None
    why = (
        f"{texts.truncated_share:.0%} of the texts are longer than {texts.context_length} tokens, and {texts.truncated_words:.0%} of all "
        "words would never be read: a sentence drawn each epoch lets training see all of them."
    )
    return Recommendation("long text", key, "sample_sentence", current, why, "Zheng et al. 2024, DreamLIP")


def _rare_classes(facts: Facts) -> Recommendation | None:
    """For the user to judge where validation is as uneven as train: top-1 there rewards saying the largest class."""
    classes, objective = facts.findings.classes, value_at(facts.config, "model.objective")
    sampled = known(facts.config, "data.sampler")
    if not (facts.by_classes or (facts.classes and sampled)) or classes.imbalance < IMBALANCE or "balanced" in str(objective):
        return None
    if sampled and value_at(facts.config, "data.sampler") != "shuffle":
        return None
    key, value = "data.sampler", "balanced"
    if not sampled:
        key, value = "model.objective", {"class_path": "CrossEntropy", "init_args": {"class_weights": "balanced"}}  # type: ignore[assignment]
    even = _nearer_to_even(facts)
    why = f"Train's largest class has {classes.imbalance:,.0f} times the images of its smallest. Evenly, rare classes are learned too"
    why += (
        ", and validation has them evenly too."
        if even
        else f": accuracy per class rises. Top-1 may fall, for {classes.largest_share:.0%} of the images are of one class there as well. "
        "Set it if rare classes matter."
    )
    source = "Kang et al. 2020, Decoupling Representation and Classifier, sec. 3" if sampled else "King and Zeng 2001"
    return Recommendation("rare classes", key, value, value_at(facts.config, key), why, source, apply=even)


def _monitor(facts: Facts) -> Recommendation | None:
    """For the user to judge likewise."""
    key, classes = "watch.monitor", facts.findings.classes
    current = value_at(facts.config, key)
    if not facts.classes or facts.several or classes.imbalance < IMBALANCE or current not in (None, "val/score", "val/top1"):
        return None
    why = f"It chooses the checkpoint by accuracy per class: always saying the largest class has {classes.largest_share:.0%} of top-1."
    source = "Brodersen et al. 2010, The Balanced Accuracy and Its Posterior Distribution"
    return Recommendation("metric", key, "val/mean_per_class", current, why, source, apply=False)


def _nearer_to_even(facts: Facts) -> bool:
    """Whether validation has the classes more as equals than as train has them, by the distance of the shares in total variation."""
    train, other = (facts.findings.splits[name].labels for name in ("train", "validation"))
    whole, rows, count = sum(train.values()), sum(other.values()), max(len(train), 1)
    if not whole or not rows:
        return False
    shares = [(train[label] / whole, other.get(label, 0) / rows) for label in train]
    return sum(abs(b - 1 / count) for _, b in shares) < sum(abs(b - a) for a, b in shares)


def _templates(facts: Facts) -> Recommendation | None:
    key = "data.templates"
    current = value_at(facts.config, key)
    plain = current in ("a photo of a {}.", ["a photo of a {}."])
    plain = plain and not value_at(facts.config, "data.descriptions")
    if not facts.classes or not plain or facts.zero.classes is None or facts.zero.classes.skill > GUESSING:
        return None
    why = (
        "Zero-shot hardly beats guessing with the default template. Say what the images are, such as 'a satellite image of a {}.' or "
        "'a dermoscopic image of a {}.': it costs nothing, and every method starts from there."
    )
    return Recommendation("templates", key, ["a KIND OF IMAGE of a {}."], current, why, "Radford et al. 2021, sec. 3.1.4", apply=False)


def _max_bad(facts: Facts) -> Recommendation | None:
    key, images = "data.max_bad", facts.findings.images
    share, current = images.unreadable / max(images.readable + images.unreadable, 1), value_at(facts.config, "data.max_bad")
    if not isinstance(current, (int, float)) or share <= current:
        return None
    why = f"{share:.1%} of the images are unreadable, and a fit stops beyond {current:.1%}. Mend them, or raise it if they may be missing."
    return Recommendation("bad images", key, round(share * 1.1 + 0.005, 2), current, why, apply=False)


def _workers(facts: Facts) -> Recommendation | None:
    current = value_at(facts.config, "data.workers")
    if current != 0 or facts.rows < 2000 or facts.zero.vectors:
        return None
    why = f"{facts.rows:,} images are decoded in the process that trains; null takes a process for each core but one."
    return Recommendation("workers", "data.workers", None, current, why)


def _decoded(facts: Facts, method: str) -> Recommendation | None:
    key, images, side = "data.decoded", facts.findings.images, facts.zero.input_side
    learning = method in ("Full", "LoRA") and value_at(facts.config, "data.views") in ("auto", "fresh", None)
    larger = images.short_sides.median / max(side, 1)
    size = facts.rows * 3 * (1.15 * side) ** 2
    if not learning or larger < LARGER or size > ROOM or facts.zero.vectors or not known(facts.config, key):
        return None
    why = (
        f"The images are {larger:.1f} times as large as the model's input, and each epoch decodes them again. Decoded and resized once, "
        f"they take about {size / 1e6:,.0f} MB on disk."
    )
    return Recommendation("decoded cache", key, True, value_at(facts.config, key), why, "cliptune's documentation: Benchmarks")


def _backbone(facts: Facts) -> Recommendation | None:
    languages = facts.findings.languages
    if not languages.backbones:
        return None
    why = (
        f"The tokenizer breaks {languages.broken:.0%} of the texts into bytes, which the text tower hardly knows. These read them: "
        f"{', '.join(languages.backbones)}. They must be fetched first."
    )
    name, _, tag = languages.backbones[0].partition(":")
    current = value_at(facts.config, "model.backbone.name")
    return Recommendation("backbone", "model.backbone", {"name": name, "pretrained": tag}, current, why, apply=False)


def _image_size(facts: Facts) -> Recommendation | None:
    side, median = facts.zero.input_side, facts.findings.images.short_sides.median
    detail = facts.zero.looks.document or _transform_value(facts) == "medical"
    if not side or median < 2 * side or not detail or facts.zero.small:
        return None
    value = 2 * side
    why = f"The images are {median:.0f} pixels, the input {side}: small signs are lost. {value} shows more, at four times the cost."
    return Recommendation(
        "image size", "model.backbone.image_size", value, value_at(facts.config, "model.backbone.image_size"), why, apply=False
    )


def _transform_value(facts: Facts) -> str:
    found = _transform(facts)
    return "" if found is None else str(found.value)
