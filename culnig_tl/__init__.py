"""Find the neurons of a language model that carry culture, and check the gradient that says so."""

from culnig_tl.ablation import ablate
from culnig_tl.agreement import agreement, patching_matrix
from culnig_tl.attribution import attribute
from culnig_tl.comparison import compare, compare_countries, own_ranks, rank_countries
from culnig_tl.effects import exact_effects, taylor_check
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate
from culnig_tl.instances import Instance
from culnig_tl.models import count_neurons, load_model, wrap_model
from culnig_tl.neurons import Neuron, NeuronSet
from culnig_tl.patching import activation_patch, attribution_patch, patching_effects
from culnig_tl.plots import (
    plot_agreement,
    plot_agreement_by_layer,
    plot_distribution,
    plot_dose_response,
    plot_interaction,
    plot_layers,
    plot_matrix,
    plot_score_histogram,
    plot_sweep,
)
from culnig_tl.scores import Scores
from culnig_tl.selection import overlap, select_general, select_random, select_specific
from culnig_tl.set_effects import dose_response, interaction
from culnig_tl.tasks import load_task
from culnig_tl.tokens import token_attribution
from culnig_tl.verify import verify_run

__all__ = [
    "CulnigError",
    "Instance",
    "Neuron",
    "NeuronSet",
    "Scores",
    "ablate",
    "activation_patch",
    "agreement",
    "attribute",
    "attribution_patch",
    "compare",
    "compare_countries",
    "count_neurons",
    "dose_response",
    "evaluate",
    "exact_effects",
    "interaction",
    "load_model",
    "load_task",
    "overlap",
    "own_ranks",
    "patching_effects",
    "patching_matrix",
    "plot_agreement",
    "plot_agreement_by_layer",
    "plot_distribution",
    "plot_dose_response",
    "plot_interaction",
    "plot_layers",
    "plot_matrix",
    "plot_score_histogram",
    "plot_sweep",
    "rank_countries",
    "select_general",
    "select_random",
    "select_specific",
    "taylor_check",
    "token_attribution",
    "verify_run",
    "wrap_model",
]
