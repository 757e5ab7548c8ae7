"""Retrieval between images and captions: cases counted by hand, torchmetrics' hit rate, two processes, and bounded memory."""

from typing import Any

import pytest
import torch
from pair import Pair
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torchmetrics.functional.retrieval import retrieval_hit_rate

from cliptune.data.batches import FILL, Order
from cliptune.distributed import rank
from cliptune.metrics import ranks
from cliptune.metrics.ranks import RECALL_AT
from cliptune.metrics.retrieval import Retrieval


def recall(scores: Tensor, owner: list[int]) -> dict[str, float]:
    """Retrieval of a matrix of scores [images, texts]: images are unit vectors, so that the texts' rows are the scores."""
    metric = Retrieval()
    metric.update(torch.eye(len(scores)), torch.arange(len(scores)), scores.T.contiguous(), torch.tensor(owner))
    return {name: value.item() for name, value in metric.compute().items() if name.startswith("recall")}


def random_case(images: int = 23, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and owners; one to four captions each, near to their image but not very."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(images, 8, generator=generator), dim=-1)
    owner = torch.arange(images).repeat_interleave(1 + torch.arange(images) % 4)
    texts = torch.nn.functional.normalize(rows[owner] + 0.8 * torch.randn(len(owner), 8, generator=generator), dim=-1)
    return rows, texts, owner


def measured(rows: Tensor, texts: Tensor, owner: Tensor) -> dict[str, Tensor]:
    metric = Retrieval()
    metric.update(rows, torch.arange(len(rows)), texts, owner)
    return metric.compute()


def test_right_pairs_on_top_are_all_found() -> None:
    assert set(recall(torch.eye(12), list(range(12))).values()) == {1.0}


def test_ranks_are_counted_as_by_hand() -> None:
    scores = torch.eye(12)
    scores[0, 1:4] = 2  # image 0: three wrong texts before its own
    scores[5, [0, 1, 2, 3, 4, 6, 7, 8]] = 3  # image 5: eight; and those texts prefer it to their own images
    scores[9, :9] = 4  # image 9: eleven, with those of the next line
    scores[9, 10:] = 4
    found = recall(scores, list(range(12)))
    assert found["recall@1_image_to_text"] == pytest.approx(9 / 12)
    assert found["recall@5_image_to_text"] == pytest.approx(10 / 12)
    assert found["recall@10_image_to_text"] == pytest.approx(11 / 12)
    # image 9 is before the own image of every text but its own, and at most two others are
    assert found["recall@1_text_to_image"] == pytest.approx(1 / 12)
    assert found["recall@5_text_to_image"] == pytest.approx(12 / 12)
    assert found["recall"] == pytest.approx((9 + 10 + 11 + 1 + 12 + 12) / 72)


def test_an_image_is_found_by_any_of_its_captions_and_each_caption_counts() -> None:
    scores = torch.tensor([[9.0, 1, 5, 0], [8, 7, 0, 6]])  # texts 0, 1, 2 belong to image 0
    found = recall(scores, [0, 0, 0, 1])
    assert found["recall@1_image_to_text"] == pytest.approx(1 / 2)  # image 1 has texts 0 and 1 before its own
    assert found["recall@1_text_to_image"] == pytest.approx(3 / 4)  # text 1 prefers image 1


def test_it_equals_torchmetrics_hit_rate() -> None:
    rows, texts, owner = random_case()
    found, scores = measured(rows, texts, owner), rows @ texts.T
    right = torch.arange(len(rows))[:, None] == owner
    for k in RECALL_AT:
        for way, s, r in (("image_to_text", scores, right), ("text_to_image", scores.T, right.T)):
            expected = torch.stack([retrieval_hit_rate(a, b, top_k=k) for a, b in zip(s, r, strict=True)]).mean()
            assert found[f"recall@{k}_{way}"].item() == pytest.approx(expected.item(), abs=1e-6), (k, way)
    assert 0.1 < found["recall@1_image_to_text"] < found["recall@10_image_to_text"] <= 1  # a case that tells


def test_a_model_that_says_the_same_of_everything_scores_nothing() -> None:
    assert set(recall(torch.ones(12, 12), list(range(12))).values()) == {0.0}


def test_a_wrong_one_that_equals_the_right_one_comes_before_it() -> None:
    scores = torch.eye(12)
    scores[3, 4] = 1  # as good as text 3 for image 3, and as image 4 for text 4
    found = recall(scores, list(range(12)))
    assert found["recall@1_image_to_text"] == found["recall@1_text_to_image"] == pytest.approx(11 / 12)
    assert found["recall@5_image_to_text"] == found["recall@5_text_to_image"] == 1


def test_right_ones_that_are_equal_do_not_stand_in_each_others_way() -> None:
    scores = torch.eye(12).repeat_interleave(3, dim=1)
    assert set(recall(scores, [i // 3 for i in range(36)]).values()) == {1.0}


def test_the_same_caption_under_two_images_is_wrong_for_both() -> None:
    rows = torch.eye(12)
    texts = rows.clone()
    texts[1] = texts[0] = rows[0] + rows[1]
    found = measured(rows, texts, torch.arange(12))
    assert found["recall@1_image_to_text"] == found["recall@1_text_to_image"] == pytest.approx(10 / 12)
    assert found["recall@5_image_to_text"] == 1


def test_what_is_not_a_number_is_never_found() -> None:
    assert set(recall(torch.full((12, 12), torch.nan), list(range(12))).values()) == {0.0}


def test_an_image_without_captions_is_never_found() -> None:
    found = recall(torch.eye(3)[:, :2], [0, 1])
    for k in RECALL_AT:
        assert found[f"recall@{k}_image_to_text"] == pytest.approx(2 / 3)
        assert found[f"recall@{k}_text_to_image"] == 1


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case()
    whole = measured(*case)
    for block in (1, 3, 23, 24):
        monkeypatch.setattr(ranks, "BLOCK", {"cpu": (block, 24 - block or 1)})
        assert measured(*case) == whole


def test_batches_give_the_same_as_all_at_once() -> None:
    rows, texts, owner = random_case()
    metric = Retrieval()
    for start in range(0, len(rows), 5):
        mine = (owner >= start) & (owner < start + 5)
        metric.update(rows[start : start + 5], torch.arange(start, min(start + 5, len(rows))), texts[mine], owner[mine] - start)
    assert metric.compute() == measured(rows, texts, owner)
    metric.reset()
    metric.update(torch.eye(12), torch.arange(12), torch.eye(12), torch.arange(12))
    assert metric.compute()["recall"] == 1


def test_the_order_of_captions_does_not_matter() -> None:
    rows, texts, owner = random_case()
    shuffled = torch.randperm(len(texts), generator=torch.Generator().manual_seed(1))
    for name, value in measured(rows, texts[shuffled], owner[shuffled]).items():
        torch.testing.assert_close(value, measured(rows, texts, owner)[name])


def test_rows_of_low_precision_are_compared_in_float32() -> None:
    rows, texts, owner = random_case()
    expected = measured(rows.bfloat16().float(), texts.bfloat16().float(), owner)
    assert measured(rows.bfloat16(), texts.bfloat16(), owner) == expected


def shared_recall() -> dict[str, float]:
    """The recall of this process's share of the batches, the last of which is filled up."""
    rows, texts, owner = random_case()
    metric = Retrieval()
    for batch in Order(len(rows), 4, shuffle=False, seed=0, share=(rank(), 2)):
        numbers = torch.tensor([row if epoch != FILL else -1 for epoch, row in batch])
        own = torch.cat([(owner == row).nonzero()[:, 0] for _, row in batch])
        whose = torch.cat([torch.full((int((owner == row).sum()),), i) for i, (_, row) in enumerate(batch)])
        metric.update(rows[[row for _, row in batch]], numbers, texts[own], whose)
    return {name: value.item() for name, value in metric.compute().items()}


def test_two_processes_measure_what_one_does(pair: Pair) -> None:
    expected = {name: value.item() for name, value in measured(*random_case()).items()}
    for found in pair(shared_recall):
        assert found == pytest.approx(expected, abs=1e-6)


def test_no_more_than_a_block_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            if isinstance(found, Tensor):
                largest.append(found.numel())
            return found

    monkeypatch.setattr(ranks, "BLOCK", {"cpu": (50, 60)})
    images = torch.nn.functional.normalize(torch.randn(300, 4), dim=-1)
    with Watch():
        measured(images, images.repeat(5, 1), torch.arange(300).repeat(5))
    assert max(largest) <= 1500 * 20  # each text's ten best images, and ten that may be better; the matrix would be 450,000
