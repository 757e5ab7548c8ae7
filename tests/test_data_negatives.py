"""Hard negatives: what changes places, what does not, and what stays as it was."""

import numpy as np
import pytest

from cliptune.data.texts.negatives import swaps

CAPTIONS = [
    "A brown dog is chasing a white cat through the tall grass.",
    "The horse is eating the grass",
    "Two children and a man in a red shirt, sitting on a wooden bench.",
    "A girl wearing a striped sweater and a boy wearing a plaid jacket",
    "a photo of a dog",
    "An old woman sits to the left of a young man!",
    "the lamp is in front of the vase and the cup is behind the plate",
    "A black and white dog running through the snow",
    "“A cat sits on a mat,” he said.",
    "The man's dog carries a stick; nobody knows why.",
    "2 dogs and 3 cats",
    "a dermoscopic image of a nevus on the lower extremity of a 75 year old male.",
    "  A  dog\n bites a   man !",
    "A RED CAR IN FRONT OF A HOUSE",
    "pixel art sprite of a soldier ant, animal.",
    "Der Hund jagt die Katze im Garten.",
    "빨간 공이 파란 상자 위에 있다",
    "Un perro muerde a un gato",
    "İstanbul at night",
    "A hat on a hat",
    "The, the, the",
    "don't eat the yellow snow",
    "x " * 500 + "the dog bites a man",
    "... --- ...",
    "'s",
    "개",
    "",
]


def all_of(text: str, seed: int = 0) -> list[str]:
    return swaps(text, 1000, np.random.default_rng(seed))


def normal(text: str) -> str:
    return " ".join(text.casefold().split())


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a red cube and a blue ball", "a blue cube and a red ball"),
        ("The cube is red and the ball is blue.", "The cube is blue and the ball is red."),
        ("a big dog chases a tiny cat", "a tiny dog chases a big cat"),
        ("An old man and a young woman", "A young man and an old woman"),
        ("a wooden chair at a glass table", "a glass chair at a wooden table"),
        ("Two dogs and three cats", "Three dogs and two cats"),
        ("2 dogs and 3 cats", "3 dogs and 2 cats"),
        ("a cat on the left, a dog on the right", "a cat on the right, a dog on the left"),
        ("a bird above a tree and a cat below a roof", "a bird below a tree and a cat above a roof"),
        ("a car in front of a house and a bike behind a tree", "a car behind a house and a bike in front of a tree"),
        ("a black and white dog and a red cat", "a black and red dog and a white cat"),
    ],
)
def test_two_attributes_of_a_kind_change_places_before_all_else(text: str, other: str) -> None:
    assert other in {swaps(text, 1, np.random.default_rng(seed))[0] for seed in range(20)}


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("the cup is to the left of the plate", {"the cup is to the right of the plate"}),
        ("the cup is in front of the plate", {"the cup is behind the plate"}),
        ("A young boy", {"An old boy"}),
        ("a huge house", {"a tiny house"}),  # the size's own opposite
        ("the lower lobe of the left lung", {"the upper lobe of the left lung", "the lower lobe of the right lung"}),
        ("A RED CAR BEHIND A HOUSE", {"A RED CAR IN FRONT OF A HOUSE"}),
    ],
)
def test_one_attribute_is_replaced_by_another_of_its_kind(text: str, others: set[str]) -> None:
    assert others <= set(all_of(text))


def test_one_colour_becomes_every_other_colour_when_that_many_are_wanted() -> None:
    found = all_of("a red car")
    assert {"a blue car", "an orange car"} <= set(found)
    assert len(found) == 10  # all colours but red


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a man left the room with the dog", "left"),  # no side
        ("a girl in a pink top", "top"),  # no place
        ("a glass of water on a table", "glass"),  # no material
        ("an 18 year old student in a park", "old"),  # no other age would be "young"
        ("a child eats an orange", "orange"),  # no colour
        ("a dog seen from behind", "behind"),  # nothing to be in front of
    ],
)
def test_a_word_that_is_no_attribute_here_is_not_replaced(text: str, word: str) -> None:
    assert all(word in other.split() for other in all_of(text))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("The horse is eating the grass", "The grass is eating the horse"),
        ("A dog bites a man.", "A man bites a dog."),
        ("The man's dog carries a stick.", "The stick's dog carries a man."),
        ("a man wearing a hat and holding a bag", "a man holding a hat and wearing a bag"),
        ("a striped sweater and a plaid jacket", "a plaid sweater and a striped jacket"),
        ("a dog and a black cat", "a cat and a black dog"),
        ("A dog barks at a bird that watches a squirrel", "A bird barks at a dog that watches a squirrel"),
        ("Der Hund jagt die Katze", "Der Katze jagt die Hund"),
        ("빨간 공이 파란 상자 위에 있다", "파란 공이 빨간 상자 위에 있다"),
    ],
)
def test_two_words_change_places(text: str, other: str) -> None:
    assert other in all_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "a dog and a cat",
        "a dog, a cat or a bird",
        "two dogs and two cats",
        "A man is standing next to a car.",
        "the cup is near the plate",
        "a man with a dog",
        "a photo of a dog",
    ],
)
def test_what_reads_the_same_from_both_ends_stays(text: str) -> None:
    assert not [other for other in all_of(text) if sorted(other.split()) == sorted(text.split())]


def test_attributes_of_equals_do_not_change_places() -> None:
    assert "a white dog and a black dog" not in all_of("a black dog and a white dog")
    assert "a white and black dog" not in all_of("a black and white dog")
    assert "a large dog and a big cat" not in all_of("a big dog and a large cat")


def test_nouns_of_one_relation_come_before_others() -> None:
    text = "A girl wearing a sweater and a boy wearing a jacket"
    assert swaps(text, 1, np.random.default_rng(0)) == ["A girl wearing a jacket and a boy wearing a sweater"]


def test_attributes_come_before_the_order_of_words() -> None:
    found = swaps("A brown dog is chasing a white cat.", 4, np.random.default_rng(0))
    assert found[0] == "A white dog is chasing a brown cat."
    assert found[-1] == "A brown cat is chasing a white dog."
    assert all("dog is chasing" in other for other in found[:3])


def test_colours_that_change_places_are_replaced_only_when_nothing_else_is_left() -> None:
    found = swaps("a red cube touches a blue ball", 2, np.random.default_rng(0))
    assert found[0] == "a blue cube touches a red ball"
    assert sorted(found[1].split()) == sorted(found[0].split())
    assert "a red cube touches a green ball" in all_of("a red cube touches a blue ball")


# What stays


def test_punctuation_and_spaces_stay_in_their_places() -> None:
    assert all_of("“A cat sits on a mat,” he said.") == ["“A mat sits on a cat,” he said."]
    assert all_of("  A  dog\n bites a   man !") == ["  A  man\n bites a   dog !"]


def test_the_first_capital_stays_with_the_place() -> None:
    assert all_of("Dogs chase the cats") == ["Cats chase the dogs"]
    assert "Hunde jagen Katzen" in all_of("Katzen jagen Hunde")  # German nouns keep theirs
    assert all_of("NASA is in a city") == ["City is in a NASA"]


def test_the_article_fits_the_word_after_it() -> None:
    assert all_of("An owl eats a mouse") == ["A mouse eats an owl"]
    assert "an orange car" in all_of("a red car")
    assert "AN ORANGE CAR" in all_of("A RED CAR")
    assert all_of("a unicorn at an airport") == ["an airport at a unicorn"]


# What is true of every text


@pytest.mark.parametrize("text", CAPTIONS)
def test_no_two_are_the_same_and_none_is_the_text(text: str) -> None:
    for count in (1, 3, 1000):
        for seed in range(5):
            found = swaps(text, count, np.random.default_rng(seed))
            assert len(found) <= count
            assert len({normal(text), *map(normal, found)}) == 1 + len(found)


@pytest.mark.parametrize("text", CAPTIONS)
def test_the_same_rng_gives_the_same_texts(text: str) -> None:
    assert swaps(text, 3, np.random.default_rng(7)) == swaps(text, 3, np.random.default_rng(7))


def test_rng_chooses_among_more_than_are_wanted() -> None:
    assert len({swaps("a red car", 1, np.random.default_rng(seed))[0] for seed in range(50)}) > 5


@pytest.mark.parametrize("text", CAPTIONS)
def test_no_count_no_texts(text: str) -> None:
    assert swaps(text, 0, np.random.default_rng(0)) == []


@pytest.mark.parametrize("text", ["", "  ", "dog", "개", "A dog.", "... --- ...", "the of and", "dog dog", "Dog dog"])
def test_a_text_with_too_little_to_swap_gives_none(text: str) -> None:
    assert all_of(text) == []
