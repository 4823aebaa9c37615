import weakref
from types import SimpleNamespace

import pytest
import tiny
import torch

from culnig_tl.errors import CulnigError
from culnig_tl.measure import evaluation
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.batches import (
    fitting_budget,
    flat_positions,
    group_rows,
    in_batches,
    key_value_bytes,
    pad_batch,
    token_bytes,
)

LENGTHS = [3, 9, 4, 4, 1, 20]


@pytest.mark.parametrize("budget", [1, 12, 20, 1000])
def test_plan_takes_every_row_once_within_the_budget(budget):
    plan = group_rows(range(6), LENGTHS, budget)
    assert sorted(row for rows in plan for row in rows) == list(range(len(LENGTHS)))
    for rows in plan:
        assert len(rows) == 1 or len(rows) * max(LENGTHS[row] for row in rows) <= budget
    longest = [LENGTHS[row] for rows in plan for row in rows]
    assert longest == sorted(LENGTHS, reverse=True)


def test_plan_by_hand():
    # 20 alone; 9 alone (2 x 9 > 12); 4, 4, 3 make 3 x 4; 1 alone.
    assert group_rows(range(6), LENGTHS, 12) == [[5], [1], [2, 3, 0], [4]]
    assert group_rows([4, 0, 3], LENGTHS, 12) == [[3, 0, 4]]


def test_no_budget():
    with pytest.raises(CulnigError, match="token budget is 0: give 1 or more"):
        list(in_batches([1], LENGTHS, 0, work=len, what="Test"))


def test_padding_is_on_the_left():
    tokenizer = SimpleNamespace(pad_token_id=None, eos_token_id=9)
    batch = pad_batch([[1, 2, 3], [4], [5, 6]], [2, 0], tokenizer, device="cpu")
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
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
    ],
)
def test_out_of_memory_halves_the_tokens_once(error, caplog):
    seen = []

    def work(rows):
        seen.append(rows)
        if len(rows) * max(LENGTHS[row] for row in rows) > 16 and len(rows) > 1:
            raise error
        return sum(LENGTHS[row] for row in rows)

    found = list(in_batches(range(6), LENGTHS, 30, work=work, what="Test"))
    # 20 alone; 9, 4, 4 are too many at 27 tokens; then 13 fit: 9 alone, 4, 4, 3 and 1 alone.
    assert seen == [[5], [1, 2, 3], [1], [2, 3, 0], [4]]
    assert found == [([5], 20), ([1], 9), ([2, 3, 0], 11), ([4], 1)]
    assert caplog.messages == ["out of memory on 27 tokens: going on with half of them"]


def test_out_of_memory_twice_says_what_to_lower():
    def work(rows):
        raise torch.OutOfMemoryError("x")

    message = r"out of memory on a batch of 1 x 9 tokens: lower token_budget .*, now 9"
    with pytest.raises(CulnigError, match=message):
        list(in_batches([1, 2], LENGTHS, 18, work=work, what="Test"))
    with pytest.raises(CulnigError, match="1 x 20 tokens: .* now 30"):  # half of one row is none
        list(in_batches(range(6), LENGTHS, 30, work=work, what="Test"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not match"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: misaligned address; memory may be corrupted"),
        RuntimeError("Expected a contiguous memory format"),
        RuntimeError("unsupported memory format option"),
        RuntimeError("pin_memory: cannot pin 'torch.cuda.FloatTensor'"),
        RuntimeError("some elements refer to the same memory location"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        RuntimeError("uncorrectable ECC error in memory"),
        CulnigError("a budget of memory"),
        KeyError("memory"),
    ],
)
def test_other_errors_pass(error, caplog):
    def work(rows):
        seen.append(rows)
        raise error

    seen: list = []
    with pytest.raises(type(error)) as caught:
        list(in_batches(range(6), LENGTHS, 30, work=work, what="Test"))
    assert caught.value is error
    assert len(seen) == 1  # not tried again
    assert not caplog.messages


@pytest.mark.model
def test_the_budget_fits_the_free_memory(monkeypatch):
    model = tiny.bridge("llama")
    cfg = model.cfg
    assert fitting_budget(model, 10) == 1024  # a small model: no more than is of use
    assert fitting_budget(model, 10, gradients=False) == 2048
    each = token_bytes(
        cfg.n_layers,
        cfg.d_model,
        cfg.d_mlp,
        heads=cfg.n_heads,
        d_vocab=cfg.d_vocab,
        width=4,
        longest=10,
    )
    free = {"available": int(2 * 500.5 * each)}
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(**free))
    assert fitting_budget(model, 10) == 500
    assert fitting_budget(model, 700) == 700  # one sequence at least
    heads = cfg.n_key_value_heads
    cached = 5 * key_value_bytes(cfg.n_layers, heads, cfg.d_head, width=4)
    expected = int(free["available"] / 2 / (each + cached))
    assert fitting_budget(model, 10, cached=5) == expected
    for name, value in {
        "RANK": "0",
        "MASTER_ADDR": "x",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert fitting_budget(model, 10) == 250  # two processes on this machine


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_bytes_of_keys_and_values_are_counted(monkeypatch, kind, model_class):
    """Of all caches alive at a time: of the prompts, and the copies for a pass of options."""
    alive, most = {}, []

    def held(cache) -> int:
        if cache._native:
            tensors = [t for e in cache._cache.entries for t in (e.past_keys, e.past_values)]
        else:
            tensors = [t for layer in cache._cache.layers for t in (layer.keys, layer.values)]
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    class Watched(evaluation.PrefixCache):
        def run(self, *arguments):
            found = super().run(*arguments)
            alive[id(self)] = held(self)
            weakref.finalize(self, alive.pop, id(self))
            most.append(sum(alive.values()))
            return found

        def take(self, rows):
            taken = super().take(rows)
            taken.__class__ = Watched
            return taken

    monkeypatch.setattr(evaluation, "PrefixCache", Watched)
    model, instances = tiny.model(kind, model_class), tiny.different(12)
    evaluate(model, instances, token_budget=64)
    cfg = model.cfg
    heads = cfg.n_key_value_heads or cfg.n_heads
    a_token = key_value_bytes(cfg.n_layers, heads, cfg.d_head, width=4)
    assert 0 < max(most) <= (1 + evaluation.COPIES) * 64 * a_token
