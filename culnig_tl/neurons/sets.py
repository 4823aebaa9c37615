"""Sets of neurons of one model, which can be joined and saved."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import html
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json, write_json
from culnig_tl.neurons.layout import LAYOUT_SCHEMA, SITES, Neuron, NeuronLayout, Site
from culnig_tl.provenance import Provenance, package_versions
from culnig_tl.schemas import check_object, damaged

_FORMAT = "culnig_tl neuron set, version 1"
_SCHEMA = {"name": str, "layout": LAYOUT_SCHEMA, "provenance": dict, "neurons": [list]}
_AGAIN = "make the set again"
_OPERATIONS = {"|": "union", "&": "intersection", "-": "difference"}


@runtime_checkable
class OfAModel(Protocol):
    """What was made from one model: it says which neurons that model has."""

    @property
    def layout(self) -> NeuronLayout: ...


def require_same_model(
    made: OfAModel,
    layout: NeuronLayout,
    *,
    what: str | None = None,
    other: str = "this one has",
    remedy: str = "use the model that it was made from",
) -> None:
    """Refuse what was made from a model with other neurons than `layout`.

    Args:
        made: a set, scores or activation shares.
        what: begins the message, before `made`'s layout; None names `made` as a neuron set.
        other: stands before `layout` in the message.
        remedy: ends the message.

    Raises:
        CulnigError: the layouts differ; the message has both.
    """
    if made.layout != layout:
        if what is None:
            what = f"neuron set {getattr(made, 'name', '')!r} is of a model with"
        raise CulnigError(f"{what} {made.layout}, {other} {layout}: {remedy}")


@dataclass(frozen=True)
class NeuronSet:
    """Some neurons of one model, without order.

    `a | b`, `a & b` and `a - b` are the neurons of either, of both, and of `a` alone; the sets
    must be of one model. Their name says so too (`a | b`); `named` gives another.

    Attributes:
        layout: the model's neurons.
        ids: flat ids, ascending and unique.
        name: what the set is, for tables and figures.
        provenance: what it was made from and how.

    Raises:
        CulnigError: an id outside the layout; sets of different models are joined.

    Example:
        `layout` is that of two layers with 3 gate, 2 query, 1 key and 1 value neurons each.

        >>> gates = NeuronSet(layout, layout.ids_of(["gate"]), "gates")
        >>> gates
        gates: 6 of 14 neurons (42.86%): gate 6, q 0, k 0, v 0
        >>> first = NeuronSet.of(layout, [Neuron(0, "gate", 1), Neuron(0, "q", 0)], "first")
        >>> list(first - gates)
        [Neuron(layer=0, site='q', index=0)]
        >>> (first | gates).name, len(first & gates)
        ('first | gates', 1)
    """

    layout: NeuronLayout
    ids: np.ndarray
    name: str = "neurons"
    provenance: Provenance = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        ids = np.unique(np.asarray(self.ids, dtype=np.int64))
        if len(ids) and not (ids[0] >= 0 and ids[-1] < self.layout.total):
            raise CulnigError(
                f"neuron set {self.name!r} has ids from {ids[0]} to {ids[-1]}, the model only "
                f"{self.layout}: make the set from this model's scores"
            )
        ids.setflags(write=False)
        object.__setattr__(self, "ids", ids)

    @classmethod
    def of(
        cls, layout: NeuronLayout, neurons: Iterable[Neuron], name: str = "neurons"
    ) -> "NeuronSet":
        """The set of these neurons."""
        return cls(layout, np.array([layout.flat_id(n) for n in neurons], dtype=np.int64), name)

    @classmethod
    def everything(cls, layout: NeuronLayout) -> "NeuronSet":
        """All neurons of a model."""
        return cls(layout, np.arange(layout.total), "everything")

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Neuron]:
        frame = self.frame()
        for layer, site, index in zip(frame["layer"], frame["site"], frame["index"], strict=True):
            yield Neuron(int(layer), str(site), int(index))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        return self.layout == other.layout and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash((self.layout, self.ids.tobytes()))

    def __or__(self, other: object) -> "NeuronSet":
        return self._joined(other, "|", join=np.union1d)

    def __and__(self, other: object) -> "NeuronSet":
        return self._joined(other, "&", join=np.intersect1d)

    def __sub__(self, other: object) -> "NeuronSet":
        return self._joined(other, "-", join=np.setdiff1d)

    def _joined(self, other: object, sign: str, *, join: Callable[..., np.ndarray]) -> "NeuronSet":
        if not isinstance(other, NeuronSet):
            return NotImplemented
        require_same_model(
            other,
            self.layout,
            what=f"{other.name!r} is of a model with",
            other=f"{self.name!r} with",
            remedy="take sets of one model",
        )
        return NeuronSet(
            layout=self.layout,
            ids=join(self.ids, other.ids),
            name=f"{self.name} {sign} {other.name}",
            provenance={
                "versions": package_versions(),
                "model": self.provenance.get("model"),
                "method": _OPERATIONS[sign],
                "sets": [self.name, other.name],
            },
        )

    def named(self, name: str) -> "NeuronSet":
        """The same neurons under another name."""
        return replace(self, name=name)

    def frame(self) -> pd.DataFrame:
        """One row a neuron: layer, site, index."""
        return self.layout.decode(self.ids)

    def counts(self) -> pd.DataFrame:
        """Neurons per layer (rows) and site (columns), zeros included."""
        frame = self.frame()
        table = pd.crosstab(frame["layer"], frame["site"])
        return table.reindex(
            index=range(self.layout.n_layers), columns=list(SITES), fill_value=0
        ).rename_axis(index="layer", columns="site")

    def by_site(self) -> dict[tuple[int, Site], np.ndarray]:
        """The indices within each (layer, site) that holds any, ascending."""
        frame = self.frame()
        groups = frame.groupby(["layer", "site"], observed=True)["index"]
        return {(int(layer), str(site)): g.to_numpy() for (layer, site), g in groups}

    def save(self, path: str | Path) -> None:
        """Write the set and its provenance as JSON, atomically."""
        neurons = [list(neuron) for neuron in self]
        write_json(
            Path(path),
            {
                "format": _FORMAT,
                "name": self.name,
                "layout": asdict(self.layout),
                "provenance": self.provenance,
                "neurons": neurons,
            },
        )

    @classmethod
    def load(cls, path: str | Path, *, layout: NeuronLayout | None = None) -> "NeuronSet":
        """Read a saved set; with `layout`, refuse one made for another number of neurons.

        Raises:
            CulnigError: not such a file, or it belongs to a model of other dimensions.
        """
        content = read_json(Path(path))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise CulnigError(f"{path} is not a neuron set saved by this package: check the path")
        check_object(path, content, _SCHEMA, remedy=_AGAIN)
        own = NeuronLayout.read(path, content["layout"])
        ids = []
        for number, neuron in enumerate(content["neurons"], start=1):
            if [type(part) for part in neuron] != [int, str, int]:
                raise damaged(
                    path,
                    f"neuron {number} is {shown(neuron)}, expected layer, site, index",
                    remedy=_AGAIN,
                )
            try:
                ids.append(own.flat_id(Neuron(*neuron)))
            except CulnigError as error:
                raise damaged(path, f"neuron {number}: {error}", remedy=_AGAIN) from error
        if len(set(ids)) < len(ids):
            raise damaged(path, "it holds a neuron twice", remedy=_AGAIN)
        loaded = cls(
            layout=own,
            ids=np.array(ids, dtype=np.int64),
            name=content["name"],
            provenance=content["provenance"],
        )
        if layout is not None:
            require_same_model(loaded, layout, what=f"{path} was made for a model with")
        return loaded

    def __repr__(self) -> str:
        counts = self.frame()["site"].value_counts().reindex(list(SITES))
        sites = ", ".join(f"{site} {count:,}" for site, count in counts.items())
        share = 100 * len(self) / self.layout.total
        return (
            f"{self.name}: {len(self):,} of {self.layout.total:,} neurons ({share:.2f}%): {sites}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.counts().T.to_html()}"
