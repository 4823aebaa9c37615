"""What a study cannot do, told before its first pass: else it would fail after hours of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from culnig_tl.errors import CulnigError
from culnig_tl.neurons.layout import ATTENTION_SITES, SITES, NeuronLayout
from culnig_tl.neurons.selection import check_selectable, share_count
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import StudyData
from culnig_tl.study.maskings import GENERAL, Masking


def check_data(study: Study, maskings: Sequence[Masking], data: StudyData) -> None:
    """Refuse data of which the tables of the study cannot be made.

    Raises:
        CulnigError: a part without instances, an id twice among the tests; for culture-specific
            sets also fewer than two groups to find neurons of, or a group without
            instances where its neurons are found or tested.
    """
    for name, instances in data.parts.items():
        if not instances:
            raise CulnigError(f"no instance for {name!r}: raise its limit, or ask other groups")
    ids = [(i.task, i.id) for i in data.asked]
    if len(set(ids)) < len(ids):
        seen: set[Any] = set()
        task, twice = next(key for key in ids if key in seen or seen.add(key))
        raise CulnigError(f"the test of {task!r} has instance {twice!r} twice: give each one once")
    specific = [masking.name for masking in maskings if masking.kind == "specific"]
    if specific:
        _check_groups(study, specific, data)


def check_selection(study: Study, layout: NeuronLayout) -> None:
    """Refuse shares that leave no culture-general neuron, whatever the scores are.

    Raises:
        EmptySelection: they do.
    """
    sizes = (len(layout.ids_of(SITES[:1])), len(layout.ids_of(ATTENTION_SITES)))
    shares = (study.top_mlp, study.top_attention)
    kept = sum(share_count(size, share) for size, share in zip(sizes, shares, strict=True))
    if not kept:
        check_selectable(NeuronSet(layout, np.empty(0, dtype=np.int64), GENERAL))


def _check_groups(study: Study, specific: Sequence[str], data: StudyData) -> None:
    of = {name: {i.group for i in part if i.group} for name, part in data.parts.items()}
    if len(of["neuron"]) < 2:
        raise CulnigError(
            f"culture-specific sets (specific) need instances of two or more groups, and these "
            f"are of {', '.join(sorted(of['neuron'])) or 'none'}: give more groups, or raise "
            "limit"
        )
    test = f"{study.task} test"
    needed = {"neuron": "limit", test: "focus_limit" if study.focus_limit else "test_limit"}
    if study.control:
        needed["control"] = "limit"
    if study.name_filter:
        needed["names"] = "rc_limit"
    for name, limit in needed.items():
        absent = [group for group in specific if group not in of[name]]
        if absent:
            raise CulnigError(
                f"no instance of {name!r} is about {absent[0]!r}, of which a culture-specific set "
                f"(specific) is asked: raise {limit}, now {getattr(study, limit)}, or ask without "
                f"that group; there are {', '.join(sorted(of[name]))}"
            )
