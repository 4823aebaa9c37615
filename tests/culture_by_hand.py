"""Scores of which sets of neurons can be selected by hand."""

import numpy as np

from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.scores import Scores

# Flat ids: layer 0 gate 0-9, q 10-13, k 14-15, v 16-17; layer 1 gate 18-27, q 28-31, k 32-33,
# v 34-35. So 20 gate neurons and 16 attention neurons.
LAYOUT = NeuronLayout(n_layers=2, gate=10, q=4, k=2, v=2)


BIG = NeuronLayout(n_layers=4, gate=50, q=20, k=10, v=10)


def scores(high: dict[int, float], layout: NeuronLayout = LAYOUT, name: str = "everyday") -> Scores:
    """Scores of two instances with the given means in `max` (0 elsewhere), negated in `mean`."""
    means = np.zeros(layout.total, dtype=np.float32)
    means[list(high)] = list(high.values())
    return Scores(
        layout=layout,
        targets=("product",),
        variants=("max", "mean"),
        groups=("Spain",),
        instances=(2,),
        sums=2 * np.stack([means, -means])[None, :, None],
        provenance={
            "model": {"name": "tiny"},
            "dataset": {"task": name, "split": "neuron", "hash": name},
        },
    )


def by_group(rows: dict[str, dict[int, float]], name: str = "everyday") -> Scores:
    """Scores of one instance a country with these values in `max` (0 elsewhere)."""
    values = np.zeros((len(rows), LAYOUT.total), dtype=np.float32)
    for row, high in enumerate(rows.values()):
        values[row, list(high)] = list(high.values())
    return Scores(
        layout=LAYOUT,
        targets=("product", "log"),
        variants=("max",),
        groups=tuple(rows),
        instances=(1,) * len(rows),
        sums=np.stack([values, values[::-1]])[:, None],
        provenance={
            "model": {"name": "tiny"},
            "dataset": {"task": name, "split": "neuron", "hash": name},
        },
    )


# Neurons of all sites: 0 and 3 gate, 10 q, 16 v; 20 high everywhere, 27 higher elsewhere.
CULTURE = by_group(
    {
        "Iran": {0: 0.9, 10: 0.8, 16: 0.7, 20: 0.6, 27: 0.5},
        "Spain": {20: 0.6, 27: 0.9, 3: 0.4},
        "China": {20: 0.6, 27: 0.5, 16: 0.1},
    }
)
