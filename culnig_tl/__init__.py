"""Find the neurons of a language model that carry culture, and check the gradient that says so."""

from culnig_tl.ablation import ablate
from culnig_tl.attribution import attribute
from culnig_tl.comparison import compare
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate
from culnig_tl.instances import Instance
from culnig_tl.models import count_neurons, load_model, wrap_model
from culnig_tl.neurons import Neuron, NeuronSet
from culnig_tl.plots import plot_distribution
from culnig_tl.scores import Scores
from culnig_tl.selection import select_general, select_random
from culnig_tl.tasks import load_task

__all__ = [
    "CulnigError",
    "Instance",
    "Neuron",
    "NeuronSet",
    "Scores",
    "ablate",
    "attribute",
    "compare",
    "count_neurons",
    "evaluate",
    "load_model",
    "load_task",
    "plot_distribution",
    "select_general",
    "select_random",
    "wrap_model",
]
