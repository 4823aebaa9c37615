"""Find the neurons of a language model that carry culture, and check the gradient that says so."""

from culnig_tl.analysis.agreement import agreement, patching_matrix
from culnig_tl.analysis.comparison import compare, compare_countries, own_ranks, rank_countries
from culnig_tl.analysis.plots import (
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
from culnig_tl.errors import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.activity import activation_shares
from culnig_tl.measure.answering import answer_questions
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.effects import exact_effects, taylor_check
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.generation import generate
from culnig_tl.measure.patching import activation_patch, attribution_patch, patching_effects
from culnig_tl.measure.perplexity import perplexity, perplexity_increase
from culnig_tl.measure.set_effects import dose_response, interaction
from culnig_tl.measure.token_view import token_attribution
from culnig_tl.models.configs import neuron_layout
from culnig_tl.models.loading import load_hf_model, load_model
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.neurons.lape import ActivationShares, select_cape, select_lape
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import (
    overlap,
    select_general,
    select_random,
    select_specific,
)
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.compare_methods import compare_methods
from culnig_tl.study.export import export_run
from culnig_tl.study.verify import verify_run
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance
from culnig_tl.tasks.judging import judge_answer
from culnig_tl.tasks.short_questions import load_short_questions
from culnig_tl.training.finetuning import finetune, split_instances
from culnig_tl.training.modules import ModuleSet, select_modules
from culnig_tl.training.weights import scale_weights

__all__ = [
    "ActivationShares",
    "CulnigError",
    "Instance",
    "ModuleSet",
    "Neuron",
    "NeuronSet",
    "Scores",
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
    "dose_response",
    "evaluate",
    "exact_effects",
    "export_run",
    "finetune",
    "generate",
    "interaction",
    "judge_answer",
    "load_hf_model",
    "load_model",
    "load_short_questions",
    "load_task",
    "neuron_layout",
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
    "split_instances",
    "taylor_check",
    "token_attribution",
    "verify_run",
    "wrap_model",
]
