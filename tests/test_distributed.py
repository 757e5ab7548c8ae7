"""What processes tell one another: alone, and in two processes over gloo."""

import pytest
import torch
from pair import Pair
from torch import Tensor

from cliptune.distributed import gather_rows, gathered, greatest, mean_of, rank, sizes_of, total, world
from cliptune.objectives.lse import ColumnLSE

DEVICE = torch.device("cpu")


def rows_of(number: int, count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(number))


def test_alone_everything_is_its_input() -> None:
    rows = rows_of(0, 4)
    assert (world(), rank()) == (1, 0)
    assert gather_rows(rows) is rows
    assert sizes_of(4, 2, device=DEVICE) == [[4], [2]]
    assert torch.equal(total(rows), rows)
    assert torch.equal(greatest(rows), rows)
    assert gathered([1]) == [1]
    assert mean_of({"a": torch.tensor(2.0)}) == {"a": torch.tensor(2.0)}


def gather_both(counts: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The rows of both, and the gradient of this one's."""
    own = rows_of(rank(), counts[rank()]).requires_grad_()
    sizes = None if counts[0] == counts[1] else sizes_of(len(own), device=DEVICE)[0]
    everything = gather_rows(own, sizes)
    weights = torch.arange(everything.numel()).view_as(everything) * (rank() + 1.0)  # each process's loss is another
    (everything * weights).sum().backward()
    assert own.grad is not None
    return everything.detach(), own.grad


@pytest.mark.parametrize("counts", [(4, 4), (5, 2), (3, 0)])
def test_rows_are_gathered_in_rank_order_with_the_gradient_of_all_losses(pair: Pair, counts: tuple[int, int]) -> None:
    found = pair(gather_both, counts)
    expected = torch.cat([rows_of(0, counts[0]), rows_of(1, counts[1])])
    gradient = torch.arange(expected.numel()).view_as(expected) * 3.0  # 1 from the first loss, 2 from the second
    for i, (everything, own) in enumerate(found):
        assert torch.equal(everything, expected)
        assert torch.equal(own, gradient.split(list(counts))[i])


def numbers() -> tuple[list[list[int]], Tensor, Tensor, list[str], float]:
    own = rank() + 1
    value = torch.tensor([1.0, -2.0]) * own
    mean = mean_of({"a": torch.tensor(0.0), "b": torch.tensor(float(own))})["b"]
    return sizes_of(own, 10 * own, device=DEVICE), total(value), greatest(value), gathered(["ab"[rank()]] * own), float(mean)


def test_sizes_sums_greatest_and_items_are_those_of_both(pair: Pair) -> None:
    for sizes, summed, most, items, mean in pair(numbers):
        assert sizes == [[1, 2], [10, 20]]
        assert summed.tolist() == [3, -6]
        assert most.tolist() == [2, -2]
        assert items == ["a", "b", "b"]
        assert mean == 1.5


def columns() -> Tensor:
    found = ColumnLSE(3, DEVICE)
    for block in (100 * rows_of(rank(), 5)).split(2):
        found.update(block)
    return found.over_ranks()


def test_columns_are_summed_over_blocks_and_processes(pair: Pair) -> None:
    expected = (100 * torch.cat([rows_of(0, 5), rows_of(1, 5)])).logsumexp(dim=0)
    for found in pair(columns):
        torch.testing.assert_close(found, expected)


def test_a_column_of_nothing_is_nothing() -> None:
    found = ColumnLSE(2, DEVICE)
    found.update(torch.tensor([[-torch.inf, 1.0]]))
    found.update(torch.tensor([[-torch.inf, 2.0]]))
    assert found.over_ranks().tolist() == pytest.approx([-torch.inf, 2.3133], abs=1e-4)
