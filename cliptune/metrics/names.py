"""What metrics are called, and which way they are better."""

LESS = ("nll", "ece", "median_rank")  # how the names begin of what is better when it is less
SHORT = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "map": "mAP",
    "ece": "ECE",
    "nll": "NLL",
    "recall": "mean recall",
}
BEGINNINGS = {"median_rank_": "median rank, ", "recall@": "R@", "map@": "mAP@"}
WAYS = {"_image_to_text": " image to text", "_text_to_image": " text to image"}


def higher(metric: str) -> bool:
    """Whether more of it is better."""
    return not metric.rpartition("/")[2].startswith(LESS)


def short(metric: str) -> str:
    """Its name for people, by its key with or without the split."""
    name = metric.rpartition("/")[2]
    plain = name.removesuffix("_calibrated")
    told = SHORT.get(plain, plain)
    for spelled, words in (*BEGINNINGS.items(), *WAYS.items(), ("_", " ")):
        told = told.replace(spelled, words)
    return told if name == plain else f"{told}, calibrated"
