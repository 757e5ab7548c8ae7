"""What the scan found in the texts: captions, class names and their language, as plain values."""

from dataclasses import dataclass, field

from cliptune.doctor.places import Kind, Spread


@dataclass(frozen=True)
class Repeated:
    """A caption, and the rows of train that have it."""

    text: str
    count: int


@dataclass
class FalseNegatives:
    """What a batch of training takes for wrong though it is right.

    Args:
        batch_size: B, of a step on each device.
        per_batch: expected ordered pairs (image, text of another row) of a random batch that share a caption, a class or an image.
        per_image: the same for one image, whose texts of other rows are B - 1.
        share: of all such pairs.
        by: `per_image` of each reason alone: `caption`, `label`, `image`.
    """

    batch_size: int = 0
    per_batch: float = 0.0
    per_image: float = 0.0
    share: float = 0.0
    by: dict[str, float] = field(default_factory=dict)


@dataclass
class CaptionFacts:
    """The captions of all splits, or, where there are none, the texts around class names.

    Args:
        source: `captions` or `classes`.
        count: texts.
        distinct: different ones.
        tokens: of a text, start and end included, before anything is cut.
        context_length: tokens that the text tower reads.
        truncated: texts that are longer.
        truncated_words: the share of all tokens that is lost so.
        repeated: captions of several rows of train, the most frequent first, at most `LISTED`.
        repeated_rows: rows of train that share their caption with another row.
        odd: rows by kind of text, see `TEXT_KINDS`; `detail` is the text.
        empty: rows dropped when the data was opened since they have no caption.
        false_negatives: of the configured batch.
    """

    source: str = "captions"
    count: int = 0
    distinct: int = 0
    tokens: Spread = field(default_factory=Spread)
    context_length: int = 0
    truncated: int = 0
    truncated_words: float = 0.0
    repeated: list[Repeated] = field(default_factory=list)
    repeated_rows: int = 0
    odd: dict[str, Kind] = field(default_factory=dict)
    empty: int = 0
    false_negatives: FalseNegatives = field(default_factory=FalseNegatives)

    @property
    def truncated_share(self) -> float:
        """Truncated texts of all; 0 where there are none."""
        return self.truncated / max(self.count, 1)


@dataclass(frozen=True)
class CutName:
    """A class name that the tokenizer cuts in pieces.

    Args:
        name: the class.
        pieces: the word that is cut most, as its pieces.
    """

    name: str
    pieces: list[str]


@dataclass
class ClassFacts:
    """The classes.

    Args:
        names: in the order of their numbers.
        imbalance: images of train's largest class over those of its smallest that has any; 0 without classes.
        effective: exp of the entropy of train's classes: so many equally large classes would be as uncertain.
        largest_share: of train's largest class.
        absent: classes without an image in a split, by split.
        only_in: labels of other splits that train lacks.
        cut: names that the tokenizer cuts, the most pieces first.
    """

    names: list[str] = field(default_factory=list)
    imbalance: float = 0.0
    effective: float = 0.0
    largest_share: float = 0.0
    absent: dict[str, list[str]] = field(default_factory=dict)
    only_in: dict[str, list[str]] = field(default_factory=dict)
    cut: list[CutName] = field(default_factory=list)


@dataclass
class LanguageFacts:
    """How the tokenizer takes the language of the texts.

    Args:
        scripts: share of the texts by the script of most of their letters (`Latin`, `Cyrillic`, ...).
        tokens_per_word: mean.
        broken: share of texts that the tokenizer breaks into bytes or unknowns.
        example: one of these, or "".
        backbones: multilingual backbones of open_clip that would serve, `ARCHITECTURE:PRETRAINED`; empty where not needed.
    """

    scripts: dict[str, float] = field(default_factory=dict)
    tokens_per_word: float = 0.0
    broken: float = 0.0
    example: str = ""
    backbones: list[str] = field(default_factory=list)
