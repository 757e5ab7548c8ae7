"""Prompt tuning: what learns is the words around class names, or tokens among an image's patches; the towers are frozen.

Words: CoOp (Zhou et al. 2022, "Learning to Prompt for Vision-Language Models"). Tokens: VPT (Jia et al. 2022, "Visual Prompt Tuning").
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cliptune import prompts as P
from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.chunks import in_chunks
from cliptune.data.texts.templates import shared_templates
from cliptune.errors import ConfigError, ExportError
from cliptune.learned_words import LearnedWord, as_lines, neighbours
from cliptune.methods.base import CLASS_CHUNK, ClassRows, ClassTexts, Method, mean_rows
from cliptune.objectives.base import Objective
from cliptune.optim import Group
from cliptune.packing import Packing, Packs, pack

PROMPT_CHUNK = 64  # prompts whose activations live at a time while words learn
MOST = 4096  # words; no tower reads as many
WORDS = 16  # of `init: random`, Zhou et al. 2022, sec. 4.1
WORD_STD = 0.02  # Zhou et al. 2022, sec. 4.1
REPORTED = 32  # learned words of which the log tells the nearest
TOLD = 256  # and the summary
CHOICES = {"init": "template random", "position": "end middle", "towers": "text image both", "depth": "shallow deep"}


class PromptTuning(Method):
    """Learns the words around the class names, tokens among the image's patches, or both; the towers are frozen.

    Each template of the data has words of its own, and a class's row is the mean of its templates' as ever. With `init: template` the
    rows before training are the zero-shot rows; with `init: random` they are not, nor are image rows with image prompts: no token can be
    put into attention without taking a share of it. The rows of captions are the untouched CLIP's.

    Shared words serve any other class names too, in place of whatever template is asked for. Words of one class each serve only these
    classes: where another is among the names, all rows are those of the untouched CLIP. Descriptions share no words, and are refused
    unless only image prompts learn.

    Args:
        init: `template` learns the template's own words, from their embeddings; `random` replaces what stands before the name.
        words: how many, for `init: random`; 16 where not given. A template's own words are as many as it has.
        per_class: words for each class, instead of words that all classes share.
        position: `end` learns what stands before the class name, which ends the prompt but for what follows it in the template, such as a
            full stop; `middle` learns words on both sides of it.
        towers: which get prompts: `text`, `image` or `both`.
        image_words: tokens put behind the class token.
        depth: `shallow` puts them in before the first block, `deep` new ones before each block.
        lr_factor: factor on the optimizer's learning rate, which is that of full fine-tuning: 200 makes CoOp's 2e-3 of 1e-5.

    Raises:
        ConfigError: a value out of range; a prompt longer than the context; texts of no common template; image prompts on no ViT.
    """

    words: nn.Parameter | None  # [1 or C, M, W], the templates' words one after another
    image_prompts: nn.Parameter | None  # [1 or blocks, N, W]
    words_start: Tensor | None
    image_start: Tensor | None

    def __init__(
        self,
        init: Literal["template", "random"] = "template",
        words: int | None = None,
        per_class: bool = False,
        position: Literal["end", "middle"] = "end",
        towers: Literal["text", "image", "both"] = "text",
        image_words: int = 8,
        depth: Literal["shallow", "deep"] = "shallow",
        lr_factor: float = 200.0,
    ) -> None:
        super().__init__()
        for key, value in (("init", init), ("position", position), ("towers", towers), ("depth", depth)):
            if value not in CHOICES[key].split():
                raise ConfigError(f"PromptTuning: {key} {value!r} is not known. Take {' or '.join(CHOICES[key].split())}.")
        if words is not None and init == "template":
            raise ConfigError(
                f"PromptTuning: words {words}, but init: template learns the template's own. Leave words out, or set init: random."
            )
        for key, number, usual in (("words", words, 16), ("image_words", image_words, 8), ("lr_factor", lr_factor, 200)):
            if number is not None and number <= 0:
                raise ConfigError(f"PromptTuning: {key} {number} is not positive. Take {usual}.")
            if number is not None and number > MOST and key != "lr_factor":
                raise ConfigError(f"PromptTuning: {key} {number} is more than {MOST}. Take {usual}.")
        self.names = ("image", "text") if towers == "both" else (towers,)
        self.count = (WORDS if words is None else words) if init == "random" else None
        self.per_class, self.position, self.lr_factor = per_class, position, lr_factor
        self.bound_to_classes = per_class
        self.image_count, self.deep = image_words, depth == "deep"
        self.class_names: list[str] = []
        self.frames: list[P.Frame] = []
        self.register_parameter("words", None)
        self.register_parameter("image_prompts", None)
        for name in ("words_start", "image_start"):
            self.register_buffer(name, None, persistent=False)
        self._prompts: tuple[list[str], P.Prompts] | None = None
        self._packing: tuple[int, torch.device, Packing | None] | None = None
        self._rows: tuple[object, Tensor] | None = None

    def drift(self, backbone: Backbone, start: Backbone | None) -> Tensor:
        """The squared distance of words and image prompts from where they started."""
        pairs = [(p, old) for p, old in ((self.words, self.words_start), (self.image_prompts, self.image_start)) if p is not None]
        return torch.stack([(p - old).square().sum() for p, old in pairs]).sum()  # type: ignore[operator]

    def zero_shot(self, backbone: Backbone, start: Backbone, classes: ClassTexts) -> dict[str, Tensor]:
        """The template's own words; random words and image prompts did not start from anything that is zero-shot."""
        if self.words_start is None or self.count is not None or self.image_prompts is not None:
            what = "image prompts" if self.image_prompts is not None else "words that started at random"
            raise ExportError(f"PromptTuning's {what} have no straight way back to zero-shot. Leave --blend out.")
        return {"method.words": self.words_start}

    def check(self, objective: Objective) -> None:
        """Words need class names; image prompts learn from pairs too."""
        if "classes" not in objective.needs and "text" in self.names:
            name = type(objective).__name__
            raise ConfigError(f"PromptTuning learns from class names, but {name} needs image-text pairs. Use objective: CrossEntropy.")

    def attach(self, backbone: Backbone, classes: ClassTexts) -> None:
        """Freeze all, and make the words and the image prompts."""
        backbone.requires_grad_(False)
        if "text" in self.names:
            self._make_words(backbone, classes)
        if "image" in self.names:
            made = P.new_prompts(backbone.towers()["image"], self.image_count, self.deep)
            self.image_prompts = nn.Parameter(made)
            self.image_start = self.image_prompts.detach().clone()

    def _make_words(self, backbone: Backbone, classes: ClassTexts) -> None:
        if not classes:
            raise ConfigError("PromptTuning learns the words around class names, and the data has no classes. Set data.label_column.")
        embedding = P.embedding_of(backbone.towers()["text"])
        reader = self._reader(backbone)
        self.class_names = classes.names
        templates = shared_templates(classes.names, classes.texts)
        if templates is None:
            raise ConfigError(
                f"PromptTuning: the texts of the classes, such as {classes.texts[0][0]!r} of {classes.names[0]!r}, are of no template that "
                "all share. Set data.templates, and leave data.descriptions out, or set towers: image."
            )
        self.frames = [reader.frame(template, classes.names, self.position, self.count) for template in templates]
        ids = torch.tensor([i for frame in self.frames for i in frame.before + frame.after], device=backbone.mean.device, dtype=torch.long)
        if not len(ids):
            raise ConfigError(f"PromptTuning: no template has a word to learn ({templates[0]!r}). Add words, or set init: random.")
        with torch.no_grad():
            start = embedding(ids).float()  # [M, W]; called, since some embeddings scale their weights
        if self.count is not None:
            start = torch.randn_like(start) * WORD_STD
        self.words = nn.Parameter(start.expand(len(classes) if self.per_class else 1, -1, -1).clone())
        self.words_start = self.words.detach().clone()
        self._own_prompts(backbone, classes.names)  # now, so that a prompt that does not fit is an error before training

    def groups(self, backbone: Backbone) -> list[Group]:
        """One group. Nothing decays: decay pulls a word to the zero vector, which is no word, and not to where it started."""
        return [Group(params=list(self.parameters()), lr_factor=self.lr_factor, decay=False)]

    def frozen(self, backbone: Backbone) -> dict[str, int]:
        """The towers without prompts give what they gave; prompts go in before the first block."""
        return {name: 0 if name in self.names else count for name, count in super().frozen(backbone).items()}

    def image_rows(self, backbone: Backbone, images: Tensor) -> Tensor:
        """[B, D] of images [B, 3, H, W], with the image prompts."""
        if self.image_prompts is None:
            return backbone.encode_image(images)
        with P.among_patches(backbone.towers()["image"], self.image_prompts):
            return backbone.encode_image(images)

    def class_rows(self, backbone: Backbone, classes: ClassTexts) -> ClassRows:
        """The prompts' rows [C, D]; those of the untouched CLIP for names without words. Kept while nothing they are made of changes."""
        if self.words is None or (self.per_class and not set(classes.names) <= set(self.class_names)):
            return super().class_rows(backbone, classes)
        if torch.is_grad_enabled():
            return ClassRows(self._encode(backbone, classes.names), backbone.logit_bias)
        key = self._state(backbone, classes.names)
        if self._rows is None or self._rows[0] != key:
            self._rows = (key, self._encode(backbone, classes.names))
        return ClassRows(self._rows[1], backbone.logit_bias)

    @property
    def starts_as_clip(self) -> bool:
        """With the template's own words; random words say something else, and image prompts take a part of the attention."""
        return self.count is None and "image" not in self.names

    @property
    def learns_class_rows(self) -> bool:
        """They are made of learned words."""
        return self.words is not None

    def _encode(self, backbone: Backbone, names: list[str]) -> Tensor:
        assert self.words is not None
        found, words = self._own_prompts(backbone, names), self.words.flatten(0, 1)  # [C * M, W]
        size = min(self.chunk_size or PROMPT_CHUNK, PROMPT_CHUNK)
        packed = self._packed(backbone, found, size) if torch.is_grad_enabled() else None  # without, rows are zero-shot's to the last bit
        if packed is not None:
            packs, numbers = packed.packs, torch.arange(len(packed.packs.tokens), device=words.device)
            rows = in_chunks(lambda part: encode_packed(backbone, words, packs.part(part)), numbers, packed.chunk)[packed.order]
        else:
            prompts = torch.stack(found, dim=-1).flatten(0, 1).to(words.device)  # [C * T, L, 2]
            rows = in_chunks(lambda part: encode(backbone, words, *part.unbind(-1)), prompts, size, CLASS_CHUNK)
        return mean_rows(rows, [found.tokens.shape[1]] * len(names))

    def _reader(self, backbone: Backbone) -> P.Reader:
        return P.Reader(backbone.preprocess.tokenizer, backbone.preprocess.trim)

    def _own_prompts(self, backbone: Backbone, names: list[str]) -> P.Prompts:
        """Laid out once; words of one class each are numbered one class after another."""
        if self._prompts is None or self._prompts[0] != names:
            found = self._reader(backbone).prompts(self.frames, names)
            if self.per_class:
                assert self.words is not None
                numbers = list(range(len(names))) if names == self.class_names else [self.class_names.index(name) for name in names]
                first = torch.tensor(numbers)[:, None, None] * self.words.shape[1]
                found = found._replace(source=torch.where(found.source >= 0, found.source + first, found.source))
            self._prompts, self._packing = (list(names), found), None
        return self._prompts[1]

    def _packed(self, backbone: Backbone, found: P.Prompts, size: int) -> Packing | None:
        """The same prompts packed, laid out once; none where the tower does not read them so, or nothing is gained."""
        assert self.words is not None
        if not backbone.packs:
            return None
        device = self.words.device
        if self._packing is None or self._packing[:2] != (size, device):
            tokens = found.tokens.flatten(0, 1)  # [C * T, L]
            made = pack(tokens, found.source.flatten(0, 1), backbone.ends(tokens), size)
            self._packing = size, device, made.to(device) if made is not None else None
        return self._packing[2]

    def _state(self, backbone: Backbone, names: list[str]) -> object:
        """What equal rows follow from: the words' and the tower's memory and versions, the names, and the precision."""
        assert self.words is not None
        used = [self.words, *T.parameters(backbone.towers()["text"]).values()]
        if any(p.is_inference() for p in used):  # such tensors count no versions
            return object()
        mode = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled(self.words.device.type))
        return (list(names), mode, [(p.data_ptr(), p._version) for p in used])

    def nearest_words(self, backbone: Backbone, k: int = 3, most: int | None = None) -> list[LearnedWord]:
        """For each learned word the nearest words of the vocabulary.

        Args:
            backbone: the one that the method is attached to.
            k: how many.
            most: learned words, of the first classes where each class has its own; all where not given.
        """
        if self.words is None:
            return []
        places = [(frame.template, i) for frame in self.frames for i in range(len(frame.before) + len(frame.after))]
        every = [(owner, *place) for owner in (self.class_names if self.per_class else [None]) for place in places][:most]
        vectors = self.words.flatten(0, 1)[: len(every)]
        found = neighbours(P.embedding_of(backbone.towers()["text"]), vectors, k, self._reader(backbone).spell)
        return [LearnedWord(template, owner, place, near) for (owner, template, place), near in zip(every, found, strict=True)]

    def facts(self, backbone: Backbone, start: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """`words`: the first learned words with the vocabulary's nearest, as `LearnedWord.told`; `words_learned`: how many there are."""
        if self.words is None:
            return {}
        return {"words": [word.told() for word in self.nearest_words(backbone, most=TOLD)], "words_learned": len(self.words.flatten(0, 1))}

    def as_lines(self, facts: dict[str, Any]) -> list[str]:
        """The vocabulary's words nearest to the learned ones, with their distances and cosines."""
        lines = as_lines(facts.get("words", [])[:REPORTED])
        more = facts.get("words_learned", 0) - len(lines)
        tail = [f"... and {more:,} more: see PromptTuning.nearest_words"] * (more > 0)
        return ["nearest words of the vocabulary, and how far:", *lines, *tail] if lines else []


def encode(backbone: Backbone, words: Tensor, tokens: Tensor, source: Tensor) -> Tensor:
    """The rows [N, D] of prompts [N, L]; the hook is set in here, so that it is there when a checkpoint computes again."""
    with P.replaced(P.embedding_of(backbone.towers()["text"]), words, source):
        return backbone.encode_text(tokens)


def encode_packed(backbone: Backbone, words: Tensor, packs: Packs) -> Tensor:
    """The rows [R * E, D] of packed prompts, with the hook as in `encode`."""
    with P.replaced(P.embedding_of(backbone.towers()["text"]), words, packs.source):
        return backbone.encode_packed(packs)
