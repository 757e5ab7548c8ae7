"""Prompts on towers of every kind, a Hugging Face text tower among them; shared by the tests of prompt tuning."""

from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

import pytest
import torch
from conftest import CONFIGS, classes_for, images_for, write_model
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.optim import build_optimizer

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "photo", "of", "drawing", "cat", "dog", "red", "panda", "seven", "fox", ".", ",", "in", "ink", "x", "7", "the"],
    "##s",
]
EXACT: dict[str, dict[str, Any]] = {
    "end": {},
    "middle": {"position": "middle"},
    "per class": {"per_class": True},
    "per class, middle": {"per_class": True, "position": "middle"},
}
KINDS: dict[str, dict[str, Any]] = {
    **EXACT,
    "random": {"init": "random", "words": 3},
    "random, middle, per class": {"init": "random", "words": 3, "position": "middle", "per_class": True},
}


@pytest.fixture(scope="session")
def every(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tiny CLIPs, and one whose text tower is Hugging Face's, pooled over what is no padding."""
    folder = tmp_path_factory.mktemp("bert")
    inner = Tokenizer(WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder / "clip")  # where open_clip looks
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(VOCABULARY), **shape), add_pooling_layer=False).save_pretrained(folder / "hf")
    config = {
        "embed_dim": 24,
        "vision_cfg": CONFIGS["vit"]["vision_cfg"],
        "text_cfg": {"hf_model_name": str(folder / "hf"), "hf_tokenizer_name": str(folder / "clip"), "context_length": 16,
                     "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"},
        "custom_text": True,
    }  # fmt: skip
    return {**tiny, "bert": write_model(folder / "clip", config)}


@lru_cache
def loaded(name: str) -> Backbone:
    return Backbone(name).eval()


def copied(name: str) -> Backbone:
    whole = loaded(name)
    return deepcopy(whole, {id(whole.preprocess): whole.preprocess})


def classes_of(backbone: Backbone, names: list[str], *templates: str) -> ClassTexts:
    return ClassTexts(names, [[template.replace("{}", name) for template in templates] for name in names], backbone.preprocess)


def attached(backbone: Backbone, classes: ClassTexts | None = None, **arguments: Any) -> PromptTuning:
    method = PromptTuning(**arguments)
    method.attach(backbone, classes_for(backbone) if classes is None else classes)
    return method.eval()


@torch.no_grad()
def zero_shot(backbone: Backbone, classes: ClassTexts) -> Tensor:
    return Full().class_rows(backbone, classes).rows


def step(backbone: Backbone, method: PromptTuning, classes: ClassTexts) -> None:
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=1e-4, weight_decay=0.1), method.groups(backbone))
    logits = method.logits(backbone, method.image_rows(backbone, images_for(backbone, 4)), method.class_rows(backbone, classes))
    (torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 1]))).backward()
    optimizer.step()
