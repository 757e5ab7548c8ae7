"""Captions for steps, in a file that imports nothing: it is in the processes whose memory is measured."""

THINGS = ("dog", "child", "boat", "house", "horse", "woman", "bicycle", "mountain")
DEEDS = ("standing beside a tall tree", "seen from above", "in the soft light of an early morning", "on a busy street")


def captions(count: int, full: bool) -> list[str]:
    """Distinct captions of 7 to 12 tokens, or ones that fill the context."""
    short = [f"a {THINGS[i % 8]} {DEEDS[i // 8 % 4]}" + (f" {i // 32}" if i >= 32 else "") for i in range(count)]
    return [" ".join([text] * 20) for text in short] if full else short
