"""Selection: from scores to a set of neurons. Needs no model, only saved scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.checks import SEED_MOST, check_count, check_flag, check_number, check_share
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.neurons.layout import ATTENTION_SITES, SITES, NeuronLayout, Site
from culnig_tl.neurons.scores import Scores, Target, Variant, highest_positions
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.provenance import Provenance, package_versions


def check_selectable(neurons: NeuronSet) -> None:
    """Refuse an empty selection.

    Raises:
        EmptySelection: the set is empty.
    """
    if not len(neurons):
        raise EmptySelection(
            f"the selection {neurons.name!r} is empty: raise top_mlp and top_attention (of one "
            "group: top), or lower remove"
        )


def select_general(
    scores: Scores,
    control: Scores | None,
    of_names: Scores | None,
    *,
    variant: Variant = "max",
    top_mlp: float = 0.01,
    top_attention: float = 0.002,
    remove: float = 0.01,
    name: str = "culture-general",
    target: Target | None = None,
) -> NeuronSet:
    """Culture-general neurons (section 3 of the paper).

    Neurons are ranked by mean(scores) - mean(control), MLP and attention (q, k, v pooled) apart;
    the top shares are kept; those in the top share `remove` of the CountryRC scores, again MLP
    and attention apart, are taken out. Counts are floor(neurons x share); ties break by layer,
    site, index. Where more tie at the last place than are selected, a warning says so, and the
    provenance (`ties`).

    Args:
        scores: of the cultural instances.
        control: of the same instances without the question; None leaves the control out.
        of_names: of passages whose answer is the name of a group, such as CountryRC's; None leaves
            that filter out.
        variant: `max`, `mean` or `norm`.
        top_mlp: share of gate neurons (the paper's t_MLP).
        top_attention: share of q, k, v neurons together (the paper's t_attn).
        remove: share by CountryRC (the paper's r).
        name: the set's name.
        target: one of the scores' targets; None takes the default of `scores` for all.

    Raises:
        FlatRanking: all neurons of a pool have the same score.
        CulnigError: a share outside 0..1, scores of different models, scores that are NaN or
            infinite, or an empty selection.

    Example:
        `scores` are what `attribute` found on eight questions; here without control and CountryRC.

        >>> select_general(scores, None, None, top_mlp=0.1, top_attention=0.05)
        culture-general: 23 of 336 neurons (6.85%): gate 14, ...
    """
    shares = {"top_mlp": top_mlp, "top_attention": top_attention, "remove": remove}
    check_shares(shares)
    _check_alike(scores, control, of_names)
    layout, target = scores.layout, target or scores.targets[0]
    rank = rank_values(scores, control, variant, target=target)
    ties: dict[str, int] = {}
    chosen = _top_of_pools(layout, rank, top_mlp, attention=top_attention, by="", ties=ties)
    if of_names is not None:
        by_name = of_names.mean(variant=variant, target=target)
        names = _top_of_pools(layout, by_name, remove, attention=remove, by=" by names", ties=ties)
        chosen = np.setdiff1d(chosen, names)
    arguments = {"variant": variant, "target": target, **shares}
    about = _provenance(
        "select_general", arguments, scores, control=control, of_names=of_names, ties=ties
    )
    neurons = NeuronSet(layout=layout, ids=chosen, name=name, provenance=about)
    check_selectable(neurons)
    return neurons


def select_specific(
    scores: Scores,
    control: Scores | None,
    of_names: Scores | None,
    *,
    group: str,
    variant: Variant = "max",
    top: float = 0.003,
    remove: float = 0.01,
    least_z: float = 0.5,
    name: str | None = None,
    target: Target | None = None,
) -> NeuronSet:
    """Culture-specific neurons of one group (section 3 of the paper).

    All four sites are one pool, ranked by mean(scores) - mean(control) over the group's own
    instances; the top share is kept; those in the top share `remove` of the group's own
    scores of names are taken out, and those whose rank value is not high for this group: z over
    all groups of `scores` (population standard deviation; 0 where that is 0) below `least_z`.
    The published code divides a group's sums by the instances of all groups; here by its own.

    Args:
        scores, control, of_names, variant, target: as `select_general`.
        group: one that the scores hold.
        top: share of all neurons (the paper's t).
        remove: share by CountryRC (the paper's r).
        least_z: what z must at least be; -inf leaves that filter out.
        name: the set's name; None takes the group's.

    Raises:
        CulnigError: as `select_general`; a group that a file of scores does not hold; scores of
            one group only, so that there is no z.

    Example:
        `scores` are what `attribute` found on eight questions; here without control and CountryRC.

        >>> neurons = select_specific(scores, None, None, group="Iran", top=0.1, least_z=1.0)
        >>> neurons.name, len(neurons) <= 33
        ('Iran', True)
    """
    shares = {"top": top, "remove": remove}
    check_shares(shares)
    check_least_z(least_z)
    _check_alike(scores, control, of_names)
    if len(scores.groups) < 2:
        raise CulnigError(
            f"these scores hold {', '.join(scores.groups)} only, and what is specific shows "
            "beside others: score several groups"
        )

    target = target or scores.targets[0]

    def rank_of(where: str) -> np.ndarray:
        return rank_values(scores, control, variant, groups=[where], target=target)

    everything = np.arange(scores.layout.total)
    what, ties = f"neurons of {group!r}", {}
    chosen = top_share(everything, rank_of(group), top, what=what, ties=ties)
    if of_names is not None:
        by_name = of_names.mean(variant=variant, groups=[group], target=target)
        names = top_share(everything, by_name, remove, what=f"{what} by names", ties=ties)
        chosen = np.setdiff1d(chosen, names)
    values = np.stack([rank_of(where)[chosen] for where in scores.groups])
    deviation = values.std(axis=0)
    centred = values[scores.groups.index(group)] - values.mean(axis=0)
    z = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    arguments = {"group": group, "variant": variant, "target": target}
    arguments |= {**shares, "least_z": least_z}
    about = _provenance(
        "select_specific", arguments, scores, control=control, of_names=of_names, ties=ties
    )
    neurons = NeuronSet(
        layout=scores.layout, ids=chosen[z >= least_z], name=name or group, provenance=about
    )
    check_selectable(neurons)
    return neurons


def rank_values(
    scores: Scores,
    control: Scores | None,
    variant: Variant,
    *,
    groups: Sequence[str] | None = None,
    target: Target | None = None,
) -> np.ndarray:
    """What neurons are ranked by: mean(scores) - mean(control), by flat id; arguments as above."""
    target = target or scores.targets[0]
    mean = scores.mean(variant=variant, groups=groups, target=target)
    return (
        mean
        if control is None
        else mean - control.mean(variant=variant, groups=groups, target=target)
    )


def overlap(sets: Sequence[NeuronSet]) -> pd.DataFrame:
    """How many neurons each two sets share; the diagonal has their sizes.

    Raises:
        CulnigError: sets of different models, or two of one name.

    Example:
        `few` is a set of four of the `neurons`.

        >>> table = overlap([neurons, few])
        >>> int(table.loc["culture", "few"])
        4
    """
    names = [neurons.name for neurons in sets]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise CulnigError(f"two sets are named {twice[0]!r}: give them names of their own")
    for neurons in sets:
        require_same_model(
            neurons,
            sets[0].layout,
            what=f"{neurons.name!r} is of a model with",
            other=f"{sets[0].name!r} with",
            remedy="take sets of one model",
        )
    shared = [[len(np.intersect1d(one.ids, other.ids)) for other in sets] for one in sets]
    return pd.DataFrame(shared, index=names, columns=names).rename_axis("set")  # type: ignore[arg-type]


def select_random(like: NeuronSet, seed: int, *, matched: bool = False) -> NeuronSet:
    """As many neurons as `like`, uniform over all four sites of all layers, without replacement.

    With `matched`, as many in every (site, layer) as `like` has: a stricter control, since it
    keeps where the neurons sit and changes only which they are.

    Raises:
        CulnigError: a seed below 0.

    Example:
        `neurons` is a set of a tiny model.

        >>> control = select_random(neurons, seed=0, matched=True)
        >>> bool((control.counts() == neurons.counts()).all(axis=None))
        True
    """
    check_count("seed", seed, most=SEED_MOST)
    check_flag("matched", matched)
    rng = np.random.default_rng(seed)
    layout = like.layout
    if matched:
        draws = [
            rng.choice(layout.size(site), size=len(indices), replace=False)
            + layout.span(layer, site).start
            for (layer, site), indices in like.by_site().items()
        ]
        ids = np.concatenate(draws) if draws else np.empty(0, dtype=np.int64)
    else:
        ids = rng.choice(layout.total, size=len(like), replace=False)
    return NeuronSet(
        layout=layout,
        ids=ids,
        name=f"random-{'matched-' if matched else ''}{seed}",
        provenance={
            "versions": package_versions(),
            "model": like.provenance.get("model"),
            "method": "select_random",
            "arguments": {"seed": seed, "matched": matched, "like": like.name, "count": len(like)},
        },
    )


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse what is no share.

    Raises:
        CulnigError: one is no number, below 0 or above 1.
    """
    for what, share in shares.items():
        check_share(what, share)


def check_least_z(least_z: float) -> None:
    """Refuse what is no least z; -inf, which leaves that filter out, is one.

    Raises:
        CulnigError: it is no number, NaN, or infinite and keeps no neuron.
    """
    check_number("least_z", least_z, least=-math.inf)


def _check_alike(scores: Scores, control: Scores | None, of_names: Scores | None) -> None:
    """Refuse scores of several models, or by several estimates."""
    name = scores.provenance["model"]["name"]
    for what, other in (("the control's", control), ("the names'", of_names)):
        if other is None:
            continue
        if other.provenance["model"]["name"] != name:
            raise CulnigError(
                f"scores of {name} and of {other.provenance['model']['name']}: "
                "use scores of one model"
            )
        require_same_model(
            other,
            scores.layout,
            what=f"{what} scores has",
            other="expected",
            remedy="use scores of one model",
        )
        if other.estimate != scores.estimate:
            raise CulnigError(
                f"{what} scores are by the estimate {other.estimate}, expected {scores.estimate}: "
                "score again with one estimate"
            )


def _provenance(
    method: str,
    arguments: dict[str, Any],
    scores: Scores,
    *,
    control: Scores | None,
    of_names: Scores | None,
    ties: Mapping[str, int],
) -> Provenance:
    about = {
        "versions": package_versions(),
        "model": scores.provenance["model"],
        "method": method,
        "arguments": arguments | {"estimate": scores.estimate},
        "scores": scores.provenance["dataset"],
        "control": control and control.provenance["dataset"],
        "names": of_names and of_names.provenance["dataset"],
    }
    return about | ({"ties": dict(ties)} if ties else {})


def _top_of_pools(
    layout: NeuronLayout,
    rank: np.ndarray,
    mlp: float,
    *,
    attention: float,
    by: str,
    ties: dict[str, int],
) -> np.ndarray:
    """The top share of the gate neurons and of the attention neurons, as flat ids."""
    pools: list[tuple[str, Sequence[Site], float]] = [
        ("MLP neurons", SITES[:1], mlp),
        ("attention neurons", ATTENTION_SITES, attention),
    ]
    return np.concatenate(
        [
            top_share(layout.ids_of(sites), rank, share, what=what + by, ties=ties)
            for what, sites, share in pools
        ]
    )


def top_share(
    ids: np.ndarray, rank: np.ndarray, share: float, *, what: str, ties: dict[str, int]
) -> np.ndarray:
    """The floor(ids x share) ids of the highest rank; ties as in `highest_positions`."""
    return ids[highest_positions(rank[ids], share_count(len(ids), share), what, ties=ties)]


def share_count(size: int, share: float) -> int:
    """floor(size x share)."""
    # 0.29 * 100 is 28.999...: the tolerance keeps floor() from losing a neuron to that.
    return math.floor(size * share + 1e-9)
