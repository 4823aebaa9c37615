"""What can be read off a set's activations, against numbers worked by hand."""

import numpy as np
import pytest

from culnig_tl import CulnigError, NeuronSet
from culnig_tl.neurons.activations import Activations, prompt_frame
from culnig_tl.neurons.layout import NeuronLayout

LAYOUT = NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1)


def activations(texts, values, groups=None, questions=None):
    """`texts`: the tokens of each prompt; `values`: by position, a list a neuron."""
    values = np.array(values, dtype=np.float32)
    neurons = NeuronSet(LAYOUT, np.arange(values.shape[1]), "some")
    groups = groups or ["Iran"] * len(texts)
    names = [f"q{n}" for n in range(len(texts))]
    prompts = prompt_frame(
        names, groups=groups, questions=questions or names, counts=[*map(len, texts)]
    )
    return Activations(neurons, prompts, tuple(t for text in texts for t in text), values)


def test_contexts():
    texts = [("a", "b"), ("c",), ("d", "e", "f"), ("a", "b", "g")]
    found = activations(texts, [[1], [5], [-2], [3], [-7], [0.5], [1], [5], [4]])
    frame = found.contexts(0, k=2)
    assert frame.to_dict("list") == {
        "side": [1, 1, -1, -1],
        "instance": ["q0", "q2", "q2", "q1"],  # q3 is q0 up to there
        "group": ["Iran"] * 4,
        "place": [1, 0, 1, 0],
        "activation": [5, 3, -7, -2],
    }
    assert len(found.contexts(0, k=9)) == 4  # nobody else is on that side, or is the same
    for wrong, match in (
        ({"column": 1}, "no neuron 1 in a set of 1"),
        ({"column": 0, "k": 0}, "k"),
    ):
        with pytest.raises(CulnigError, match=match):
            found.contexts(**wrong)


def test_contexts_are_of_different_questions():
    texts = [("a",), ("b",), ("c",)]
    found = activations(texts, [[3], [2], [1]], questions=["x", "x", "y"])
    assert found.contexts(0, k=2)["instance"].tolist() == ["q0", "q2"]


def test_neighbours():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))
    values = np.stack([a, -a + 0.1 * b, b, np.ones(500)], axis=1)
    found = activations([("t",)] * 500, values).neighbours(k=1)
    assert found["column"].tolist() == [0, 1, 2]  # the last never changes
    assert found["neighbour"].tolist()[:2] == [1, 0]
    expected = np.corrcoef(values[:, 0], values[:, 1])[0, 1]
    assert found["correlation"].iloc[0] == pytest.approx(expected, abs=1e-6)
    assert expected < -0.9


def test_explained():
    texts = [("t", "u")] * 6
    groups = ["x", "x", "x", "y", "y", "y"]
    means = np.array([1.0, 2, 3, 11, 12, 13])
    values = np.stack([np.repeat(means, 2), np.full(12, 7.0)], axis=1)
    values[::2, 0] -= 1  # within a prompt the mean counts
    values[1::2, 0] += 1
    share = activations(texts, values).explained(groups)
    # Within: 4; total: 4 + 6 * 25; (n - 1) / (n - g) = 5 / 4.
    assert share[0] == pytest.approx(1 - 5 / 4 * 4 / 154)
    assert np.isnan(share[1])
    assert np.isnan(activations(texts, values).explained([*"abcdef"])).all()
    without = activations([*texts, ("t",)], [*values, [99, 99]]).explained([*groups, None])
    np.testing.assert_array_equal(without, share)
    with pytest.raises(CulnigError, match="2 groups for 6 prompts"):
        activations(texts, values).explained(["x", "y"])


def test_groups_that_mean_nothing_explain_nothing():
    rng = np.random.default_rng(1)
    found = activations([("t",)] * 120, rng.normal(size=(120, 4)))
    shares = [found.explained([str(g) for g in rng.integers(30, size=120)]) for _ in range(200)]
    assert abs(np.mean(shares)) < 0.02


def test_it_shows_itself():
    found = activations([("a", "b")], [[1], [2]], [None])
    assert repr(found) == "Activations of 1 neurons at 2 positions of 1 prompts"
    assert found.prompts["group"].tolist() == [""]
