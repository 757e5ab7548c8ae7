"""Training transforms: what each preset may change, and what it leaves alone."""

import numpy as np
import pytest
import torch
from conftest import pixels
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cliptune.augment import PRESETS, Preset, changed, on_grid, preset_of
from cliptune.errors import ConfigError
from cliptune.preprocess import Preprocess, _random_box

DRAWS = 40
MODES = ["shortest", "squash", "longest"]
SHAPES = [(80, 100), (100, 80), (32, 32), (9, 300)]


def preprocess(size: int | tuple[int, int] = 64, **config: object) -> Preprocess:
    return Preprocess({"size": size, **config}, torch.tensor, trim=False)


def photo(height: int = 80, width: int = 100) -> Tensor:
    return torch.tensor(pixels(height, width)).permute(2, 0, 1)


def views(image: Tensor, preset: str, count: int = DRAWS, size: int = 64, **options: object) -> list[Tensor]:
    p = preprocess(size)
    return [p.train(image, np.random.default_rng(i), preset=preset, **options) for i in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_view_is_a_function_of_its_generator_and_has_the_models_size(preset: str, shape: tuple[int, int], mode: str) -> None:
    for size in (64, (48, 96)):
        p = preprocess(size, resize_mode=mode)
        one, same, other = (p.train(photo(*shape), np.random.default_rng(seed), preset=preset) for seed in (1, 1, 3))
        assert (one.dtype, one.shape[1:]) == (torch.uint8, p.size)
        assert torch.equal(one, same)
        assert shape == (9, 300) or not torch.equal(one, other)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_view_leaves_the_image_and_the_global_generators_alone(preset: str) -> None:
    image, state, theirs = photo(), torch.get_rng_state(), np.random.get_state()[1].copy()
    before = image.clone()
    views(image, preset, 3)
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], theirs)


def test_clip_is_torchvisions_crop_resized_and_nothing_else() -> None:
    image = photo()
    for seed, found in enumerate(views(image, "clip", flip=0.5)):
        rng = np.random.default_rng(seed)
        top, left, height, width = _random_box(80, 100, (0.9, 1.0), rng)
        cut = image[:, top : top + height, left : left + width]
        expected = F.resize(cut, [64, 64], InterpolationMode.BICUBIC, antialias=True)
        assert torch.equal(found, expected.flip(-1) if rng.random() < 0.5 else expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_box_and_the_rest_are_what_train_does_at_once(preset: str) -> None:
    p, image = preprocess(), photo()
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    top, left, height, width = p.draw_box(80, 100, one, preset=preset)
    assert torch.equal(
        p.finish(image[:, top : top + height, left : left + width], one, preset=preset), p.train(image, other, preset=preset)
    )


@pytest.mark.parametrize("preset", ["clip", "photo", "medical", "document"])
def test_scale_says_which_share_of_the_image_is_kept(preset: str) -> None:
    boxes = [preprocess().draw_box(300, 300, np.random.default_rng(i), (0.3, 0.5), preset) for i in range(200)]
    shares = np.array([h * w / 300**2 for _, _, h, w in boxes])
    assert 0.295 < shares.min() < 0.32
    assert 0.48 < shares.max() < 0.505
    assert {(top > 0, left > 0) for top, left, _, _ in boxes} >= {(True, True)}


@pytest.mark.parametrize("preset", PRESETS)
def test_flip_overrides_the_presets_own(preset: str) -> None:
    left = torch.zeros(3, 64, 64, dtype=torch.uint8)
    left[:, :, :32] = 200

    def mirrored(**options: float) -> float:
        seen = views(left, preset, 60, **options)
        return sum(bool(view[0, :, 60].float().mean() > view[0, :, 3].float().mean()) for view in seen) / 60

    assert mirrored(flip=0.0) == 0
    assert mirrored(flip=1.0) == 1
    own = PRESETS[preset].flip
    assert abs(mirrored() - own) <= (0.2 if own else 0)


@pytest.mark.parametrize("preset", ["medical", "document"])
def test_what_has_a_side_or_letters_is_never_mirrored(preset: str) -> None:
    assert PRESETS[preset].flip == 0


@pytest.mark.parametrize("preset", ["medical", "document", "pixel_art"])
def test_shapes_are_kept(preset: str) -> None:
    """A disc stays one: its height and width are equal, where a random resized crop may make them differ by a third."""
    y, x = np.mgrid[:120, :120] - 59.5
    disc = torch.from_numpy(np.where(y**2 + x**2 < 30**2, 255, 0).astype(np.uint8)).expand(3, -1, -1)
    for view in views(disc, preset):
        shown = view[0] > 100
        height, width = int(shown.any(1).sum()), int(shown.any(0).sum())
        assert abs(height - width) <= 2
        assert height >= 28


@pytest.mark.parametrize("preset", ["medical", "document", "clip", "pixel_art"])
def test_grey_stays_grey(preset: str) -> None:
    grey = photo()[:1].expand(3, -1, -1)
    for view in views(grey, preset):
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[0], view[2])


def test_medical_changes_levels_by_less_than_a_quarter() -> None:
    flat = torch.full((3, 90, 90), 120, dtype=torch.uint8)
    flat[:, 30:60, 30:60] = 180
    for view in views(flat, "medical"):
        inside, outside = int(view[0, 32, 32]), int(view[0, 2, 2])
        assert 90 < outside < 150
        assert 0.75 < (inside - outside) / 60 < 1.25


@pytest.mark.parametrize("degrees", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("shape", [(64, 64), (40, 90)])
def test_a_turned_picture_has_no_empty_corner(degrees: float, shape: tuple[int, int]) -> None:
    white = torch.full((3, *shape), 255, dtype=torch.uint8)
    for seed in range(20):
        assert changed(white, Preset(rotation=degrees), np.random.default_rng(seed)).min() >= 254


def test_a_preset_that_changes_nothing_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    image = photo(64, 64)
    assert changed(image, Preset(), rng) is image
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation"])
def test_levels_change_as_far_as_a_preset_says(key: str) -> None:
    image = photo(64, 64)
    for seed in range(10):
        found = changed(image, Preset(**{key: 0.3}), np.random.default_rng(seed))  # type: ignore[arg-type]
        factor = float(np.random.default_rng(seed).uniform(0.7, 1.3))
        assert torch.equal(found, getattr(F, f"adjust_{key}")(image, factor))


def test_a_document_is_blurred_a_little() -> None:
    lines = torch.zeros(3, 64, 64, dtype=torch.uint8)
    lines[:, ::2] = 255
    assert changed(lines, Preset(sharpness=0.5), np.random.default_rng(0)).float().std() < 0.7 * lines.float().std()


def sprite(side: int = 16, colours: int = 7) -> Tensor:
    palette = np.random.default_rng(1).integers(0, 256, (colours, 3), dtype=np.uint8)
    return torch.from_numpy(palette[np.random.default_rng(0).integers(0, colours, (side, side))]).permute(2, 0, 1)


def colours_of(image: Tensor) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in image.flatten(1).T.tolist()}


@pytest.mark.parametrize("side", [8, 16, 20, 50, 64, 150])
def test_pixel_art_keeps_its_palette(side: int) -> None:
    image = sprite(side)
    for view in views(image, "pixel_art", 20):
        assert colours_of(view) <= colours_of(image)


@pytest.mark.parametrize("side", [8, 16, 20, 30])
def test_a_pixel_becomes_a_square_of_whole_pixels(side: int) -> None:
    """Colours change in a row and in a column at multiples of one whole number only, edges of the picture aside."""
    numbers = torch.arange(side * side).view(1, side, side)
    image = torch.cat([numbers % 251, numbers // 251, numbers * 7 % 256]).to(torch.uint8)
    for view in views(image, "pixel_art", 20, flip=0.0):
        for line in (view[:, 32, :], view[:, :, 32]):
            changes = (torch.nonzero((line[:, 1:] != line[:, :-1]).any(0)).flatten() + 1).diff().tolist()
            assert len(set(changes)) == 1
            assert changes[0] in range(int(64 / side), int(64 / side / 0.75**0.5) + 2)


def test_a_sprite_is_moved_by_whole_pixels_and_little() -> None:
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, 16, 16] = 255
    places = {tuple(divmod(int(view[0].argmax()), 64)) for view in views(image, "pixel_art", 200, flip=0.0)}
    assert places == {(32 + 2 * y, 32 + 2 * x) for y in range(-2, 3) for x in range(-2, 3)}


def test_every_whole_zoom_within_the_scale_is_drawn() -> None:
    dot = torch.zeros(3, 32, 32, dtype=torch.uint8)
    dot[:, 16, 16] = 255
    widths = {int((view[0] == 255).any(0).sum()) for view in views(dot, "pixel_art", size=224)}
    assert widths == {7, 8}  # of 224: the whole of 32 pixels, and 28 of them, 0.77 of the area


def test_a_sprite_that_touches_the_edge_is_moved_on_the_ground_that_it_stands_on() -> None:
    image = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    image[:, 12:18] = 255  # to both sides
    for view in views(image, "pixel_art", flip=0.0):
        (seen,) = set((view[0] == 255).sum(1).tolist()) - {0}
        assert seen in (60, 62, 64)  # 2 pixels are moved out at most, and none is repeated
        assert colours_of(view) == {(90,) * 3, (255,) * 3}


def test_of_a_wide_sprite_as_much_is_seen_as_evaluation_sees() -> None:
    wide = torch.arange(48).to(torch.uint8).expand(3, 32, 48)
    for seed in range(20):
        found = on_grid(wide, (64, 64), (32, 32), (0.9, 1.0), np.random.default_rng(seed))
        assert found[:, 32].unique().numel() == 32


def test_an_unknown_preset_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"there is no transform 'pixelart'\. Did you mean pixel_art\?"):
        preset_of("pixelart")
    with pytest.raises(ConfigError, match=r"There is: clip, photo, medical, pixel_art, document"):
        preprocess().train(photo(), np.random.default_rng(0), preset="xyz")
