"""Scores whose means can be worked out by hand."""

import numpy as np

from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.scores import Scores

LAYOUT = NeuronLayout(n_layers=2, gate=3, q=2, k=1, v=1)


OTHER = NeuronLayout(n_layers=2, gate=4, q=2, k=1, v=1)


def scores() -> Scores:
    """Sums 0..13 for Spain (3 instances) and 100.. for Iran (1), twice that in the second variant.

    All of it negative for the second target.
    """
    spain = np.arange(14)
    sums = np.stack([spain, 100 + spain])
    return Scores(
        layout=LAYOUT,
        targets=("product", "log"),
        variants=("max", "norm"),
        groups=("Spain", "Iran"),
        instances=(3, 1),
        sums=np.multiply.outer([1, -1], [sums, 2 * sums]).astype(np.float32),
        provenance={
            "model": {"name": "tiny"},
            "dataset": {"task": "everyday", "split": "neuron", "hash": "abc"},
        },
    )
