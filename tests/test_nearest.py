"""Search: exactly what comparing with every row gives, and from codes the same, on data where that can be asked."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from indexes import WIDTH, build, of_rows, reference, sample, some

from cliptune import index as index_module
from cliptune import index_writer, nearest
from cliptune.index import Index


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="cliptune")
    return caplog


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of rows counts as too many for exact search."""
    monkeypatch.setattr(index_module, "EXACT_VALUES", 0)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (99, 10), (100, 5), (1003, 10), (1003, 700)])
def test_exact_search_is_sorting_all_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, k: int) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 100)
    monkeypatch.setattr(nearest, "QUERIES", 7)
    index, queries = of_rows(tmp_path / "index", sample(count)), sample(20, seed=1)
    scores, numbers = index.search(queries, k)
    wanted = reference(index.rows, queries, k)
    np.testing.assert_array_equal(numbers, wanted[1])
    np.testing.assert_allclose(scores, wanted[0], atol=1e-6)  # a cosine's float32
    assert (scores.dtype, numbers.dtype) == (np.float32, np.int64)


def test_equal_rows_come_in_their_order_over_the_bounds_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 10)
    rows = np.tile(np.eye(WIDTH, dtype=np.float32)[:2], (50, 1))  # [100, D], first and second axis in turns
    scores, numbers = of_rows(tmp_path / "index", rows).search(rows[1:2], k=60)
    assert numbers[0].tolist() == [*range(1, 100, 2), *range(0, 20, 2)]
    assert scores[0].tolist() == [1.0] * 50 + [0.0] * 10


def test_fewer_images_than_asked_are_all_given(tmp_path: Path) -> None:
    scores, numbers = of_rows(tmp_path / "index", sample(3)).search(sample(2, seed=1), k=10)
    assert scores.shape == numbers.shape == (2, 3)
    assert np.sort(numbers).tolist() == [[0, 1, 2]] * 2


def test_queries_may_be_tensors_of_any_length_and_precision(tmp_path: Path) -> None:
    index, queries = of_rows(tmp_path / "index", sample(50)), sample(4, seed=1)
    tensor = torch.tensor(5 * queries, dtype=torch.bfloat16).requires_grad_()
    scores, numbers = index.search(tensor, k=3)
    wanted = reference(index.rows, queries, 3)
    np.testing.assert_allclose(scores, wanted[0], atol=0.01)  # eight bits of mantissa
    np.testing.assert_array_equal(numbers[:, 0], wanted[1][:, 0])


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("width", [24, 33])
def test_codes_find_what_exact_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows, queries = np.tile(sample(1500, width=width), (2, 1)), sample(200, seed=1, width=width)  # each row twice
    index = of_rows(tmp_path / "index", rows)
    assert (index.part / "ann.faiss").is_file()
    exact = index.search(queries, exact=True)

    def not_asked(*_: object) -> None:
        raise AssertionError("compared with every row")

    monkeypatch.setattr(nearest, "_by_blocks", not_asked)
    found = index.search(queries)
    np.testing.assert_array_equal(found[1], exact[1])
    np.testing.assert_array_equal(found[0], exact[0])
    with pytest.raises(AssertionError, match="every row"):
        index.search(queries, exact=True)
    with pytest.raises(AssertionError, match="every row"):  # so many candidates cost more than exact search
        index.search(queries, k=1000)


@pytest.mark.usefixtures("large")
def test_codes_serve_texts_which_lie_elsewhere_than_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP's images lie in a narrow cone and its texts in another: lists around images (IVF) do not have what is near a text together."""
    monkeypatch.setattr(nearest, "FOUND_FEWEST", 0)
    draw, shared = np.random.default_rng(0), np.eye(WIDTH)[0]
    rows, queries = 20 * shared + draw.standard_normal((3000, WIDTH)), -2 * shared + draw.standard_normal((100, WIDTH))
    index = of_rows(tmp_path / "index", rows)
    exact, found = index.search(queries, exact=True)[1], index.search(queries)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.95, recall  # 0.98; 0.75 with half the bits, 0.56 with lists


@pytest.mark.usefixtures("large")
def test_without_faiss_search_is_exact_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    of_rows(tmp_path / "index", sample(1000))
    for module in (index_module, index_writer):
        monkeypatch.setattr(module, "has_faiss", lambda: False)
    index, queries = Index.open(tmp_path / "index"), sample(5, seed=1)
    for _ in range(2):
        np.testing.assert_array_equal(index.search(queries)[1], reference(index.rows, queries, 10)[1])
    assert said.messages == [
        "faiss is not installed: 1,000 rows are compared one by one, which takes longer. Install it: pip install 'cliptune[search]'"
    ]


@pytest.mark.usefixtures("large")
def test_an_index_made_without_faiss_gets_its_codes_from_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as without:
        without.setattr(index_writer, "has_faiss", lambda: False)
        build(tmp_path / "index", some(1000), batch=100)
    assert "pip install 'cliptune[search]'" in said.text
    said.clear()
    Index.open(tmp_path / "index").search(sample(1))
    assert said.messages == [
        f"the index {tmp_path / 'index'} was made without faiss: 1,000 rows are compared one by one, which takes longer. "
        "Run `cliptune index` again."
    ]
    before = (tmp_path / "index" / "index.json").read_bytes()
    assert build(tmp_path / "index", some(1000)) == []
    assert (Index.open(tmp_path / "index").part / "ann.faiss").is_file()
    assert (tmp_path / "index" / "index.json").read_bytes() == before


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("damage", ["cut", "another's"])
def test_damaged_codes_cost_time_only(tmp_path: Path, said: pytest.LogCaptureFixture, damage: str) -> None:
    index = of_rows(tmp_path / "index", sample(1000))
    file = index.part / "ann.faiss"
    other = of_rows(tmp_path / "other", sample(999)).part / "ann.faiss"
    file.write_bytes(file.read_bytes()[:-100] if damage == "cut" else other.read_bytes())
    queries = sample(5, seed=1)
    np.testing.assert_array_equal(index.search(queries)[1], reference(index.rows, queries, 10)[1])
    assert f"{file} is damaged" in said.text
