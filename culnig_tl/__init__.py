"""Find the neurons of a language model that carry culture, and check the gradient that says so.

A name is imported when it is first used: `import culnig_tl` alone needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from culnig_tl.analysis.additivity import additivity
    from culnig_tl.analysis.agreement import agreement, patching_matrix, rank_agreement
    from culnig_tl.analysis.comparison import compare
    from culnig_tl.analysis.effect_plots import (
        plot_agreement,
        plot_dose_response,
        plot_faithfulness,
        plot_interaction,
    )
    from culnig_tl.analysis.faithfulness import faithfulness_areas
    from culnig_tl.analysis.groups import compare_groups, own_ranks
    from culnig_tl.analysis.plots import (
        plot_distribution,
        plot_finetuning,
        plot_layers,
        plot_matrix,
        plot_sweep,
    )
    from culnig_tl.errors import CulnigError
    from culnig_tl.measure.ablation import ablate
    from culnig_tl.measure.activity import activation_shares
    from culnig_tl.measure.attribution import attribute
    from culnig_tl.measure.effects import exact_effects
    from culnig_tl.measure.evaluation import evaluate
    from culnig_tl.measure.faithfulness import faithfulness_curve
    from culnig_tl.measure.pairs import pair_preferences
    from culnig_tl.measure.patching import (
        activation_patch,
        attribution_patch,
        check_scale,
        patching_effects,
    )
    from culnig_tl.measure.paths import joint_path
    from culnig_tl.measure.perplexity import perplexity, perplexity_increase
    from culnig_tl.measure.reference import reference_activations
    from culnig_tl.measure.set_effects import dose_response, interaction
    from culnig_tl.measure.taylor import taylor_check
    from culnig_tl.measure.token_view import token_attribution
    from culnig_tl.measure.top import top_effects
    from culnig_tl.models.configs import neuron_layout
    from culnig_tl.models.loading import load_hf_model, load_model
    from culnig_tl.models.wrapping import wrap_model
    from culnig_tl.neurons.lape import select_cape, select_lape
    from culnig_tl.neurons.scores import Scores
    from culnig_tl.neurons.selection import overlap, select_general, select_random, select_specific
    from culnig_tl.neurons.sets import NeuronSet
    from culnig_tl.study.arguments import Study
    from culnig_tl.study.compare_methods import compare_methods
    from culnig_tl.study.model_facts import model_facts
    from culnig_tl.study.neuron_pages import neuron_page, neurons_run
    from culnig_tl.study.run import Run
    from culnig_tl.study.running import run_study
    from culnig_tl.study.stored import stored_study
    from culnig_tl.study.verify import verify_run
    from culnig_tl.tasks import load_task
    from culnig_tl.tasks.instances import Instance
    from culnig_tl.tasks.own import load_questions
    from culnig_tl.training.finetuning import finetune
    from culnig_tl.training.modules import select_modules
    from culnig_tl.training.settings import Training
    from culnig_tl.training.splitting import split_instances

# Where the public names are.
_MODULES = {
    "analysis.additivity": ("additivity",),
    "analysis.agreement": (
        "agreement",
        "patching_matrix",
        "rank_agreement",
    ),
    "analysis.comparison": ("compare",),
    "analysis.groups": (
        "compare_groups",
        "own_ranks",
    ),
    "analysis.faithfulness": ("faithfulness_areas",),
    "analysis.effect_plots": (
        "plot_agreement",
        "plot_dose_response",
        "plot_faithfulness",
        "plot_interaction",
    ),
    "analysis.plots": (
        "plot_distribution",
        "plot_finetuning",
        "plot_layers",
        "plot_matrix",
        "plot_sweep",
    ),
    "errors": ("CulnigError",),
    "measure.ablation": ("ablate",),
    "measure.activity": ("activation_shares",),
    "measure.attribution": ("attribute",),
    "measure.effects": ("exact_effects",),
    "measure.evaluation": ("evaluate",),
    "measure.faithfulness": ("faithfulness_curve",),
    "measure.pairs": ("pair_preferences",),
    "measure.patching": (
        "activation_patch",
        "attribution_patch",
        "check_scale",
        "patching_effects",
    ),
    "measure.paths": ("joint_path",),
    "measure.perplexity": (
        "perplexity",
        "perplexity_increase",
    ),
    "measure.reference": ("reference_activations",),
    "measure.set_effects": (
        "dose_response",
        "interaction",
    ),
    "measure.taylor": ("taylor_check",),
    "measure.token_view": ("token_attribution",),
    "measure.top": ("top_effects",),
    "models.configs": ("neuron_layout",),
    "models.loading": (
        "load_hf_model",
        "load_model",
    ),
    "models.wrapping": ("wrap_model",),
    "neurons.lape": (
        "select_cape",
        "select_lape",
    ),
    "neurons.scores": ("Scores",),
    "neurons.selection": (
        "overlap",
        "select_general",
        "select_random",
        "select_specific",
    ),
    "neurons.sets": ("NeuronSet",),
    "study.arguments": ("Study",),
    "study.compare_methods": ("compare_methods",),
    "study.model_facts": ("model_facts",),
    "study.neuron_pages": (
        "neuron_page",
        "neurons_run",
    ),
    "study.run": ("Run",),
    "study.running": ("run_study",),
    "study.stored": ("stored_study",),
    "study.verify": ("verify_run",),
    "tasks": ("load_task",),
    "tasks.own": ("load_questions",),
    "tasks.instances": ("Instance",),
    "training.finetuning": ("finetune",),
    "training.settings": ("Training",),
    "training.splitting": ("split_instances",),
    "training.modules": ("select_modules",),
}

__all__ = [
    "CulnigError",
    "Instance",
    "NeuronSet",
    "Run",
    "Scores",
    "Study",
    "Training",
    "ablate",
    "activation_patch",
    "activation_shares",
    "additivity",
    "agreement",
    "attribute",
    "attribution_patch",
    "check_scale",
    "compare",
    "compare_groups",
    "compare_methods",
    "dose_response",
    "evaluate",
    "exact_effects",
    "faithfulness_areas",
    "faithfulness_curve",
    "finetune",
    "interaction",
    "joint_path",
    "load_hf_model",
    "load_model",
    "load_questions",
    "load_task",
    "model_facts",
    "neuron_layout",
    "neuron_page",
    "neurons_run",
    "overlap",
    "own_ranks",
    "pair_preferences",
    "patching_effects",
    "patching_matrix",
    "perplexity",
    "perplexity_increase",
    "plot_agreement",
    "plot_distribution",
    "plot_dose_response",
    "plot_faithfulness",
    "plot_finetuning",
    "plot_interaction",
    "plot_layers",
    "plot_matrix",
    "plot_sweep",
    "rank_agreement",
    "reference_activations",
    "run_study",
    "select_cape",
    "select_general",
    "select_lape",
    "select_modules",
    "select_random",
    "select_specific",
    "split_instances",
    "stored_study",
    "taylor_check",
    "token_attribution",
    "top_effects",
    "verify_run",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value  # from now on it is found without this function
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
