"""What a summary tells of guards, composition, bias and crops, made by hand, with markup among the data's own words."""

from typing import Any

EVIL = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


def guard_of(path: str, metric: str, first: float, last: float) -> dict[str, Any]:
    """What is told of a guard."""
    return {
        "path": path,
        "images": 1000,
        "texts": 0 if metric == "top1" else 5000,
        "metric": metric,
        "zero_shot": {metric: first},
        "adapted": {metric: last},
        "intervals": {"zero_shot": {metric: [first - 0.02, first + 0.02]}, "adapted": {metric: [last - 0.02, last + 0.02]}},
        "changes": {metric: {"change": last - first, "low": last - first - 0.012, "high": last - first + 0.012, "p": 0.001}},
    }


def composition_of() -> dict[str, Any]:
    """What is told of composition."""
    kinds = {"swap": 0.61, "swap: adjectives": 0.58, f"swap: {EVIL}": 0.66}

    def told(more: float) -> dict[str, Any]:
        found = {
            name: {"source": "swap", "kind": "", "score": "pair", "pairs": 300, "accuracy": share + more, "chance": 0.5, "ties": 0}
            for name, share in kinds.items()
        }
        return {"kinds": found, "examples": {"swap": [[0.31, 0.29], [0.25, 0.27 - more]]}, "unreadable": 0}

    pairs = [
        {"picture": 3, "right": "a black dog and a white cat", "wrong": "a white dog and a black cat"},
        {"picture": 4, "right": EVIL, "wrong": "x"},
    ]
    return {
        "zero_shot": told(0.0),
        "adapted": told(0.07),
        "shared": {"examples": {"swap": pairs}},
        "intervals": {
            "zero_shot": {n: [s - 0.05, s + 0.05] for n, s in kinds.items()},
            "adapted": {n: [s + 0.02, s + 0.12] for n, s in kinds.items()},
        },
        "changes": {name: {"change": 0.07, "low": 0.02, "high": 0.12, "p": 0.004} for name in kinds},
    }


def bias_of() -> dict[str, Any]:
    """What is told of bias."""

    def told(more: float) -> dict[str, Any]:
        chances = {"female": [0.3, 0.2, 0.1], "male": [0.22 - more, 0.28, 0.1], EVIL: [0.27, 0.2 + more, 0.12]}
        words = ["doctor", "nurse", EVIL]
        groups: dict[str, Any] = {
            name: {"images": 120, "compared": True, "probability": dict(zip(words, own, strict=True)), "chosen": {}, "top1": 0.7 - more}
            for name, own in chances.items()
        }
        gap = {"most": "female", "least": "male", "difference": 0.08 + more, "low": 0.02, "high": 0.14, "p": 0.01}
        skew = {"shares": dict.fromkeys(chances, 1 / 3), "max_skew": 0.21, "group": "female", "expected": 0.12, "p": 0.09}
        return {
            "column": "sex",
            "template": "a photo of a {}.",
            "words": words,
            "images": 363,
            "without": 3,
            "groups": groups | {"other": {"images": 3, "compared": False}},
            "differences": dict.fromkeys(words, gap),
            "top1": gap,
            "retrieval": {"k": 36, "words": dict.fromkeys(words, skew)},
        }

    return {"zero_shot": told(0.0), "adapted": told(0.05), "shared": {"groups": {"female": 120, "male": 120, EVIL: 120, "other": 3}}}


def crops_of(main: str) -> dict[str, Any]:
    """What is told of crops."""
    one = {"how": "5", "views": 6, "images": 400, "plain": {main: 0.61}, "crops": {main: 0.64}, "gain": {main: 0.03}}
    told = one | {"flips": {main: {"won": 21, "lost": 9, "p": 0.043}}, "seconds": {"plain": 3.1, "crops": 14.2}, "cost": 4.6}
    return {"zero_shot": told, "adapted": told, "shared": {}}
