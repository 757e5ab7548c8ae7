"""Which way a metric is better."""

LESS = ("nll", "ece", "median_rank")  # how the names begin of what is better when it is less


def higher(metric: str) -> bool:
    """Whether more of it is better."""
    return not metric.rpartition("/")[2].startswith(LESS)
