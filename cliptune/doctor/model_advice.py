"""Which method, objective, batch and learning rate: rules of a few lines each, with what they rest on."""

from typing import Any

from cliptune.doctor.facts import Facts
from cliptune.doctor.settings import Recommendation, arguments_of, class_of, value_at

SWEEPS = "cliptune's documentation: Which method should I use? On nine sets of images, with nano"
FEW, MANY = 4, 100  # images of a class: below, only class rows; from there on, all weights
PAIRS_FEW, PAIRS_MANY = 1000, 20_000  # images with captions: below, low-rank changes; from there on, all weights
STEPS = 10  # of an epoch, at least, as far as batches are not below
LEAST = 8
WORDS_ONLY = ("LinearProbe", "PromptTuning")  # methods that learn from class names alone
RATES = {"Full": 3e-4, "LoRA": 2e-4, "LinearProbe": 2e-4, "PromptTuning": 5e-5}  # of nano: the shipped configs, which were measured
NEAR = 3.2  # times more or less, within which a learning rate is left as it is


def method(facts: Facts) -> Recommendation:
    """What learns."""
    current = value_at(facts.config, "model.method")
    name, reason, source = _method(facts)
    value: Any = current if class_of(current) == name else name
    if name == "LoRA" and facts.zero.small and value == name:
        value = {"class_path": "LoRA", "init_args": {"rank": 8, "targets": ["q", "k", "v", "mlp"]}}
    if name == "LinearProbe" and value == name and not facts.several and class_of(value_at(facts.config, "model.objective")) != "Sum":
        value = {"class_path": "LinearProbe", "init_args": {"solver": "lbfgs"}}
    return Recommendation("method", "model.method", value, current, reason, source)


def _method(facts: Facts) -> tuple[str, str, str]:
    rows, each = f"{facts.rows:,} images of train", f"{facts.per_class:,.0f} images of a class (median)"
    if facts.zero.vectors:
        return "LinearProbe", "The data holds rows that a tower gave before, so no tower can learn.", ""
    if facts.fresh_start:
        return "Full", "A backbone that starts from random weights must learn all of them.", ""
    if not facts.by_classes:
        return _for_captions(facts, rows)
    if value_at(facts.config, "data.classes") in ("base", "new") and not value_at(facts.config, "data.descriptions"):
        reason = "Other classes shall be named later: learned words stand around any name, where learned class rows serve only their own."
        return "PromptTuning", reason, "Zhou et al. 2022, CoOp"
    if facts.per_class < FEW:
        reason = f"{each} are too few to move a tower. Class rows that are drawn towards zero-shot hardly fall below it, and take seconds."
        return "LinearProbe", reason, "Silva-Rodriguez et al. 2024, CLAP, sec. 4"
    if facts.zero.small:
        if facts.per_class >= MANY:
            return "Full", f"{each}, and a backbone of few parameters: with so many, all of them learned did best on most sets.", SWEEPS
        return "LinearProbe", f"{each}: with a small backbone, class rows did about as well as all weights, in seconds.", SWEEPS
    if facts.verdict == "words" and facts.per_class < 16:
        share = facts.zero.distance.neighbours or 0.0
        reason = f"The images are told apart without words ({share:.0%} by the nearest image), so new class rows are what is missing."
        return "LinearProbe", reason, "Huang et al. 2024, LP++"
    if facts.per_class < MANY:
        reason = f"{each}: low-rank changes of both towers learn from so few, and keep the rest of what the backbone knows."
        return "LoRA", reason, "Zanella and Ben Ayed 2024, CLIP-LoRA, sec. 4"
    if facts.verdict == "near":
        reason = f"{each}, but the backbone knows this well: changing all weights loses more elsewhere than it wins here."
        return "LoRA", reason, "Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features"
    return (
        "Full",
        f"{each} hold all weights, and the data is far enough from what the backbone knows to need them.",
        "Goyal et al. 2023, FLYP",
    )


def _for_captions(facts: Facts, rows: str) -> tuple[str, str, str]:
    few = PAIRS_FEW if facts.zero.small else PAIRS_MANY
    if facts.rows < few:
        reason = f"{rows} with captions are few: low-rank changes of both towers learn from them and keep the rest."
        return "LoRA", reason, "Zanella and Ben Ayed 2024, CLIP-LoRA, sec. 4"
    if facts.verdict == "near" and not facts.zero.small:
        return "LoRA", f"{rows} with captions, of a kind that the backbone knows well: small changes are enough.", "Hu et al. 2021, LoRA"
    return "Full", f"{rows} with captions hold all weights of both towers.", "Goyal et al. 2023, FLYP"


def objective(facts: Facts, method: str) -> Recommendation:
    """What is minimised, for the recommended method."""
    current = value_at(facts.config, "model.objective")
    name, arguments, reason, source = _objective(facts, method)
    kept = arguments_of(current) if class_of(current) == name else {}
    if class_of(current) == "Sum":
        return Recommendation("objective", "model.objective", current, current, "A Sum of your own is left as it is.")
    if all(kept.get(key) == value for key, value in arguments.items()) and class_of(current) == name:
        return Recommendation("objective", "model.objective", current, current, reason, source)
    value: Any = {"class_path": name, "init_args": kept | arguments} if kept | arguments else name
    return Recommendation("objective", "model.objective", value, current, reason, source)


def _objective(facts: Facts, method: str) -> tuple[str, dict[str, Any], str, str]:
    if facts.by_classes or (method in WORDS_ONLY and facts.classes):
        why = f"{method} learns from class names." if method in WORDS_ONLY else "Classes are all there is to learn."
        reason = f"{why} Each image is compared with every class at each step, and how frequent a class is can be learned."
        return "CrossEntropy", {}, reason, ""
    if facts.zero.sigmoid:
        return "Sigmoid", {}, "The backbone was pretrained so, and has the bias that it needs.", "Zhai et al. 2023, SigLIP"
    if facts.classes and facts.findings.captions.distinct > 4 * facts.classes:
        reason = "The captions say more than the label: images of one class with other captions count as different."
        return "Contrastive", {"same": ["caption", "image"]}, reason, "cliptune's documentation: Objectives"
    return "Contrastive", {}, "Images have captions; what is equal in a batch is no negative.", "Radford et al. 2021"


def batch_size(facts: Facts, objective: str) -> Recommendation:
    """How many at a step."""
    current = int(value_at(facts.config, "data.batch_size", 64))
    least = min(LEAST, facts.rows)
    most = max(_power(facts.rows / STEPS), least)
    if objective == "CrossEntropy":
        low, high, target = min(16, most), most, min(64, most)
        why = f"{facts.rows:,} rows: some {STEPS} steps of an epoch or more; each image is compared with all classes whatever the batch."
    else:
        equal = facts.findings.captions.false_negatives
        share = (equal.by.get("caption", 0.0) + equal.by.get("image", 0.0)) / max(equal.batch_size - 1, 1)
        most = min(most, 1024, max(_power(1 / share), least) if share > 0 else 1024)
        low, high, target = min(64, most), most, min(256, most)
        why = f"Every pair of the batch is a negative for the others, so larger is better; {facts.rows:,} rows allow {high:,}."
        if share >= 1e-4:
            why += f" Of two rows, {share:.2%} have the same caption or image: at {high:,} each has less than one double beside it."
        if current < low and target > current:
            why += " model.chunk_size gives the same gradient in less memory."
    value = current if low <= current <= high else target
    return Recommendation("batch size", "data.batch_size", value, current, why)


def _power(number: float) -> int:
    """The greatest power of two that is no more than a number; 1 at least."""
    return 1 << (max(int(number), 1).bit_length() - 1)


def learning_rate(facts: Facts, method: str) -> Recommendation:
    """Of full fine-tuning, on which each method has its own factor."""
    key = "model.optimizer.init_args.lr"
    current = value_at(facts.config, key)
    if facts.fresh_start:
        target, reason, source = 5e-4, "The backbone starts from random weights.", "Radford et al. 2021, table 20"
    elif facts.zero.small:
        target = RATES.get(method, 3e-4)
        reason, source = "A small backbone with weak pretraining wants far more than a real CLIP.", "the shipped configs"
    else:
        target, source = 1e-5, "Goyal et al. 2023, FLYP, sec. 4; the methods' papers through lr_factor"
        reason = f"Right for full fine-tuning of a real CLIP; {method} has its own factor on it (lr_factor)." if method != "Full" else (
            "Right for full fine-tuning of a real CLIP; ten times more soon destroys what it knows."
        )  # fmt: skip
    near = isinstance(current, (int, float)) and target / NEAR <= current <= target * NEAR
    return Recommendation("learning rate", key, current if near else target, current, reason, source)
