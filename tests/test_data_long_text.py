"""Long texts become sentences and pieces, and nothing of them is lost."""

import pickle
import random
from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional as F

from cliptune.data.texts.long_text import LONG_TEXT, MOST_TEXTS, LongText, mean_of_pieces, pieces, sentences
from cliptune.data.texts.token_counts import token_count
from cliptune.errors import ConfigError

NOTES = Path(__file__).resolve().parents[2] / "shared/data/covid_cxr/data.parquet"
NOTE = (
    "A 72-year-old woman admitted with fever (38.6 C) and dyspnoea. She was tachypneic, with low oxygen saturation (SpO2 85%). "
    "Patient presented two days earlier with dry cough, odynophagia and general malaise. Discharged by Dr. Smith."
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog runs. It is brown! Is it? Yes.", ["A dog runs.", "It is brown!", "Is it?", "Yes."]),
        ("Seen by Dr. Smith, e.g. the lung. See No. 5 there.", ["Seen by Dr. Smith, e.g. the lung.", "See No. 5 there."]),
        ("Is it? no. Work of art. Lee et al. found J. R. Mast.", ["Is it?", "no.", "Work of art.", "Lee et al. found J. R. Mast."]),
        ("It is 3.5 cm wide. At 5 p.m. He left.", ["It is 3.5 cm wide.", "At 5 p.m.", "He left."]),
        ("1. Lungs clear. 2. In 2019. Next.", ["1. Lungs clear.", "2. In 2019.", "Next."]),
        ('He said "Stop." Then left (Fig. 1). More.', ['He said "Stop."', "Then left (Fig. 1).", "More."]),
        ("Opacity in the left lobe. there is more", ["Opacity in the left lobe.", "there is more"]),
        ("Given 5 mg. daily to all.", ["Given 5 mg. daily to all."]),
        ("a dog on a mat. it is brown. wait... what?", ["a dog on a mat.", "it is brown.", "wait... what?"]),
        ("Findings:\n- a mass\n- a node\n\nwrapped line\ngoes on", ["Findings:", "- a mass", "- a node", "wrapped line\ngoes on"]),
        ("一只狗在跑。天气很好！真的？", ["一只狗在跑。", "天气很好！", "真的？"]),  # noqa: RUF001
        ("「走る。」犬だ。", ["「走る。」", "犬だ。"]),
        ("एक कुत्ता। घास पर॥", ["एक कुत्ता।", "घास पर॥"]),
        ("هل هذا كلب؟ نعم.", ["هل هذا كلب؟", "نعم."]),
        ("no stop", ["no stop"]),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_pieces_fit_and_lose_nothing_of_any_text() -> None:
    rng = random.Random(0)
    words = ["a", "dog.", "Runs", "e.g.", "\n\n", "- x", "3.5", "狗。", "long" * 9, "!", "(Fig.", "1)."]
    for most in (1, 5, 20):
        for _ in range(100):
            text = "".join(rng.choice(words) + rng.choice([" ", "  ", "\n"]) for _ in range(rng.randrange(12)))
            parts = pieces(text, lambda part, most=most: len(part) <= most)
            assert squeezed("".join(parts)) == squeezed(text)
            assert all(part == part.strip() and 0 < len(part) <= most for part in parts)


def test_pieces_are_of_whole_sentences_and_few() -> None:
    text = "One two. Three four. Five six. Seven eight nine ten eleven. Twelve."
    assert pieces(text, lambda part: len(part.split()) <= 4) == [
        "One two. Three four.",
        "Five six.",
        "Seven eight nine ten",
        "eleven. Twelve.",
    ]
    assert pieces(text, lambda part: True) == [text]
    assert pieces("  ", lambda part: True) == []


def test_pieces_end_where_nothing_fits() -> None:
    assert pieces("ab c", lambda part: False) == ["a", "b", "c"]


def test_each_way_reads_a_long_text_as_it_says() -> None:
    tokenizer, short = SimpleTokenizer(), "a photo of a cat. A nice one."
    ways = {how: LongText(how, tokenizer, 40).choices(NOTE) for how in LONG_TEXT}
    assert ways["truncate"] == [NOTE]
    assert ways["sample_sentence"] == sentences(NOTE)
    assert len(ways["sample_sentence"]) == 4
    assert squeezed("".join(ways["split_mean"])) == squeezed(NOTE)
    assert 1 < len(ways["split_mean"]) < 4
    assert all(token_count(tokenizer, part) <= 40 for part in ways["split_mean"])
    assert [LongText(how, tokenizer, 40).choices(short) for how in LONG_TEXT] == [[short]] * 3
    exact = token_count(tokenizer, NOTE)
    assert [len(LongText("split_mean", tokenizer, n).choices(NOTE)) for n in (exact, exact - 1)] == [1, 2]


def test_sentences_that_do_not_fit_are_left_out_or_all_are_split() -> None:
    tokenizer = SimpleTokenizer()
    assert LongText("sample_sentence", tokenizer, 10).choices("A dog. " + "A cat on the mat " * 4) == ["A dog."]
    assert LongText("sample_sentence", tokenizer, 10).choices("cat " * 10) == [("cat " * 8).strip(), "cat cat"]


def test_choices_are_remembered_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cliptune.data.texts.long_text.MOST_TEXTS", 3)
    made = LongText("split_mean", SimpleTokenizer(), 10)
    texts = [f"{name} " * 20 for name in ("cat", "dog", "fox", "owl", "emu")]
    first = [made.choices(text) for text in texts]
    assert len(made._known) == 3 < MOST_TEXTS
    assert made.choices(texts[-1]) is first[-1]
    assert made.choices(texts[0]) == first[0]


def test_it_goes_to_a_worker() -> None:
    made = pickle.loads(pickle.dumps(LongText("split_mean", SimpleTokenizer(), 40)))
    assert made.choices(NOTE) == LongText("split_mean", SimpleTokenizer(), 40).choices(NOTE)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"long_text cannot be split. Did you mean split_mean\?"):
        LongText("split", SimpleTokenizer(), 77)


def test_a_mean_of_pieces_is_that_of_each_text_and_has_its_gradient() -> None:
    rows = F.normalize(torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    owner = torch.tensor([1, 0, 1, 2, 1, 0])
    means = mean_of_pieces(rows, owner, 3)
    expected = torch.stack([F.normalize(rows[owner == n].mean(dim=0), dim=0) for n in range(3)])
    assert torch.allclose(means, expected, atol=1e-12)
    assert torch.allclose(means[2], rows[3], atol=1e-12)
    weights = torch.arange(15.0, dtype=torch.float64).view(3, 5)
    found = torch.autograd.grad((means * weights).sum(), rows)[0]
    assert torch.allclose(found, torch.autograd.grad((expected * weights).sum(), rows)[0], atol=1e-12)


@pytest.mark.skipif(not NOTES.exists(), reason="needs shared/data/covid_cxr")
def test_half_of_the_clinical_notes_are_long_and_all_of_them_is_read() -> None:
    import pyarrow.parquet as pq

    notes = [note for note in pq.read_table(NOTES, columns=["notes"])["notes"].to_pylist() if note]
    tokenizer = SimpleTokenizer()
    long = [note for note in notes if token_count(tokenizer, note) > 77]
    assert (len(notes), len(long)) == (266, 124)
    for note in long:
        for how in ("sample_sentence", "split_mean"):
            parts = LongText(how, tokenizer, 77).choices(note)
            assert parts != [note]
            assert max(token_count(tokenizer, part) for part in parts) <= 77
        assert squeezed("".join(parts)) == squeezed(note)
