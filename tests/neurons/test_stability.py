import dataclasses

import numpy as np
import pytest
from culture_by_hand import BIG, LAYOUT, scores

from culnig_tl.errors import CulnigError
from culnig_tl.neurons.scores import Part, Scores
from culnig_tl.neurons.selection import select_general
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.neurons.stability import jaccard, stability


def parted(first: dict[int, float], second: dict[int, float]) -> Scores:
    """Scores whose halves have these means, and two resamples: the first half, and the whole."""
    one, other = scores(first), scores(second)
    sums = one.sums + other.sums
    parts = {
        "half 0": Part(one.sums, (2,)),
        "resample 0": Part(one.sums, (2,)),
        "resample 1": Part(sums, (4,)),
    }
    return dataclasses.replace(one, sums=sums, instances=(4,), parts=parts)


def select(parts) -> NeuronSet:
    return select_general(parts["neuron"], None, None, top_mlp=0.1, top_attention=0.0)


def test_jaccard_by_hand():
    one, other = (NeuronSet(LAYOUT, np.array(ids), "x") for ids in ([1, 2, 3], [2, 3, 4, 5]))
    assert jaccard(one, other) == 2 / 5
    assert jaccard(one, one) == 1


def test_jaccard_of_two_models():
    with pytest.raises(CulnigError, match="neurons"):
        jaccard(NeuronSet(LAYOUT, np.array([1]), "x"), NeuronSet(BIG, np.array([1]), "y"))


def test_stability_by_hand():
    # Two neurons each: 0 and 1, 1 and 2; of the whole 1 and 2.
    found = stability(select, {"neuron": parted({0: 2, 1: 3}, {1: 3, 2: 9})})
    assert found["jaccard_halves"] == pytest.approx(1 / 3)
    assert found["jaccard_resamples"] == pytest.approx(1 / 3)
    # 2 x 2 / 36 neurons are shared by chance.
    assert found["jaccard_chance"] == pytest.approx((4 / 36) / (4 - 4 / 36))


def test_the_same_on_both_halves():
    found = stability(select, {"neuron": parted({0: 2, 1: 3}, {0: 1, 1: 5})})
    assert (found["jaccard_halves"], found["jaccard_resamples"]) == (1, 1)


def test_scores_without_parts_say_nothing():
    found = stability(select, {"neuron": scores({0: 1, 1: 2})})
    assert all(np.isnan(value) for value in found.values())


def test_a_half_that_selects_nothing_says_nothing():
    found = stability(select, {"neuron": parted({0: 2, 1: 3}, {})})
    assert np.isnan(found["jaccard_halves"])
