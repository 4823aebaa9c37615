"""Find the neurons of a language model that carry culture, and check the gradient that says so."""

from culnig_tl.ablation import ablate
from culnig_tl.agreement import agreement, patching_matrix
from culnig_tl.attribution import attribute
from culnig_tl.comparison import compare, compare_countries, own_ranks, rank_countries
from culnig_tl.configs import count_neurons
from culnig_tl.effects import exact_effects, taylor_check
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate
from culnig_tl.export import export_run, scale_weights
from culnig_tl.finetuning import divide, finetune
from culnig_tl.generation import generate
from culnig_tl.instances import Instance
from culnig_tl.lape import Shares, select_cape, select_lape
from culnig_tl.methods import compare_methods
from culnig_tl.models import load_hf_model, load_model, wrap_model
from culnig_tl.modules import ModuleSet, select_modules
from culnig_tl.neurons import Neuron, NeuronSet
from culnig_tl.patching import activation_patch, attribution_patch, patching_effects
from culnig_tl.plots import (
    plot_agreement,
    plot_agreement_by_layer,
    plot_distribution,
    plot_dose_response,
    plot_finetuning,
    plot_interaction,
    plot_layers,
    plot_matrix,
    plot_score_histogram,
    plot_sweep,
)
from culnig_tl.scores import Scores
from culnig_tl.selection import overlap, select_general, select_random, select_specific, union
from culnig_tl.set_effects import dose_response, interaction
from culnig_tl.short_answers import answer_questions
from culnig_tl.tasks import load_task
from culnig_tl.tasks.short_answers import judge, load_short_questions
from culnig_tl.texts import activation_shares, perplexity, perplexity_increase
from culnig_tl.tokens import token_attribution
from culnig_tl.verify import verify_run

__all__ = [
    "CulnigError",
    "Instance",
    "ModuleSet",
    "Neuron",
    "NeuronSet",
    "Scores",
    "Shares",
    "ablate",
    "activation_patch",
    "activation_shares",
    "agreement",
    "answer_questions",
    "attribute",
    "attribution_patch",
    "compare",
    "compare_countries",
    "compare_methods",
    "count_neurons",
    "divide",
    "dose_response",
    "evaluate",
    "exact_effects",
    "export_run",
    "finetune",
    "generate",
    "interaction",
    "judge",
    "load_hf_model",
    "load_model",
    "load_short_questions",
    "load_task",
    "overlap",
    "own_ranks",
    "patching_effects",
    "patching_matrix",
    "perplexity",
    "perplexity_increase",
    "plot_agreement",
    "plot_agreement_by_layer",
    "plot_distribution",
    "plot_dose_response",
    "plot_finetuning",
    "plot_interaction",
    "plot_layers",
    "plot_matrix",
    "plot_score_histogram",
    "plot_sweep",
    "rank_countries",
    "scale_weights",
    "select_cape",
    "select_general",
    "select_lape",
    "select_modules",
    "select_random",
    "select_specific",
    "taylor_check",
    "token_attribution",
    "union",
    "verify_run",
    "wrap_model",
]
