from types import SimpleNamespace

import pytest
import torch

from culnig_tl.batches import flat_positions, memory_errors, pad_batch, plan_batches
from culnig_tl.errors import CulnigError

LENGTHS = [3, 9, 4, 4, 1, 20]


@pytest.mark.parametrize("budget", [1, 12, 20, 1000])
def test_plan_takes_every_row_once_within_the_budget(budget):
    plan = plan_batches(LENGTHS, budget)
    assert sorted(row for rows in plan for row in rows) == list(range(len(LENGTHS)))
    for rows in plan:
        assert len(rows) == 1 or len(rows) * max(LENGTHS[row] for row in rows) <= budget
    longest = [LENGTHS[row] for rows in plan for row in rows]
    assert longest == sorted(LENGTHS, reverse=True)


def test_plan_by_hand():
    # 20 alone; 9 alone (2 x 9 > 12); 4, 4, 3 make 3 x 4; 1 alone.
    assert plan_batches(LENGTHS, 12) == [[5], [1], [2, 3, 0], [4]]


def test_no_budget():
    with pytest.raises(CulnigError, match="token budget 0: give 1 or more"):
        plan_batches(LENGTHS, 0)


def test_padding_is_on_the_left():
    tokenizer = SimpleNamespace(pad_token_id=None, eos_token_id=9)
    batch = pad_batch([[1, 2, 3], [4], [5, 6]], [2, 0], tokenizer, "cpu")
    assert batch.rows == (2, 0)
    assert batch.tokens.tolist() == [[9, 5, 6], [1, 2, 3]]
    assert batch.mask.tolist() == [[0, 1, 1], [1, 1, 1]]


def test_flat_positions():
    assert flat_positions([(4, 1), (3, 2)], 5, "cpu").tolist() == [3, 6, 7]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("x"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_lower(error):
    message = "out of memory on a batch of 2 x 9 tokens: lower token_budget .*, now 18"
    with pytest.raises(CulnigError, match=message), memory_errors([1, 2], LENGTHS, 18):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors([1], LENGTHS, 18):
        raise RuntimeError("shapes do not match")
