"""Selection: from scores to a set of neurons. Needs no model, only saved scores."""

import math
from collections.abc import Sequence

import numpy as np

from culnig_tl.errors import CulnigError
from culnig_tl.files import package_versions
from culnig_tl.neurons import ATTENTION_SITES, SITES, NeuronLayout, NeuronSet
from culnig_tl.scores import Scores, check_selectable


def select_general(
    scores: Scores,
    control: Scores | None,
    countryrc: Scores | None,
    variant: str = "max",
    top_mlp: float = 0.01,
    top_attention: float = 0.002,
    remove: float = 0.01,
    name: str = "culture-general",
) -> NeuronSet:
    """Culture-general neurons (section 3 of the paper).

    Neurons are ranked by mean(scores) - mean(control), MLP and attention (q, k, v pooled) apart;
    the top shares are kept; those in the top share `remove` of the CountryRC scores, again MLP
    and attention apart, are taken out. Counts are floor(neurons x share); ties break by layer,
    site, index.

    Args:
        scores: of the cultural instances.
        control: of the same instances without the question; None leaves the control out.
        countryrc: of the country-name passages; None leaves that filter out.
        variant: `max`, `mean` or `norm`.
        top_mlp: share of gate neurons (the paper's t_MLP).
        top_attention: share of q, k, v neurons together (the paper's t_attn).
        remove: share by CountryRC (the paper's r).
        name: the set's name.

    Raises:
        CulnigError: a share outside 0..1, scores of different models, or an empty selection.
    """
    for what, share in (
        ("top_mlp", top_mlp),
        ("top_attention", top_attention),
        ("remove", remove),
    ):
        if not 0 <= share <= 1:
            raise CulnigError(f"{what} is {share}: give a share between 0 and 1")
    layout = scores.layout
    rank = scores.mean(variant)
    name_of = scores.provenance["model"]["name"]
    for other in (control, countryrc):
        if other is not None and other.provenance["model"]["name"] != name_of:
            raise CulnigError(
                f"scores of {name_of} and of {other.provenance['model']['name']}: "
                "use scores of one model"
            )
    if control is not None:
        control.check_layout(layout, "the control's scores")
        rank = rank - control.mean(variant)
    chosen = _top_of_pools(layout, rank, top_mlp, top_attention)
    if countryrc is not None:
        countryrc.check_layout(layout, "the CountryRC scores")
        names = _top_of_pools(layout, countryrc.mean(variant), remove, remove)
        chosen = np.setdiff1d(chosen, names)
    neurons = NeuronSet(
        layout,
        chosen,
        name,
        {
            "versions": package_versions(),
            "model": scores.provenance["model"],
            "method": "select_general",
            "arguments": {
                "variant": variant,
                "top_mlp": top_mlp,
                "top_attention": top_attention,
                "remove": remove,
            },
            "scores": scores.provenance["dataset"],
            "control": control and control.provenance["dataset"],
            "countryrc": countryrc and countryrc.provenance["dataset"],
        },
    )
    check_selectable(neurons)
    return neurons


def select_random(like: NeuronSet, seed: int, matched: bool = False) -> NeuronSet:
    """As many neurons as `like`, uniform over all four sites of all layers, without replacement.

    With `matched`, as many in every (site, layer) as `like` has: a stricter control, since it
    keeps where the neurons sit and changes only which they are.
    """
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
        layout,
        ids,
        f"random-{'matched-' if matched else ''}{seed}",
        {
            "versions": package_versions(),
            "model": like.provenance.get("model"),
            "method": "select_random",
            "arguments": {"seed": seed, "matched": matched, "like": like.name, "count": len(like)},
        },
    )


def _top_of_pools(
    layout: NeuronLayout, rank: np.ndarray, mlp: float, attention: float
) -> np.ndarray:
    """The top share of the gate neurons and of the attention neurons, as flat ids."""
    pools: list[tuple[Sequence[str], float]] = [(SITES[:1], mlp), (ATTENTION_SITES, attention)]
    return np.concatenate([_top(layout.ids_of(sites), rank, share) for sites, share in pools])


def _top(ids: np.ndarray, rank: np.ndarray, share: float) -> np.ndarray:
    # 0.29 * 100 is 28.999...: the tolerance keeps floor() from losing a neuron to that.
    count = math.floor(len(ids) * share + 1e-9)
    return ids[np.argsort(-rank[ids], kind="stable")[:count]]
