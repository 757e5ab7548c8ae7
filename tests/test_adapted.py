"""`cliptune.load`: a run's model in use, on images and words as users have them."""

import doctest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapted_runs import adapted_run
from conftest import pixels
from PIL import Image

import cliptune
from cliptune import AdaptedCLIP, AdaptModule, Backbone, CrossEntropy, Full, LoRA, PromptTuning
from cliptune.errors import CheckpointError, CliptuneError, ConfigError, DataError
from cliptune.images import from_pil
from cliptune.index import Index
from cliptune.index_writer import IndexWriter
from cliptune.methods.base import ClassTexts

NAMES, TEMPLATES = ["cat", "dog", "red panda"], ["a photo of a {}.", "a drawing of a {}, in ink."]
Picture = Callable[[str], Path]


def run_folder(backbone: Backbone, folder: Path, names: list[str] | None = None, templates: list[str] | None = None) -> Path:
    """What a run leaves behind: a checkpoint of a CLIP whose text tower was moved a little."""
    module = AdaptModule(backbone, Full(), CrossEntropy())
    names = NAMES if names is None else names
    module.attach(ClassTexts(names, [[t.replace("{}", name) for t in templates or TEMPLATES] for name in names], backbone.preprocess))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for p in module.parameters():
            p.data += 0.01 * torch.randn_like(p)
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture(scope="module")
def model(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AdaptedCLIP:
    """A ViT's run, loaded; read-only."""
    return cliptune.load(run_folder(Backbone(tiny["vit"]), tmp_path_factory.mktemp("run") / "run"))


def test_a_run_folder_and_its_checkpoint_give_the_adapted_rows(backbone: Backbone, tmp_path: Path, picture: Picture) -> None:
    folder = run_folder(backbone, tmp_path / "run")
    image = backbone.preprocess.eval(from_pil(Image.open(picture("a.png"))))[None]
    with torch.no_grad():
        expected = backbone.eval().encode_image(image), backbone.encode_text(backbone.preprocess.tokenize(["rain"]))
    for path in (folder, str(folder / "checkpoints" / "best.ckpt")):
        loaded = cliptune.load(path)
        assert torch.equal(loaded.encode_images(tmp_path / "a.png"), expected[0])
        assert torch.equal(loaded.encode_texts("rain"), expected[1])


def test_the_rows_are_not_those_of_the_untouched_clip(model: AdaptedCLIP, tiny: dict[str, str]) -> None:
    plain = Backbone(tiny["vit"]).eval()
    assert (plain.encode_text(plain.preprocess.tokenize(["rain"])) - model.encode_texts(["rain"])).abs().max() > 1e-3


def test_an_image_is_the_same_as_path_bytes_picture_and_tensor(model: AdaptedCLIP, picture: Picture) -> None:
    file = picture("a.png")
    kinds = [file, str(file), file.read_bytes(), Image.open(file), from_pil(Image.open(file))]
    rows = model.encode_images(kinds)
    assert rows.shape == (5, 24)
    for kind, row in zip(kinds, rows, strict=True):
        torch.testing.assert_close(rows[0], row, atol=1e-6, rtol=0)
        torch.testing.assert_close(model.encode_images(kind), row[None], atol=1e-6, rtol=0)


def test_one_or_many_of_any_size_give_unit_rows_in_order(model: AdaptedCLIP) -> None:
    images = [Image.fromarray(pixels(height, width, seed=height)) for height, width in ((24, 32), (50, 40), (32, 32))]
    rows = model.encode_images(image for image in images)
    for image, row in zip(images, rows, strict=True):
        torch.testing.assert_close(model.encode_images(image)[0], row, atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    batch = torch.stack([from_pil(image.resize((32, 32))) for image in images])
    torch.testing.assert_close(model.encode_images(batch), model.encode_images(list(batch)), atol=1e-6, rtol=0)


def test_batches_are_an_inner_matter(model: AdaptedCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = [Image.fromarray(pixels(24, 32, seed=i)) for i in range(5)], ["a", "a very much longer text than that", "b", "c", "d"]
    whole = model.encode_images(images), model.encode_texts(texts)
    monkeypatch.setattr(model, "batch_size", 2)
    torch.testing.assert_close((model.encode_images(images), model.encode_texts(texts)), whole, atol=1e-6, rtol=0)


def test_nothing_gives_no_rows(model: AdaptedCLIP) -> None:
    assert model.encode_images([]).shape == model.encode_texts([]).shape == (0, 24)
    found = model.classify([])
    assert (found.names, found.probabilities.shape) == ([], (0, 3))


def test_a_probe_can_be_trained_on_the_rows(model: AdaptedCLIP) -> None:
    images, texts = model.encode_images(Image.fromarray(pixels(24, 32))), model.encode_texts(["a", "b"])
    weight = torch.zeros(24, 3, requires_grad=True)
    ((images @ weight).sum() + (texts @ weight).sum()).backward()
    torch.testing.assert_close(weight.grad, (images.sum(0) + texts.sum(0))[:, None].expand(-1, 3))


# Classes


def test_probabilities_are_the_softmax_of_scaled_cosines_with_the_templates_mean(model: AdaptedCLIP) -> None:
    images = [Image.fromarray(pixels(24, 32, seed=i)) for i in range(4)]
    found = model.classify(images)
    texts = np.stack([model.encode_texts([t.replace("{}", name) for t in TEMPLATES]).double().numpy().mean(axis=0) for name in NAMES])
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    logits = np.exp(model.backbone.model.logit_scale.item()) * model.encode_images(images).double().numpy() @ texts.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert found.names == [NAMES[i] for i in expected.argmax(axis=1)]
    assert found.class_names == NAMES


def test_siglips_bias_is_no_hindrance(tiny: dict[str, str], tmp_path: Path) -> None:
    loaded = cliptune.load(run_folder(Backbone(tiny["siglip"]), tmp_path / "run"))
    torch.testing.assert_close(loaded.classify(Image.fromarray(pixels(24, 32))).probabilities.sum(), torch.tensor(1.0))


def test_other_class_names_get_the_templates_of_the_adaptation(model: AdaptedCLIP) -> None:
    image = Image.fromarray(pixels(24, 32))
    found, written_out = model.classify(image, ["ship", "car"]), model.classify(image, ["ship", "car"], TEMPLATES)
    assert found.class_names == ["ship", "car"]
    assert torch.equal(found.probabilities, written_out.probabilities)
    assert not torch.equal(found.probabilities, model.classify(image, ["ship", "car"], "a {}").probabilities)
    assert torch.equal(model.classify(image, list(NAMES)).probabilities, model.classify(image).probabilities)


@pytest.mark.parametrize("names", [["a", "b", "c"], ["0", "10", "1"], ["photo", "cat", "a photo"], ["b", "a a", "a"]], ids=str)
def test_templates_are_told_from_class_names_that_are_words_of_theirs(vit: Backbone, tmp_path: Path, names: list[str]) -> None:
    templates = ["a photo of a {}, 10 of 100", "{}", "{} or {}: a {}."]
    loaded = cliptune.load(run_folder(vit, tmp_path / "run", names, templates))
    image = Image.fromarray(pixels(24, 32))
    assert torch.equal(loaded.classify(image, ["x"], templates).probabilities, loaded.classify(image, ["x"]).probabilities)
    assert loaded._classes(["x", "y"], None)[1] == [
        ["a photo of a x, 10 of 100", "x", "x or x: a x."],
        ["a photo of a y, 10 of 100", "y", "y or y: a y."],
    ]


@pytest.mark.parametrize(
    ("names", "texts", "expected"),
    [
        (["cat"], [["a cat."]], "a x."),
        (["cat", "dog"], [["it purrs"], ["it barks"]], "a photo of a x."),  # written by hand, each its own: no template
        (["a", "b"], [["a" * 40], ["b"]], "a photo of a x."),
    ],
)
def test_texts_without_a_common_template_fall_back_to_clips_own(
    vit: Backbone, names: list[str], texts: list[list[str]], expected: str
) -> None:
    assert AdaptedCLIP(vit, Full(), {"class_names": names, "class_texts": texts})._classes(["x"], None) == (["x"], [[expected]])


def test_new_templates_for_the_classes_of_the_adaptation(model: AdaptedCLIP) -> None:
    image = Image.fromarray(pixels(24, 32))
    found = model.classify(image, templates="a {}")
    assert found.class_names == NAMES
    assert torch.equal(found.probabilities, model.classify(image, NAMES, ["a {}"]).probabilities)


def test_a_model_without_classes_takes_any_by_clips_own_template(vit: Backbone, tmp_path: Path) -> None:
    loaded = cliptune.load(run_folder(vit, tmp_path / "run", names=[]))
    image = Image.fromarray(pixels(24, 32))
    assert torch.equal(loaded.classify(image, NAMES).probabilities, loaded.classify(image, NAMES, "a photo of a {}.").probabilities)
    with pytest.raises(ConfigError, match=r"has no class_names, and this model was adapted without classes\. Give class_names"):
        loaded.classify(image)


def test_one_class_name_is_no_list_of_letters(model: AdaptedCLIP) -> None:
    assert model.classify(Image.fromarray(pixels(24, 32)), "cat").names == ["cat"]


# Errors


WRONG: dict[str, tuple[Any, str]] = {
    "float tensor": (torch.rand(3, 8, 8), r"a tensor \[3, 8, 8\] of torch\.float32 is no image\. Give uint8 pixels \[3, H, W\]"),
    "grey tensor": (torch.zeros(8, 8, dtype=torch.uint8), r"a tensor \[8, 8\] of torch\.uint8 is no image"),
    "channels last": ([torch.zeros(8, 8, 3, dtype=torch.uint8)], r"a tensor \[8, 8, 3\]"),
    "array": ([np.zeros((8, 8, 3), np.uint8)], r"a ndarray is no image\. Give a path, the bytes of a file, a Pillow image"),
    "missing file": ("nowhere.png", r"cannot read the image nowhere\.png: No such file"),
    "no image": (b"hello", r"cannot decode the image \(bytes\): it is no image"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_image_is_a_data_error(model: AdaptedCLIP, case: str) -> None:
    given, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        model.encode_images(given)


@pytest.mark.parametrize(
    ("class_names", "templates", "message"),
    [
        (["cat"], "a photo of a cat.", r"template 'a photo of a cat\.' has no \{\} for the class name\. Write it as 'a photo of a \{\}\.'"),
        (None, ["a {}", "the"], r"template 'the' has no \{\}"),
        (None, [], r"templates is empty\. Give at least one"),
        ([], None, r"has no class_names"),
    ],
)
def test_classes_that_cannot_be_are_one_line(model: AdaptedCLIP, class_names: Any, templates: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model.classify(Image.fromarray(pixels(24, 32)), class_names, templates)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*best\.ckpt\. Give a run folder, or a \.ckpt file"):
        cliptune.load(tmp_path)


def test_base_weights_that_are_gone_or_changed_are_one_line(tiny: dict[str, str], tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(Backbone(tiny["vit"]).model.state_dict(), weights)
    folder = run_folder(Backbone(tiny["vit"], str(weights)), tmp_path / "run")
    torch.save(Backbone(tiny["vit"], "random").model.state_dict(), weights)
    with pytest.raises(CheckpointError, match=r"trained on other weights of .*Put those back to .*weights\.pt\."):
        cliptune.load(folder)
    weights.unlink()
    with pytest.raises(CliptuneError, match=r"weights\.pt: there is no such file|weights\.pt is neither a tag"):
        cliptune.load(folder)


def test_the_examples_in_its_documentation_hold() -> None:
    found = doctest.testmod(cliptune.adapted)
    assert found.attempted > 4
    assert not found.failed


@pytest.mark.parametrize("method", [Full(), PromptTuning(towers="both"), LoRA(rank=2)])
def test_several_threads_get_what_one_gets(tiny: dict[str, str], tmp_path: Path, method: Any) -> None:
    """Prompts hang hooks into the towers while they are encoded: another thread's texts must not meet them."""
    model = cliptune.load(adapted_run(tiny["vit"], method, tmp_path / "run", amount=0.3))
    images = [pixels(40, 40, seed=i) for i in range(6)]
    tasks = [
        lambda: model.encode_texts(["a photo of a cat.", "two dogs"]),
        lambda: model.encode_images([Image.fromarray(image) for image in images]),
        lambda: model.classify([Image.fromarray(image) for image in images]).probabilities,
    ]
    alone = [task() for task in tasks]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: (i % 3, tasks[i % 3]()), range(60)))
    for number, value in found:
        torch.testing.assert_close(value, alone[number], rtol=0, atol=1e-6)


def test_it_finds_images_by_words_and_by_an_image(model: AdaptedCLIP, picture: Picture, tmp_path: Path) -> None:
    files = [picture(f"{name}.png") for name in ("a", "b", "c", "d")]
    rows = model.encode_images(files)
    with IndexWriter(tmp_path / "index", "x", model.fingerprint(), rows.shape[1]) as writer:
        names = [str(file) for file in files]
        assert not any(writer.known(name, "1") for name in names)
        writer.add(names, ["1"] * 4, rows)
        writer.finish()
    hits = model.search(files[2], tmp_path / "index", k=2)
    assert hits[0].path == str(files[2])
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    words = model.search("a red panda", Index.open(tmp_path / "index"), k=4)
    expected = (rows @ model.encode_texts("a red panda").T).squeeze(1)
    assert [hit.path for hit in words] == [names[i] for i in expected.argsort(descending=True).tolist()]
    with pytest.raises(CheckpointError, match="which cannot be compared with those of another"):
        cliptune.load("nano").search("x", tmp_path / "index")
