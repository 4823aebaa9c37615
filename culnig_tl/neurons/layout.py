"""Neurons, their sites and hook points, and how many of them a model has."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.schemas import damaged

Site = Literal["gate", "q", "k", "v"]
SITES: tuple[Site, ...] = get_args(Site)
ATTENTION_SITES: tuple[Site, ...] = SITES[1:]
_HOOKS = {"gate": "mlp.hook_pre", "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v"}
Key = tuple[int, Site]
LAYOUT_SCHEMA = {"n_layers": int, "gate": int, "q": int, "k": int, "v": int}


def hook_name(layer: int, site: Site) -> str:
    """The TransformerLens hook point of a site: `blocks.3.attn.hook_q`."""
    return f"blocks.{layer}.{_HOOKS[site]}"


class Neuron(NamedTuple):
    """One output of one projection. For q, k, v: index = head * d_head + i.

    Example:
        >>> neuron = Neuron(layer=3, site="gate", index=17)
        >>> neuron.site
        'gate'
    """

    layer: int
    site: Site
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

    def size(self, site: Site) -> int:
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

    @property
    def keys(self) -> list[Key]:
        """Every (layer, site), in the order of the flat ids."""
        return [(layer, site) for layer in range(self.n_layers) for site in SITES]

    def span(self, layer: int, site: Site) -> slice:
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

    def ids_of(self, sites: Iterable[Site]) -> np.ndarray:
        """The flat ids of these sites in all layers, ascending."""
        wanted = [site for site in SITES if site in set(sites)]
        spans = [self.span(layer, site) for layer in range(self.n_layers) for site in wanted]
        return np.concatenate([np.arange(s.start, s.stop) for s in spans])

    def __str__(self) -> str:
        sites = ", ".join(f"{site} {self.size(site):,}" for site in SITES)
        return f"{self.total:,} neurons ({self.n_layers} layers x ({sites}))"
