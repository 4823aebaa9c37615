"""Estimates: the ways to say from gradients what setting a neuron to 0 would do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from culnig_tl.neurons.layout import Site, hook_name

# Those that one backward pass gives for every neuron, by which neurons are selected.
Estimate = Literal["first_order", "gate_exact"]
ESTIMATES: tuple[Estimate, ...] = get_args(Estimate)
# What a masked neuron's activation is replaced by.
Values = Literal["zero", "mean", "resample"]
VALUES: tuple[Values, ...] = get_args(Values)


@dataclass(frozen=True)
class About:
    """What an estimate is, for a table.

    Attributes:
        formula: of neuron i's effect, n its activation; positions are summed over.
        sites: where it can be taken.
        passes: forward and backward passes for a prompt.
        source: where it comes from.
    """

    formula: str
    sites: str
    passes: str
    source: str


ABOUT = {
    "first_order": About(
        formula="n dT/dn at the projection's output",
        sites="gate, q, k, v",
        passes="1, for all neurons together",
        source="CULNIG (arXiv 2510.08284), equations 6 to 9",
    ),
    "gate_exact": About(
        formula="gate: h dT/dh, h = act(n) * up the input of the MLP's last projection; "
        "q, k, v: as first_order",
        sites="gate, q, k, v",
        passes="1, for all neurons together",
        source="act(0) = 0, so n = 0 and h = 0 are the same; the identity rule for activations of "
        "RelP (arXiv 2508.21258) gives the gate the same value",
    ),
    "integrated": About(
        formula="the integral of n dP/dn along n -> alpha n, this neuron alone",
        sites="gate, q, k, v",
        passes="one row a neuron and node",
        source="integrated gradients (arXiv 1703.01365)",
    ),
    "joint_path": About(
        formula="the integral of n dlogP/dn along n -> alpha n, the whole set together",
        sites="gate, q, k, v",
        passes="one row a node, for all neurons of the set together",
        source="Aumann-Shapley values; integrated gradients (arXiv 1703.01365)",
    ),
}


def estimate_points(
    keys: Iterable[tuple[int, Site]], estimate: Estimate
) -> dict[tuple[int, Site], str]:
    """The hook points at which activation x gradient is the estimate, by (layer, site).

    Example:
        >>> list(estimate_points([(3, "gate"), (3, "q")], "gate_exact").values())
        ['blocks.3.mlp.hook_post', 'blocks.3.attn.hook_q']
    """
    return {
        (layer, site): f"blocks.{layer}.mlp.hook_post"
        if (site, estimate) == ("gate", "gate_exact")
        else hook_name(layer, site)
        for layer, site in keys
    }
