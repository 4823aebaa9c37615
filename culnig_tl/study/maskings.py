"""What a study masks: its sets of neurons, and what is asked with each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from culnig_tl.neurons.scores import VARIANTS, Scores
from culnig_tl.neurons.selection import (
    select_general,
    select_random,
    select_specific,
)
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import StudyData, passage_groups
from culnig_tl.tasks.instances import Instance

GENERAL = "culture-general"
SWEEP_TOP = (0.0025, 0.005, 0.01, 0.02)
SWEEP_REMOVE = (0.0, 0.01, 0.03)
SWEEP_ITEMS = 400


@dataclass(frozen=True)
class Masking:
    """One evaluation of a study: a set of neurons by name, and how it comes from the scores.

    Attributes:
        name: the set's name; `original` for nothing masked.
        kind: `original`, `general`, `random`, `matched`, `specific`, `ablation` or `sweep`.
        select: from the scores of `SCORED` and the culture-general set; None masks nothing.
        about: what distinguishes it within its kind (a sweep's shares).
    """

    name: str
    kind: str
    select: Callable[[Mapping[str, Scores], NeuronSet | None], NeuronSet] | None
    about: Mapping[str, float] = field(default_factory=dict)


def study_maskings(study: Study) -> list[Masking]:
    """All evaluations of the study, in the order in which they are made."""
    chosen: dict[str, Any] = {
        "variant": study.variant,
        "top_mlp": study.top_mlp,
        "top_attention": study.top_attention,
        "remove": study.remove,
        "control": study.control,
        "name_filter": study.name_filter,
    }

    def general(name: str, kind: str, about: Mapping[str, float], **changes: Any) -> Masking:
        now = chosen | changes

        def select(scores: Mapping[str, Scores], _: NeuronSet | None) -> NeuronSet:
            return select_general(
                scores["neuron"],
                scores["control"] if now["control"] else None,
                scores["names"] if now["name_filter"] else None,
                variant=now["variant"],
                top_mlp=now["top_mlp"],
                top_attention=now["top_attention"],
                remove=now["remove"],
                name=name,
                target=study.target,
            )

        return Masking(name=name, kind=kind, select=select, about=about)

    def random(seed: int, matched: bool) -> Masking:
        def select(_: Mapping[str, Scores], like: NeuronSet | None) -> NeuronSet:
            assert like is not None
            return select_random(like, seed, matched=matched)

        kind = "matched" if matched else "random"
        return Masking(f"random-{'matched-' if matched else ''}{seed}", kind, select)

    def specific(group: str) -> Masking:
        def select(scores: Mapping[str, Scores], _: NeuronSet | None) -> NeuronSet:
            return select_specific(
                scores["neuron"],
                scores["control"] if study.control else None,
                scores["names"] if study.name_filter else None,
                group=group,
                variant=study.variant,
                top=study.top,
                remove=study.remove,
                least_z=study.least_z,
                target=study.target,
            )

        return Masking(group, "specific", select)

    maskings = [Masking("original", "original", None), general(GENERAL, "general", {})]
    maskings += [random(seed, False) for seed in range(study.seeds)]
    if study.specific:
        maskings += [specific(group) for group in passage_groups(study)]
    if study.ablations:
        maskings += [
            general(f"score {variant}", "ablation", {}, variant=variant)
            for variant in VARIANTS
            if variant != study.variant
        ]
        maskings += [
            general("without control", "ablation", {}, control=False),
            general("without CountryRC", "ablation", {}, name_filter=False),
            general("MLP only", "ablation", {}, top_attention=0.0),
            general("attention only", "ablation", {}, top_mlp=0.0),
        ]
    maskings += [random(seed, True) for seed in range(study.matched_seeds)]
    if study.sweep:
        ratio = study.top_attention / study.top_mlp if study.top_mlp else 1.0
        maskings += [
            general(
                f"sweep t={top} r={remove}",
                "sweep",
                {"t": top, "r": remove},
                top_mlp=top,
                top_attention=min(1.0, top * ratio),
                remove=remove,
            )
            for top in SWEEP_TOP
            for remove in SWEEP_REMOVE
        ]
    return maskings


def instances_of(masking: Masking, data: StudyData) -> list[Instance]:
    """What is asked with a set masked: all tests; a group's set, only what has groups; a
    sweep's set, a part of the task itself."""
    if masking.kind == "specific":
        return [instance for instance in data.asked if instance.group is not None]
    if masking.kind == "sweep":
        # Every so many, as instances come in the order of their file.
        own = list(next(iter(data.tests.values())))
        return own[:: max(1, -(-len(own) // SWEEP_ITEMS))]
    return data.asked
