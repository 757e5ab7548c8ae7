"""What is done to images and texts, against open_clip's own transform and tokenizer."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import images_for, pixels
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2.functional import resize

from cliptune.backbone import Backbone
from cliptune.described import build, completed
from cliptune.errors import ConfigError
from cliptune.images import from_pil
from cliptune.preprocess import Preprocess, _random_box, normalize

# The mean difference that is allowed, of 255 levels: tensors and Pillow round at other places, and more often so where Pillow 13 chooses to
# resize the columns before the rows, as it does for portraits that are squashed.
LEVELS = {"shortest": 0.05, "longest": 0.05, "squash": 0.2}
TOKENIZER = open_clip.get_tokenizer("ViT-B-32")
SHAPES = [(90, 130), (130, 90), (97, 61), (61, 97), (32, 200), (200, 31), (64, 64), (20, 23)]  # heights and widths


def preprocess(size: int | tuple[int, int] = 64, **config: object) -> Preprocess:
    return Preprocess({"size": size, **config}, TOKENIZER, trim=True)


def from_open_clip(image: Image.Image, size: int | tuple[int, int], resize_mode: str, interpolation: str) -> torch.Tensor:
    transform = image_transform(
        size, False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=resize_mode, interpolation=interpolation, fill_color=9
    )
    return transform(image) * 255


def mean_difference(shape: tuple[int, int], size: int | tuple[int, int], mode: str, interpolation: str) -> float:
    image = Image.fromarray(pixels(*shape))
    ours = preprocess(size, resize_mode=mode, interpolation=interpolation, fill_color=9).eval(from_pil(image))
    theirs = from_open_clip(image, size, mode, interpolation)
    assert ours.dtype == torch.uint8
    assert ours.shape == theirs.shape
    return (ours.float() - theirs).abs().mean().item()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("shape", SHAPES)
def test_eval_equals_open_clips_transform(shape: tuple[int, int], mode: str, interpolation: str) -> None:
    assert mean_difference(shape, 64, mode, interpolation) < LEVELS[mode]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("shape", SHAPES)
def test_eval_equals_open_clips_transform_where_the_input_is_not_square(shape: tuple[int, int], mode: str) -> None:
    assert mean_difference(shape, (48, 64), mode, "bicubic") < LEVELS[mode]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_eval_leaves_an_image_of_the_models_size_as_it_is(mode: str) -> None:
    image = from_pil(Image.fromarray(pixels(64, 64)))
    assert torch.equal(preprocess(64, resize_mode=mode).eval(image), image)


def test_train_is_a_function_of_its_generator() -> None:
    image = from_pil(Image.fromarray(pixels(80, 100)))
    p = preprocess(32)
    one, same, other = (p.train(image, np.random.default_rng(seed), scale=(0.3, 1.0), flip=0.5) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (3, 32, 32)
    assert one.dtype == torch.uint8


def test_train_mirrors_as_often_as_flip_says() -> None:
    image = from_pil(Image.fromarray(pixels(80, 100)))
    p = preprocess(32)
    plain, always = (p.train(image, np.random.default_rng(1), flip=flip) for flip in (0.0, 1.0))
    assert torch.equal(plain.flip(-1), always)
    mirrored = [not torch.equal(*(p.train(image, np.random.default_rng(i), flip=flip) for flip in (0.0, 0.25))) for i in range(200)]
    assert 0.15 < sum(mirrored) / 200 < 0.35  # 3.3 standard deviations


@pytest.mark.parametrize("size", [(32, 32), (90, 130), (97, 61), (300, 400)])
def test_a_part_of_an_image_is_resized_to_equal_pixels_however_it_lies(size: tuple[int, int]) -> None:
    channels_last = torch.tensor(pixels(*size)).permute(2, 0, 1)
    for image in (channels_last, channels_last.contiguous()):
        part = image[:, 5:, 3:-2]
        expected = resize(part, [64, 64], InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(preprocess(64)._resize(part, (64, 64)), expected)


def test_images_are_decoded_over_the_models_background(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (5, 4), (9, 9, 9, 0))
    clear.save(tmp_path / "clear.png")
    for name, expected in {"white": (255, 255, 255), "#ff8800": (255, 136, 0)}.items():
        p = Preprocess({"size": 16}, TOKENIZER, trim=True, background=name)
        assert p.background == expected
        assert p.about_images() == {"size": 16, "background": list(expected)}
        for data in (clear, tmp_path / "clear.png", (tmp_path / "clear.png").read_bytes()):
            assert p.decode(data)[:, 2, 2].tolist() == list(expected)


def test_a_backbone_keeps_its_background(tiny: dict[str, str]) -> None:
    assert Backbone(tiny["vit"]).preprocess.background == (255, 255, 255)
    made = Backbone(tiny["vit"], background="navy")
    assert made.preprocess.background == (0, 0, 128)
    assert build(made.describe()).preprocess.background == (0, 0, 128)
    assert "background" not in made.preprocess.config  # which is open_clip's, and goes into exports


def test_a_description_from_before_there_were_backgrounds_is_of_white(tiny: dict[str, str]) -> None:
    described = Backbone(tiny["vit"]).describe()
    before = {**described, "arguments": {key: value for key, value in described["arguments"].items() if key != "background"}}
    assert completed(before) == described
    assert build(before).preprocess.background == (255, 255, 255)


def test_a_background_that_is_no_colour_is_a_config_error(tiny: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="'whitish' is no colour"):
        Backbone(tiny["vit"], background="whitish")


def test_training_boxes_keep_the_share_of_the_area_that_scale_says() -> None:
    rng = np.random.default_rng(0)
    boxes = [_random_box(300, 400, (0.2, 0.5), rng) for _ in range(300)]
    shares = np.array([h * w / (300 * 400) for _, _, h, w in boxes])
    assert shares.min() > 0.2 - 0.005  # sides are whole pixels
    assert shares.max() < 0.5 + 0.005
    assert abs(shares.mean() - 0.35) < 0.02
    assert all(top >= 0 and left >= 0 and top + h <= 300 and left + w <= 400 for top, left, h, w in boxes)


@pytest.mark.parametrize("shape", [(4, 400), (400, 4)])
def test_a_picture_too_long_for_any_box_gives_torchvisions_central_one(shape: tuple[int, int]) -> None:
    expected = RandomResizedCrop.get_params(torch.empty(3, *shape), scale=[0.9, 1.0], ratio=[3 / 4, 4 / 3])
    assert _random_box(*shape, (0.9, 1.0), np.random.default_rng(0)) == tuple(expected)


TEXTS = ["a", "a photo of a cat on a mat", "고양이 한 마리", "wow !=! and a long caption that goes on and on beyond the context of sixteen"]


def test_trimmed_tokens_are_the_start_of_the_whole_ones(vit: Backbone) -> None:
    for some in (TEXTS[:1], TEXTS[:2], TEXTS):
        found, whole = vit.preprocess.tokenize(some), vit.preprocess.tokenizer(some)
        assert torch.equal(found, whole[:, : found.shape[1]])
        assert whole[:, found.shape[1] :].sum() == 0
    assert vit.preprocess.tokenize(TEXTS[:1]).shape == (1, 8)


def test_trimmed_tokens_give_equal_rows(vit: Backbone) -> None:
    for text in TEXTS:
        short, whole = vit.encode_text(vit.preprocess.tokenize([text])), vit.encode_text(vit.preprocess.tokenizer([text]))
        torch.testing.assert_close(short, whole, atol=1e-6, rtol=0)


def test_a_text_that_holds_the_token_0_keeps_its_end() -> None:
    p = preprocess()
    text = "c !=5 a a a"  # its "!" is token 0, which is the padding too; nine tokens with start and end
    whole = p.tokenizer([text])
    assert whole[0, :9].eq(0).sum() == 1
    assert p.tokenize([text]).max() == whole.max()  # the end token


def test_tokens_of_a_tower_that_is_not_causal_stay_whole(tiny: dict[str, str]) -> None:
    siglip = Backbone(tiny["siglip"])
    assert siglip.preprocess.tokenize(["a"]).shape == (1, 16)


def test_no_texts_give_no_tokens() -> None:
    assert len(preprocess().tokenize([])) == 0


def test_normalize_scales_uint8_and_takes_floats_as_done(vit: Backbone) -> None:
    images = images_for(vit, 3)
    scaled = normalize(images, vit.mean, vit.std)
    expected = (images.numpy() / 255 - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.25, 0.3, 0.2])[:, None, None]
    np.testing.assert_allclose(scaled.numpy(), expected, atol=1e-5)
    assert normalize(scaled, vit.mean, vit.std) is scaled
