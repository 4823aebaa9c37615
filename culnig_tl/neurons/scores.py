"""Attribution scores of every neuron, per group: what they are, saving, loading, averaging."""

import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from culnig_tl.checks import check_count, shown
from culnig_tl.earlier import SCORES, named_now
from culnig_tl.errors import CulnigError, FlatRanking
from culnig_tl.files import write_atomically
from culnig_tl.neurons.estimates import Estimate
from culnig_tl.neurons.layout import LAYOUT_SCHEMA, NeuronLayout
from culnig_tl.provenance import Provenance
from culnig_tl.schemas import check_object, damaged
from culnig_tl.tensors import read_tensors, write_tensors

Variant = Literal["max", "mean", "norm"]
Target = Literal["product", "geometric", "log"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
TARGETS: tuple[Target, ...] = get_args(Target)
# By answer format: the paper's for letters; for cloze what benchmarks/targets.py found best.
DEFAULT_TARGETS: dict[str, Target] = {"letter": "product", "cloze": "log"}
_log = logging.getLogger(__name__)
# The last is written. Before version 4 the groups were called countries.
_FORMATS = tuple(f"culnig_tl scores, version {number}" for number in (2, 3, 4))
MADE_FROM = {
    "model": {"name": str},
    "dataset": {"hash": str, "task": str, "split": str},
}
_SCHEMA = {
    "layout": LAYOUT_SCHEMA,
    "targets": [str],
    "variants": [str],
    "groups": [str],
    "instances": [int],
    "provenance": MADE_FROM,
    "parts?": {...: [int]},
}
_AGAIN = "score again"


@dataclass(frozen=True)
class Part:
    """Sums over a part of the questions.

    Attributes:
        sums: [target, variant, group, neuron], as those of `Scores`; of a resample the default
            target alone, and one group for all.
        instances: how many of each group are in it; 0 where there is none.
    """

    sums: np.ndarray
    instances: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Sums of T * s over instances, for each target T, score variant, group and neuron.

    s is the neuron's activation x gradient of T, reduced over positions by the variant
    (equations 6, 7, 10). The targets, with y of L tokens:

    - `product`: P(y|x), the product of its tokens' probabilities, as in the paper.
    - `geometric`: P(y|x)^(1/L), the geometric mean per token, so that a long answer counts too.
    - `log`: log P(y|x) / L, and every instance weighs the same, however unlikely its answer.

    Attributes:
        layout: the model's neurons; the last axis of `sums` is the flat id.
        targets: names along the first axis; the first is the default.
        variants: names along the second axis.
        groups: names along the third axis; `(none)` for instances without a group.
        instances: number of instances of each group.
        sums: [target, variant, group, neuron], float32.
        provenance: model, versions, dataset name and hash, arguments.
        parts: the same sums over parts of the questions (`half`, `resample`); empty for scores
            that were made before there were any.

    Example:
        `scores` are what `attribute` found on eight questions about four groups.

        >>> scores.groups
        ('Iran', 'Spain', 'China', 'Mexico')
        >>> scores.mean(groups=["Iran"], target="log").shape
        (336,)
        >>> list(scores.highest(count=3).columns)
        ['layer', 'site', 'index', 'score']
    """

    layout: NeuronLayout
    targets: tuple[Target, ...]
    variants: tuple[Variant, ...]
    groups: tuple[str, ...]
    instances: tuple[int, ...]
    sums: np.ndarray
    provenance: Provenance
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate:
        """How neurons' effects were estimated (`ESTIMATES`)."""
        return self.provenance.get("arguments", {}).get("estimate", "first_order")

    def half(self, number: int) -> "Scores":
        """The scores of one half of the questions, 0 or 1, as a stable hash divides them.

        Raises:
            CulnigError: these scores keep no halves, or there is no question in this half.
        """
        check_count("half", number, most=1)
        part = self._part("half 0")
        if number:
            counts = tuple(n - m for n, m in zip(self.instances, part.instances, strict=True))
            part = Part(self.sums - part.sums, counts)
        there = [row for row, count in enumerate(part.instances) if count]
        if not there:
            raise CulnigError(f"no question is in half {number} of these scores: score more")
        return replace(
            self,
            groups=tuple(self.groups[row] for row in there),
            instances=tuple(part.instances[row] for row in there),
            sums=part.sums[:, :, there],
            parts={},
        )

    @property
    def resamples(self) -> int:
        """How many bootstrap resamples of the questions these scores keep."""
        return sum(name.startswith("resample") for name in self.parts)

    def resample(self, number: int) -> "Scores":
        """The scores of a bootstrap resample of the questions: of all groups together, and of
        the default target.

        Raises:
            CulnigError: these scores keep no such resample, or nothing was drawn.
        """
        part = self._part(f"resample {number}")
        if not any(part.instances):
            raise CulnigError(f"no question is in resample {number} of these scores: score more")
        return replace(
            self,
            targets=self.targets[:1],
            groups=("all",),
            instances=part.instances,
            sums=part.sums,
            parts={},
        )

    def _part(self, name: str) -> Part:
        if name not in self.parts:
            raise CulnigError(f"these scores hold no {name} of their questions: score again")
        return self.parts[name]

    def mean(
        self,
        *,
        variant: Variant = "max",
        groups: Sequence[str] | None = None,
        target: Target | None = None,
    ) -> np.ndarray:
        """Sum over the groups divided by their number of instances: one value per flat id.

        Without a `target`, the first that these scores hold.

        Raises:
            CulnigError: a variant, group or target that these scores do not hold; groups
                without instances; a score that is NaN or infinite.
        """
        target = target or self.targets[0]
        if target not in self.targets:
            raise CulnigError(f"no target {target!r}: these scores hold {', '.join(self.targets)}")
        if variant not in self.variants:
            raise CulnigError(
                f"no score variant {variant!r}: these scores hold {', '.join(self.variants)}"
            )
        wanted = self.groups if groups is None else tuple(dict.fromkeys(groups))
        absent = [group for group in wanted if group not in self.groups]
        if absent:
            raise CulnigError(f"no scores for {absent[0]!r}: these hold {', '.join(self.groups)}")
        if not wanted:
            raise CulnigError("no group to average over: give one or more, or None for all")
        rows = [self.groups.index(group) for group in wanted]
        sums = self.sums[self.targets.index(target), self.variants.index(variant)]
        total = sums[rows].sum(axis=0, dtype=np.float64)
        count = sum(self.instances[row] for row in rows)
        if count < 1:
            raise CulnigError(f"these scores hold no instance of {', '.join(wanted)}: score again")
        bad = np.flatnonzero(~np.isfinite(total))
        if len(bad):
            layer, site, index = self.layout.decode(bad[:1]).iloc[0]
            raise CulnigError(
                f"{len(bad)} of {self.layout.total} scores ({variant}, {target}) are NaN or "
                f"infinite, of layer {layer} {site} {index} first: score again, in dtype float32"
            )
        return total / count

    def highest(
        self, *, count: int = 20, variant: Variant = "max", target: Target | None = None
    ) -> pd.DataFrame:
        """The `count` neurons of the highest mean score: layer, site, index, score.

        Where more tie at the last place than are shown, a warning says so.

        Raises:
            CulnigError: as `mean`.
        """
        score = self.mean(variant=variant, target=target)
        best = highest_positions(score, count, "neurons", flat=True)
        return self.layout.decode(best).assign(score=score[best])

    def check_sums(self) -> None:
        """Refuse sums that do not go with the axes, or are no numbers.

        Raises:
            CulnigError: the axis, and what is wrong with it.
        """
        axes = (("target", self.targets), ("variant", self.variants), ("group", self.groups))
        for what, names in axes:
            if not names or len(set(names)) < len(names):
                raise CulnigError(f"its {what} axis is {shown(list(names))}: every name once")
        if len(self.instances) != len(self.groups) or min(self.instances) < 1:
            raise CulnigError(
                f"{shown(list(self.instances))} instances of {len(self.groups)} groups"
            )
        shape = (*(len(names) for _, names in axes), self.layout.total)
        if self.sums.shape != shape or not np.issubdtype(self.sums.dtype, np.floating):
            raise CulnigError(
                f"sums {self.sums.shape} of {self.sums.dtype}, expected {shape} of float32"
            )
        for name, part in self.parts.items():
            groups = len(part.instances)
            expected = (len(part.sums), len(self.variants), groups, self.layout.total)
            known = part.sums.ndim == 4 and 1 <= len(part.sums) <= len(self.targets)
            if not known or part.sums.shape != expected or groups not in (1, shape[2]):
                raise CulnigError(f"{name} has sums {part.sums.shape}, expected {shape} or less")
            if not np.isfinite(part.sums).all():
                raise CulnigError(f"{name} has scores that are no numbers")
        for target, sums in zip(self.targets, self.sums, strict=True):
            wrong = sums.size - int(np.isfinite(sums).sum())
            if wrong:
                raise CulnigError(
                    f"{wrong:,} of the {sums.size:,} scores of target {target!r} are no numbers"
                )

    def save(self, path: str | Path) -> None:
        """Write as safetensors with everything else in its metadata, atomically."""
        about = {
            "format": _FORMATS[-1],
            "layout": asdict(self.layout),
            "targets": self.targets,
            "variants": self.variants,
            "groups": self.groups,
            "instances": self.instances,
            "provenance": self.provenance,
        }
        about["parts"] = {name: part.instances for name, part in self.parts.items()}
        tensors = {name: part.sums for name, part in self.parts.items()} | {"sums": self.sums}
        write_atomically(Path(path), lambda temporary: write_tensors(temporary, tensors, about))

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        layout: NeuronLayout | None = None,
        model: str | None = None,
        dataset_hash: str | None = None,
    ) -> "Scores":
        """Read saved scores; refuse another model's or dataset's where these are given.

        Args:
            layout: the number of neurons that is expected.
            model: the model's name that is expected.
            dataset_hash: the dataset's content hash that is expected.

        Raises:
            CulnigError: no such file, not scores, damaged, or made from something else; the
                message has both values.
        """
        tensors, about = read_tensors(Path(path), *_FORMATS)
        about = named_now(about, SCORES)
        check_object(path, about, _SCHEMA, remedy=_AGAIN)
        parts = about.get("parts", {})
        for name in ("sums", *parts):
            if name not in tensors:
                raise damaged(path, f"it holds no {name}", remedy=_AGAIN)
        try:
            scores = cls(
                layout=NeuronLayout.read(path, about["layout"]),
                targets=tuple(about["targets"]),
                variants=tuple(about["variants"]),
                groups=tuple(about["groups"]),
                instances=tuple(about["instances"]),
                sums=tensors["sums"],
                provenance=about["provenance"],
                parts={name: Part(tensors[name], tuple(n)) for name, n in parts.items()},
            )
            scores.check_sums()
        except CulnigError as error:
            raise damaged(path, str(error), remedy=_AGAIN) from error
        names = scores.provenance["model"]["name"], scores.provenance["dataset"]["hash"]
        for what, found, expected in (
            ("neurons", scores.layout, layout),
            ("model", names[0], model),
            ("dataset hash", names[1], dataset_hash),
        ):
            if expected is not None and found != expected:
                raise CulnigError(
                    f"{path} was made with {what} {found}, expected {expected}: score again or "
                    "give the file that belongs to it"
                )
        return scores

    def __repr__(self) -> str:
        return (
            f"Scores of {self.layout.total:,} neurons from {sum(self.instances):,} instances of "
            f"{self.provenance['dataset']['task']} ({self.provenance['dataset']['split']}), "
            f"{len(self.groups)} groups, targets {', '.join(self.targets)}, "
            f"variants {', '.join(self.variants)}"
        )

    def _repr_html_(self) -> str:
        try:
            shown_first = self.highest(count=5, variant=self.variants[0]).to_html()
            return f"<p>{html.escape(repr(self))}. Highest:</p>{shown_first}"
        except CulnigError as error:
            return f"<p>{html.escape(f'{self!r}. {error}')}</p>"


def highest_positions(
    values: np.ndarray,
    count: int,
    what: str,
    *,
    ties: dict[str, int] | None = None,
    flat: bool = False,
) -> np.ndarray:
    """The positions of the `count` highest values, highest first; ties by their order.

    Where more tie at the last place than are selected at all, which ones are taken is their order
    and no more: a warning says so, and `ties` gets their number under `what`.

    Args:
        what: what is ranked, in the plural.
        flat: whether values that are all equal may be ranked, with that warning.

    Raises:
        FlatRanking: all are equal, and some are to be taken.
    """
    order = np.argsort(-values, kind="stable")[:count]
    if not 0 < count < len(values):
        return order
    last = values[order[-1]] + 0.0  # -0 is 0
    if not flat and (values == last).all():
        raise FlatRanking(
            f"the scores of the {what} are all {last:g}: none ranks first; take another target "
            "(log counts every answer, however unlikely) or other instances"
        )
    tied, above = int((values == last).sum()), int((values > last).sum())
    if tied > count and above + tied > count:
        _log.warning(
            "%s: %d of the %d selected are the first of %d that tie at %g: their order is all that "
            "tells them apart",
            what, count - above, count, tied, last,
        )  # fmt: skip
        if ties is not None:
            ties[what] = tied
    return order
