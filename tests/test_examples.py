"""Each public name has an example in its docstring; pytest runs them with `--doctest-modules`."""

import doctest
import inspect

import pytest

import culnig_tl


@pytest.mark.parametrize("name", culnig_tl.__all__)
def test_every_public_name_has_an_example(name):
    text = inspect.getdoc(getattr(culnig_tl, name)) or ""
    before, _, example = text.partition("Example:")
    assert doctest.DocTestParser().get_examples(example), f"{name} has no example"
    assert ">>>" not in before
