"""LAPE and CAPE: gate neurons by the texts on which they are active. Needs no model."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from culnig_tl.checks import check_share, shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically
from culnig_tl.neurons.layout import LAYOUT_SCHEMA, NeuronLayout
from culnig_tl.neurons.scores import highest_positions
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.provenance import Provenance, package_versions
from culnig_tl.schemas import check_object, damaged
from culnig_tl.tensors import read_tensors, write_tensors

_FORMAT = "culnig_tl activation shares, version 1"
_SCHEMA = {
    "layout": LAYOUT_SCHEMA,
    "groups": [str],
    "tokens": [int],
    "provenance": {"model": dict, "texts": (dict, str, list)},
}
_AGAIN = "count again"


@dataclass(frozen=True)
class ActivationShares:
    """On how many tokens of each group of texts each gate neuron is active.

    Attributes:
        layout: the model's neurons.
        groups: languages, or cultures.
        tokens: real tokens of each group.
        active: [group, gate neuron], tokens with an activation above 0; neurons in the order of
            their flat ids.
        provenance: model, versions, the texts' hash, arguments.

    Example:
        `shares` are what `activation_shares` counted on texts of two groups.

        >>> shares
        Activation shares of 144 gate neurons on ... tokens of 2 groups: food, drink
        >>> shares.frame().shape
        (2, 144)
    """

    layout: NeuronLayout
    groups: tuple[str, ...]
    tokens: tuple[int, ...]
    active: np.ndarray
    provenance: Provenance

    def frame(self) -> pd.DataFrame:
        """The share of tokens, group (rows) by flat id of the gate neuron (columns).

        Raises:
            CulnigError: a group without tokens.
        """
        empty = [group for group, n in zip(self.groups, self.tokens, strict=True) if n < 1]
        if empty:
            raise CulnigError(f"group {empty[0]!r} has no token: count again with a text for it")
        shares = self.active / np.array(self.tokens)[:, None]
        ids = self.layout.ids_of(["gate"])
        return pd.DataFrame(shares, index=list(self.groups), columns=ids)  # type: ignore[arg-type]

    def save(self, path: str | Path) -> None:
        """Write as safetensors with everything else in its metadata, atomically."""
        about = {
            "format": _FORMAT,
            "layout": asdict(self.layout),
            "groups": self.groups,
            "tokens": self.tokens,
            "provenance": self.provenance,
        }
        write_atomically(
            Path(path), lambda name: write_tensors(name, {"active": self.active}, about)
        )

    @classmethod
    def load(cls, path: str | Path) -> "ActivationShares":
        """Read saved shares.

        Raises:
            CulnigError: no such file, not shares, or damaged.
        """
        tensors, about = read_tensors(Path(path), _FORMAT)
        check_object(path, about, _SCHEMA, remedy=_AGAIN)
        layout = NeuronLayout.read(path, about["layout"])
        groups, tokens = tuple(about["groups"]), tuple(about["tokens"])
        active = tensors.get("active", np.empty(0))
        shape = (len(groups), layout.counts()["gate"])
        if active.shape != shape or not np.issubdtype(active.dtype, np.number):
            raise damaged(
                path,
                f"counts {active.shape} of {active.dtype}, expected {shape} of int64",
                remedy=_AGAIN,
            )
        once = 0 < len(groups) == len(set(groups))
        if not once or len(tokens) != len(groups) or min(tokens) < 1:
            raise damaged(
                path,
                f"counts on {shown(list(tokens))} tokens of the groups {shown(list(groups))}",
                remedy=_AGAIN,
            )
        if not ((active >= 0) & (active <= np.array(tokens)[:, None])).all():
            raise damaged(
                path, "a neuron is active on fewer than 0 or more than all tokens", remedy=_AGAIN
            )
        return cls(
            layout=layout,
            groups=groups,
            tokens=tokens,
            active=active,
            provenance=about["provenance"],
        )

    def __repr__(self) -> str:
        return (
            f"Activation shares of {self.active.shape[1]:,} gate neurons on "
            f"{sum(self.tokens):,} tokens of {len(self.groups)} groups: {', '.join(self.groups)}"
        )


def share_entropy(
    shares: Float[np.ndarray, "group neuron"],
) -> Float[np.ndarray, "neuron"]:
    """The entropy of each neuron's shares over the groups, normalised to 1, in nats.

    0: it is active in one group only (or never); log(groups): in all alike.

    Example:
        >>> share_entropy(np.array([[0.2, 0.1], [0.0, 0.1]])).round(2).tolist()
        [...0.0, 0.69]
    """
    total = shares.sum(axis=0)
    normalised = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    logs = np.log(normalised, out=np.zeros_like(shares), where=normalised > 0)
    return -(normalised * logs).sum(axis=0)


def select_lape(
    shares: ActivationShares, *, quantile: float = 0.95, top: float = 0.01, name: str = "LAPE"
) -> dict[str, NeuronSet]:
    """Language-specific neurons by the entropy of their activation shares (Tang et al. 2024).

    A neuron whose highest share is not above the `quantile` of all shares is left out. Of the
    others the lowest entropies of the shares over the groups, normalised to 1, are kept:
    floor(gate neurons x `top`) of them, ties by layer and index (where more tie at the last place
    than are kept, a warning says so, and the provenance: `ties`). A kept neuron belongs to every
    group in which its share is above the quantile.

    Returns:
        A set for each group, possibly empty, named `NAME GROUP`.

    Raises:
        CulnigError: a share outside 0 to 1, or fewer than two groups.

    Example:
        `shares` are what `activation_shares` counted on texts of two groups.

        >>> sets = select_lape(shares, quantile=0.5, top=0.05)
        >>> list(sets)
        ['food', 'drink']
        >>> len(sets["food"] | sets["drink"])  # floor(144 x 0.05)
        7
    """
    check_share("quantile", quantile)
    check_share("top", top)
    if len(shares.groups) < 2:
        raise CulnigError(
            f"these shares hold {', '.join(shares.groups)} only, and entropy compares groups: "
            "give texts of two or more"
        )
    values = shares.frame().to_numpy()
    threshold = np.quantile(values, quantile)
    entropy = share_entropy(values)
    # A neuron that is never active has no entropy; its highest share, 0, is above no quantile.
    able = np.flatnonzero(values.max(axis=0) > threshold)
    count = math.floor(values.shape[1] * top + 1e-9)
    ties: dict[str, int] = {}
    kept = able[highest_positions(-entropy[able], count, f"{name} neurons", ties=ties, flat=True)]
    ids = shares.layout.ids_of(["gate"])
    about = {
        "versions": package_versions(),
        "model": shares.provenance["model"],
        "method": "select_lape",
        "arguments": {"quantile": quantile, "top": top},
        "texts": shares.provenance["texts"],
    }
    about |= {"ties": ties} if ties else {}
    return {
        group: NeuronSet(
            layout=shares.layout,
            ids=ids[kept[values[row, kept] > threshold]],
            name=f"{name} {group}",
            provenance=about,
        )
        for row, group in enumerate(shares.groups)
    }


def select_cape(
    shares: ActivationShares,
    lape: Mapping[str, NeuronSet],
    languages: Mapping[str, str],
    *,
    quantile: float = 0.95,
    top: float = 0.01,
    name: str = "CAPE",
) -> dict[str, NeuronSet]:
    """Culture-specific neurons: `select_lape` on texts by culture, without the language's own.

    Args:
        shares: the groups are cultures.
        lape: `select_lape` on texts by language.
        languages: the language of each culture.
        quantile, top, name: as `select_lape`.

    Raises:
        CulnigError: as `select_lape`; a culture without a language, or with one that `lape` has
            no set of; sets of another model.

    Example:
        `shares` are what `activation_shares` counted on texts of two groups.

        >>> lape = select_lape(shares, quantile=0.5, top=0.05)
        >>> languages = {"food": "drink", "drink": "food"}  # of each culture
        >>> cape = select_cape(shares, lape, languages, quantile=0.5, top=0.05)
        >>> len(cape["food"] & lape["drink"])
        0
    """
    found = select_lape(shares, quantile=quantile, top=top, name=name)
    pure = {}
    for culture, neurons in found.items():
        language = languages.get(culture, "")
        if language not in lape:
            raise CulnigError(
                f"culture {culture!r} has language {language!r}, of which there is no LAPE set: "
                f"there are {', '.join(lape)}"
            )
        require_same_model(
            lape[language],
            neurons.layout,
            what="the LAPE sets are of a model with",
            other="the shares of one with",
            remedy="use one model",
        )
        about = neurons.provenance | {"method": "select_cape", "without": lape[language].name}
        pure[culture] = replace(neurons - lape[language], name=neurons.name, provenance=about)
    return pure
