"""Small lists of English words for `negatives`: kinds of attribute, and what tells the other words' parts apart without a tagger."""


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Kinds of attribute. Words between bars say about the same and never change places.
COLOURS = "red blue green yellow orange purple|violet pink brown|tan black white grey|gray|silver"
MATERIALS = "wooden|wood metal|steel plastic glass stone brick leather paper"
NUMBERS = "two three four five six seven eight nine ten, 2 3 4 5 6 7 8 9"  # "one" is more often no number
OPPOSITES = """large|big|huge small|little|tiny, larger|bigger smaller, long|tall short, old|elderly young, older younger, male female,
    dark light, upper lower, top bottom, front back, left right, above below|beneath, over under, on_top_of underneath,
    in_front_of behind, inside outside, indoors outdoors"""
LISTS = ",".join([COLOURS, MATERIALS, NUMBERS, OPPOSITES]).split(",")
KINDS = [[group.replace("_", " ").split("|") for group in kind.split()] for kind in LISTS]
ATTRIBUTES = {word: (k, g, r) for k, kind in enumerate(KINDS) for g, group in enumerate(kind) for r, word in enumerate(group)}
BEFORE_NOUNS = _listed("orange wood metal steel plastic glass stone brick leather paper light silver")  # else nouns themselves
NO_ATTRIBUTE = frozenset({("year", "old"), ("years", "old"), ("all", "over"), ("over", "there"), ("little", "bit")})

ARTICLES = frozenset({"a", "an"})
DEFINITE = _listed("the this that these those his her its their my your our each every some no another other both any such")
COUNTS = frozenset({*NUMBERS.replace(",", "").split(), "one", "several", "many", "few"})
TO_BE = _listed("is are was were be being been am")
SIDE_BY_SIDE = _listed("and or nor with near beside alongside next together und oder et ou y")  # the same from both ends
PREPOSITIONS = _listed("of in on at to from by for into onto through across along around against between among toward towards within")
PLACES = _listed("above below beneath over under underneath behind inside outside indoors outdoors up down out off away back")
PRONOUNS = _listed("he she it they i you we him them who which what there here someone something where himself herself others")
OTHERS = _listed("as while whilst but not very so has have had do does did can than then when after before without like about just")
DETERMINERS = ARTICLES | DEFINITE | COUNTS
FUNCTION = DETERMINERS | TO_BE | SIDE_BY_SIDE | PREPOSITIONS | PLACES | PRONOUNS | OTHERS
MEASURES = _listed("photo picture image photograph painting drawing sketch icon view group crowd pair couple bunch piece kind year years")
VERBS = _listed("runs jumps plays walks holds wears rides looks eats sleeps swims flies watches carries chases climbs")
POSTURES = _listed("sitting standing lying seated sits stands lies sit stand sat stood")
NEXT_TO = _listed("next close left right on up down back")  # "to" after these, no verb after it
NOUNS = _listed("building ceiling clothing painting wedding railing string swing evening morning thing spring hundred family butterfly")
PLURALS = _listed("people men women children feet teeth sheep")
