"""Hooks for as long as a `with` lasts: named once, gone afterwards, those of others left alone."""

import pytest
import tiny
import torch

from culnig_tl.models.hooks import hooked

pytestmark = pytest.mark.model
TOKENS = torch.tensor([[1, 2, 3]])
NAME = "blocks.1.mlp.hook_pre"


def hooks_on(model) -> int:
    return sum(len(p.fwd_hooks) + len(p.bwd_hooks) for p in set(model.hook_dict.values()))


@pytest.fixture(params=tiny.FEWER_MODELS, ids=str)
def model(request):
    return tiny.model(*request.param)


def test_they_fire_once_and_are_gone(model):
    fired = []
    with hooked(model, [(NAME, lambda x, hook: fired.append(tuple(x.shape)))]) as same:
        assert same is model
        model(TOKENS)
        assert hooks_on(model) == 1
    model(TOKENS)
    assert (len(fired), fired[0][:2]) == (1, (1, 3))
    assert (hooks_on(model), model.context_level) == (0, 0)


def test_they_are_gone_after_an_exception(model):
    with (
        pytest.raises(KeyError, match="no such hook"),
        hooked(model, [(NAME, print), ("no such hook", print)]),
    ):
        pass
    assert (hooks_on(model), model.context_level) == (0, 0)
    with pytest.raises(ZeroDivisionError), hooked(model, [(NAME, lambda x, hook: 1 / 0)]):
        model(TOKENS)
    assert (hooks_on(model), model.context_level) == (0, 0)


def test_hooks_of_others_stay(model):
    """Those around it, within and without, also at the same hook point."""
    fired = []
    model.hook_dict[NAME].add_hook(lambda x, hook: fired.append("the caller's"))
    try:
        with hooked(model, [(NAME, lambda x, hook: fired.append("outer"))]):
            with hooked(model, [(NAME, lambda x, hook: fired.append("inner"))]):
                model(TOKENS)
            model(TOKENS)
        model(TOKENS)
    finally:
        model.hook_dict[NAME].remove_hooks()
    assert fired == ["the caller's", "outer", "inner", "the caller's", "outer", "the caller's"]


def test_a_bridge_lists_its_hooks_once(monkeypatch):
    """Its list takes every layer's aliases: once a hook, it took longer than the pass itself."""
    model = tiny.bridge("llama", seed=7)
    listed, lists = [], type(model).hook_dict

    def counted(self):
        listed.append(1)
        return lists.fget(self)

    monkeypatch.setattr(type(model), "hook_dict", property(counted))
    many = [(f"blocks.{layer}.mlp.hook_pre", lambda x, hook: None) for layer in range(3)]
    for _ in range(3):
        with hooked(model, many, bwd_hooks=many):
            model(TOKENS)
    assert len(listed) <= 1
