"""Texts and names that a tokenizer breaks up are found, and the backbones that would not."""

from pathlib import Path

import open_clip
import pytest
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from cliptune.data.texts import languages
from cliptune.data.texts.languages import broken, cut_words, main_script, multilingual_backbones, script_of, tells

RUSSIAN = "собака бежит по зелёной траве"
TEXTS = {
    "Cyrillic": RUSSIAN,
    "Han": "一只狗在草地上奔跑。",
    "Hiragana": "犬が草の上を走っている",
    "Arabic": "كلب يجري على العشب",
    "Hangul": "개가 풀밭에서 달린다",
    "Devanagari": "एक कुत्ता घास पर दौड़ रहा है",
    "Greek": "ο σκύλος τρέχει στο γρασίδι",  # noqa: RUF001
    "Thai": "สุนัขวิ่งบนหญ้า",
}
LATIN = [
    "a dog",
    "ein großer Hund läuft über die Wiese",
    "un café à la crème brûlée",
    "con chó chạy trên cỏ xanh",
    "5 µm thick",
    "a dog 🐶🫎🪿",
]


def wrapped(folder: Path, made: Tokenizer, **special: str) -> HFTokenizer:
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", **special).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=64)


def byte_pairs(folder: Path, texts: list[str], size: int) -> HFTokenizer:
    """A byte-level encoding that learned from some texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=["[PAD]"], initial_alphabet=alphabet))
    return wrapped(folder, made)


def test_clip_breaks_what_is_not_latin_and_says_which_script() -> None:
    found = broken(SimpleTokenizer(), list(TEXTS.values()))
    assert [text.script for text in found] == list(TEXTS)
    assert min(text.share for text in found) > 0.8
    latin = broken(SimpleTokenizer(), LATIN)
    assert max(text.share for text in latin) < 0.5
    assert {text.script for text in latin} == {"Latin"}
    assert [latin[0].share, latin[-1].share] == [0.0, 0.0]  # emoji are no language


def test_shares_are_of_the_texts_own_tokens() -> None:
    tokenizer = SimpleTokenizer()  # six tokens for the word, two of them bytes
    found = broken(tokenizer, ["собака", "a dog собака"])
    assert [text.share for text in found] == [1.0, 6 / 8]
    assert [text.script for text in found] == ["Cyrillic", "Cyrillic"]


def test_a_tokenizer_that_learned_the_language_is_not_told_of(tmp_path: Path) -> None:
    knows = byte_pairs(tmp_path / "knows", [RUSSIAN] * 9, 400)
    lacks = byte_pairs(tmp_path / "lacks", ["a dog runs over green grass"] * 9, 400)
    assert broken(knows, [RUSSIAN])[0].share < 0.2
    assert broken(lacks, [RUSSIAN])[0].share > 0.9
    assert tells(knows, [RUSSIAN]).share == 0.0
    assert tells(lacks, [RUSSIAN, "a dog"]).share == 0.5


def test_unknown_words_are_broken(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "[PAD]": 1, "a": 2, "dog": 3, "狗": 4, "соб": 5, "##ака": 6}  # noqa: RUF001
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = wrapped(tmp_path, made, unk_token="[UNK]")
    assert [text.share for text in broken(tokenizer, ["a собака", "a dog καλός", "狗", "a dog"])] == [0.0, 1 / 3, 0.0, 0.0]
    assert cut_words(tokenizer, ["собака", "a dog", "狗"]) == {"собака": ["соб", "ака"]}  # noqa: RUF001


def test_bytes_that_stand_in_for_a_character_are_broken(tmp_path: Path) -> None:
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "<unk>", *(f"<0x{n:02X}>" for n in range(256)), "\u2581", *"собак"])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer = wrapped(tmp_path, made, unk_token="<unk>")
    assert [text.share for text in broken(tokenizer, ["狗猫", "со", "с"])] == [6 / 7, 2 / 3, 0.0]  # noqa: RUF001  # one more is the blank


def test_what_is_told_is_short_and_of_several_scripts() -> None:
    texts = [RUSSIAN + "!", RUSSIAN, *TEXTS.values(), "a dog", "the cat"]
    found = tells(SimpleTokenizer(), texts)
    assert found.share == 10 / 12
    assert next(iter(found.scripts.items())) == ("Cyrillic", 3)
    assert set(found.scripts) == set(TEXTS)
    assert len(found.examples) == len({main_script(text) for text in found.examples}) == 3
    assert tells(SimpleTokenizer(), []) == (0.0, {}, [])


def test_scripts_of_letters() -> None:
    assert [script_of(letter) for letter in "aéяλ狗々のカーｶ한Ａ𝐀1!🐶"] == [  # noqa: RUF001
        "Latin", "Latin", "Cyrillic", "Greek", "Han", "Han", "Hiragana", "Katakana", "Katakana", "Katakana", "Hangul", "Latin", "Latin",
        "", "", "",
    ]  # fmt: skip
    assert [main_script(text) for text in ("", "123 🐶", "µm", "я и dog")] == ["Latin"] * 4


def test_cut_names_are_listed_with_their_pieces() -> None:
    tokenizer = SimpleTokenizer()
    found = cut_words(tokenizer, ["red panda", "trilobite", "vascular lesion", "747-400", "trilobite", "crème"])
    assert list(found) == ["trilobite", "vascular lesion", "crème"]
    assert found["vascular lesion"] == ["le", "sion"]
    assert all("".join(pieces) in name for name, pieces in found.items())
    assert len(found["trilobite"]) == len(tokenizer.encode("trilobite"))
    assert cut_words(tokenizer, ["бы"]) == {"бы": ["<D0>", "<B1>", "<D1>", "<8B>"]}


def test_multilingual_backbones_are_open_clips_own() -> None:
    found = multilingual_backbones()
    assert set(found) <= set(open_clip.list_pretrained())
    names = {name for name, _ in found}
    families = ("xlm-roberta", "nllb-clip", "SigLIP2", "i18n", "worldwide")
    assert all(any(family in name for name in names) for family in families)
    assert {name for name, _ in open_clip.list_pretrained() if any(family in name for family in families)} == names
    assert not names & {"ViT-B-32", "ViT-B-16-SigLIP", "roberta-ViT-B-32", "ViT-L-14-CLIPA"}


def test_an_architecture_that_is_new_is_known_by_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = {"new": {"text_cfg": {"vocab_size": 256_000}}, "old": {"text_cfg": {"vocab_size": 49408}}}
    configs["bert"] = {"text_cfg": {"hf_model_name": "bert-base-multilingual-cased"}}
    monkeypatch.setattr(languages.open_clip, "list_pretrained", lambda: [("old", "x"), ("new", "y"), ("bert", "z"), ("none", "w")])
    monkeypatch.setattr(languages.open_clip, "get_model_config", configs.get)
    assert multilingual_backbones() == [("bert", "z"), ("new", "y")]
