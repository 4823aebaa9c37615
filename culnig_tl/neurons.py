# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Neurons, how many a model has, and sets of them that can be saved."""

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import Provenance, read_json, write_json
from culnig_tl.schemas import check_object, damaged

SITES = ("gate", "q", "k", "v")
ATTENTION_SITES = ("q", "k", "v")
_HOOKS = {"gate": "mlp.hook_pre", "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v"}
_FORMAT = "culnig_tl neuron set, version 1"
LAYOUT_SCHEMA = {"n_layers": int, "gate": int, "q": int, "k": int, "v": int}
_SCHEMA = {"name": str, "layout": LAYOUT_SCHEMA, "provenance": dict, "neurons": [list]}
_AGAIN = "make the set again"


def hook_name(layer: int, site: str) -> str:
    """The TransformerLens hook point of a site: `blocks.3.attn.hook_q`."""
    return f"blocks.{layer}.{_HOOKS[site]}"


class Neuron(NamedTuple):
    """One output of one projection. For q, k, v: index = head * d_head + i."""

    layer: int
    site: str
    index: int


@dataclass(frozen=True)
class NeuronLayout:
    """How many neurons each site has in each layer (Table 12 is `counts()`).

    A flat id numbers all neurons of the model by (layer, site, index), sites in the order of
    `SITES`; it is the order in which ties break.
    """

    n_layers: int
    gate: int
    q: int
    k: int
    v: int

    @classmethod
    def read(cls, path: str | Path, content: Mapping[str, int]) -> "NeuronLayout":
        """The layout that a file holds, which has the keys of `LAYOUT_SCHEMA`.

        Raises:
            CulnigError: a number below 0, or no neuron at all.
        """
        layout = cls(**{key: content[key] for key in LAYOUT_SCHEMA})
        if min(content[key] for key in LAYOUT_SCHEMA) < 0 or not layout.total:
            raise damaged(path, f"its layout is of {layout}")
        return layout

    def size(self, site: str) -> int:
        """Neurons of `site` in one layer."""
        return int(getattr(self, site))

    @property
    def per_layer(self) -> int:
        """Neurons of all sites in one layer."""
        return sum(map(self.size, SITES))

    @property
    def total(self) -> int:
        """Neurons of all sites and layers."""
        return self.n_layers * self.per_layer

    def counts(self) -> dict[str, int]:
        """Neurons of each site over all layers."""
        return {site: self.n_layers * self.size(site) for site in SITES}

    def span(self, layer: int, site: str) -> slice:
        """The flat ids of one site in one layer."""
        start = layer * self.per_layer + sum(map(self.size, SITES[: SITES.index(site)]))
        return slice(start, start + self.size(site))

    def flat_id(self, neuron: Neuron) -> int:
        """The neuron's flat id.

        Raises:
            CulnigError: the model has no such layer, site or index.
        """
        layer, site, index = neuron
        if site not in SITES or not 0 <= layer < self.n_layers or not 0 <= index < self.size(site):
            raise CulnigError(f"no neuron {tuple(neuron)} in a model with {self}")
        return self.span(layer, site).start + index

    def decode(self, ids: np.ndarray) -> pd.DataFrame:
        """The columns layer, site, index of an array of flat ids."""
        starts = np.array([self.span(0, site).start for site in SITES])
        within = ids % self.per_layer
        site = np.searchsorted(starts, within, side="right") - 1
        return pd.DataFrame(
            {
                "layer": ids // self.per_layer,
                "site": pd.Categorical.from_codes(site, list(SITES)),
                "index": within - starts[site],
            }
        )

    def ids_of(self, sites: Iterable[str]) -> np.ndarray:
        """The flat ids of these sites in all layers, ascending."""
        wanted = [site for site in SITES if site in set(sites)]
        spans = [self.span(layer, site) for layer in range(self.n_layers) for site in wanted]
        return np.concatenate([np.arange(s.start, s.stop) for s in spans])

    def __str__(self) -> str:
        sites = ", ".join(f"{site} {self.size(site):,}" for site in SITES)
        return f"{self.total:,} neurons ({self.n_layers} layers x ({sites}))"


@dataclass(frozen=True)
class NeuronSet:
    """Some neurons of one model, without order.

    Attributes:
        layout: the model's neurons.
        ids: flat ids, ascending and unique.
        name: what the set is, for tables and figures.
        provenance: what it was made from and how.

    Raises:
        CulnigError: an id outside the layout.
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

    def check_layout(self, layout: NeuronLayout) -> None:
        """Refuse a model with other neurons.

        Raises:
            CulnigError: the layouts differ; the message has both.
        """
        if self.layout != layout:
            raise CulnigError(
                f"neuron set {self.name!r} is of a model with {self.layout}, this one has "
                f"{layout}: use the model that it was made from"
            )

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

    def by_site(self) -> dict[tuple[int, str], np.ndarray]:
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
    def load(cls, path: str | Path, layout: NeuronLayout | None = None) -> "NeuronSet":
        """Read a saved set; with `layout`, refuse one made for another number of neurons.

        Raises:
            CulnigError: not such a file, or it belongs to a model of other dimensions.
        """
        content = read_json(Path(path))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise CulnigError(f"{path} is not a neuron set saved by this package: check the path")
        check_object(path, content, _SCHEMA, _AGAIN)
        own = NeuronLayout.read(path, content["layout"])
        ids = []
        for number, neuron in enumerate(content["neurons"], start=1):
            if [type(part) for part in neuron] != [int, str, int]:
                raise damaged(
                    path,
                    f"neuron {number} is {shown(neuron)}, expected layer, site, index",
                    _AGAIN,
                )
            try:
                ids.append(own.flat_id(Neuron(*neuron)))
            except CulnigError as error:
                raise damaged(path, f"neuron {number}: {error}", _AGAIN) from error
        if len(set(ids)) < len(ids):
            raise damaged(path, "it holds a neuron twice", _AGAIN)
        loaded = cls(own, np.array(ids, dtype=np.int64), content["name"], content["provenance"])
        if layout is not None and own != layout:
            raise CulnigError(
                f"{path} was made for a model with {own}, this one has {layout}: "
                "use the model that it was made from"
            )
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
