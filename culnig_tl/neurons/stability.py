"""Stability: would other questions have found the same neurons? Needs no model, only scores."""

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np

from culnig_tl.errors import CulnigError
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet, require_same_model

Select = Callable[[Mapping[str, Scores]], NeuronSet]


def jaccard(one: NeuronSet, other: NeuronSet) -> float:
    """The share of the neurons of either set that are in both: 1 for equal sets, 0 for disjoint.

    Raises:
        CulnigError: sets of different models, or both without neurons.

    Example:
        `few` is a set of four of the 23 `neurons`.

        >>> round(jaccard(neurons, few), 3)
        0.174
    """
    require_same_model(other, one.layout)
    shared, every = len(np.intersect1d(one.ids, other.ids)), len(np.union1d(one.ids, other.ids))
    if not every:
        raise CulnigError(f"{one.name!r} and {other.name!r} have no neurons: nothing to compare")
    return shared / every


def stability(select: Select, scores: Mapping[str, Scores]) -> dict[str, float]:
    """How far a selection depends on which questions it was made from.

    The selection is made again from each half of the questions, and from each bootstrap resample
    of them that the scores keep. A half has half of the evidence, so that the whole set is more
    stable than its halves say.

    Args:
        select: makes the set from scores by name, as `scores` are.

    Returns:
        jaccard_halves: `jaccard` of the two halves' sets; jaccard_resamples: its mean over all
        pairs of resamples (NaN for a set of one group, as resamples hold all together);
        jaccard_chance: what two random sets of the halves' sizes share. NaN where a part of the
        questions selects nothing, or where the scores keep no parts.

    Example:
        `scores` are what `attribute` found on eight questions.

        >>> found = stability(lambda parts: select_general(parts["neuron"], None, None,
        ...     top_mlp=0.1), {"neuron": scores})
        >>> sorted(found)
        ['jaccard_chance', 'jaccard_halves', 'jaccard_resamples']
    """
    halves = _selected(select, scores, count=2, part=Scores.half)
    count = min(part.resamples for part in scores.values())
    drawn = _selected(select, scores, count=count, part=Scores.resample)
    found: dict[str, float] = dict.fromkeys(
        ("jaccard_halves", "jaccard_resamples", "jaccard_chance"), np.nan
    )
    if halves:
        one, other = map(len, halves)
        shared = one * other / halves[0].layout.total
        found["jaccard_halves"] = jaccard(*halves)
        found["jaccard_chance"] = shared / (one + other - shared)
    if len(drawn) > 1:
        found["jaccard_resamples"] = float(np.mean([jaccard(*p) for p in combinations(drawn, 2)]))
    return found


def _selected(
    select: Select,
    scores: Mapping[str, Scores],
    *,
    count: int,
    part: Callable[[Scores, int], Scores],
) -> list[NeuronSet]:
    """The sets of so many parts, or none if one of them selects nothing."""
    try:
        return [
            select({name: part(whole, number) for name, whole in scores.items()})
            for number in range(count)
        ]
    except CulnigError:  # a part without a question, of a group or at all
        return []
