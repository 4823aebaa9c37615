"""How fast exact ablation is, against one `run_with_hooks` a neuron.

- `naive`: `run_with_hooks` once for each neuron, all layers and all logits.
- `ours`: `exact_effects`, tokenisation included.

    python benchmarks/exact_ablation.py
    python benchmarks/exact_ablation.py --every-gate

The second ablates every gate neuron of the prompt, one by one, and says how well the first-order
score ranked them; it goes on from its checkpoint when it was interrupted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import MODEL, RESULTS, Target, finish, interleaved, machine, parser

from culnig_tl.analysis.agreement import STATISTICS, agreement
from culnig_tl.analysis.effect_plots import plot_agreement
from culnig_tl.files import write_json
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.taylor import position_scores
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import hook_name
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance

NAIVE, OURS = "naive", "ours"


@torch.no_grad()
def naive(model: Any, instance: Instance, neurons: NeuronSet) -> np.ndarray:
    """P(y|x) with each neuron at 0, in the order of the ids."""
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    tokens = torch.tensor([prompt.sequence], device=model.cfg.device)
    labels = torch.tensor(prompt.label, device=model.cfg.device)
    found = []
    for neuron in neurons:

        def zero(activation: torch.Tensor, hook: Any, index: int = neuron.index) -> torch.Tensor:
            activation[:, :, index] = 0
            return activation

        logits = model.run_with_hooks(
            tokens, fwd_hooks=[(hook_name(neuron.layer, neuron.site), zero)]
        )
        log_probabilities = logits[0, -len(labels) :].log_softmax(dim=-1)
        found.append(float(log_probabilities.gather(1, labels[:, None]).sum().exp()))
    return np.array(found)


def every_gate(model: Any, instance: Instance, options: argparse.Namespace) -> None:
    """The headline run: all gate neurons of one prompt, exactly."""
    layout = layout_of(model)
    gates = NeuronSet(layout, layout.ids_of(["gate"]), "gate")
    checkpoint = RESULTS / f"every-gate-{options.model_class}.checkpoint"
    start = time.perf_counter()
    effects = exact_effects(
        model, instance, gates, positions="all", answer_format="cloze", checkpoint=checkpoint
    )
    seconds = time.perf_counter() - start
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    first_order = position_scores(model, prompt, gates).sum(axis=1)
    effects = effects.assign(instance=instance.id, first_order=first_order)
    overall = agreement(effects).iloc[0]
    by_layer = agreement(effects, by="layer")
    result = {
        "model": MODEL,
        "model_class": options.model_class,
        "machine": machine(),
        "prompt": instance.cloze,
        "answer": instance.answer_text,
        "tokens": len(prompt.sequence),
        "probability": float(effects["probability"].iloc[0]),
        "neurons": len(gates),
        "seconds": seconds,
        **{name: float(overall[name]) for name in STATISTICS},
        "by_layer_spearman": by_layer["spearman"].tolist(),
    }
    out = options.out or RESULTS / f"every-gate-{options.model_class}.json"
    write_json(out, result)
    plot_agreement(effects).figure.savefig(out.with_suffix(".png"), dpi=150)
    checkpoint.unlink(missing_ok=True)
    numbers = ", ".join(f"{name} {overall[name]:.3f}" for name in STATISTICS)
    print(
        f"{len(gates):,} gate neurons of one prompt, {len(prompt.sequence)} tokens, in "
        f"{seconds / 60:.1f} minutes; first order against truth: {numbers}; written to {out}"
    )


@torch.no_grad()
def best_known(model: Any, instances: list[Instance]) -> Instance:
    """The instance whose answer the model finds likeliest, among those of one token.

    Most of the paper's answers are one token, and where P(y|x) is next to 0 there is nothing to
    ablate.
    """
    prompts = make_prompts(tokenizer_of(model), instances, answer_format="cloze")
    short = [prompt for prompt in prompts if len(prompt.label) == 1]
    return max(short, key=lambda prompt: float(log_probability(model, prompt))).instance


def main() -> None:
    arguments = parser(__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--neurons", type=int, default=504, help="gate neurons, all layers")
    arguments.add_argument("--every-gate", action="store_true", help="the headline run instead")
    options = arguments.parse_args()
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    instance = best_known(model, load_task("everyday", "test", limit=64))
    if options.every_gate:
        every_gate(model, instance, options)
        return
    layout = layout_of(model)
    rng = np.random.default_rng(0)
    each = -(-options.neurons // layout.n_layers)
    ids = [
        layout.span(layer, "gate").start + rng.choice(layout.gate, each, replace=False)
        for layer in range(layout.n_layers)
    ]
    neurons = NeuronSet(layout, np.concatenate(ids), "sample")
    about = machine()
    found: dict[str, Any] = {}

    def run_naive() -> None:
        found[NAIVE] = naive(model, instance, neurons)

    def run_ours() -> None:
        found[OURS] = exact_effects(
            model, instance, neurons, positions="all", answer_format="cloze"
        )

    few = NeuronSet(layout, neurons.ids[:: max(1, len(neurons) // 20)], "warm-up")
    exact_effects(model, instance, few, positions="all", answer_format="cloze")
    naive(model, instance, few)
    methods: dict[str, Callable[[], Any]] = {NAIVE: run_naive, OURS: run_ours}
    options.instances = len(neurons)
    seconds = interleaved(methods, {NAIVE: 1, OURS: options.repeats}, options.device)
    effects = found[OURS]
    ours = (effects["probability"] - effects["exact"]).to_numpy()
    difference = float(np.abs(found[NAIVE] - ours).max())
    print(
        f"P(y|x) under {len(neurons)} ablations agrees within {difference:.1e} "
        f"(P = {effects['probability'].iloc[0]:.2e}; wanted <= 1e-5)"
    )
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    finish(
        f"Exact ablation of {len(neurons)} gate neurons, {options.model_class}, {options.device}",
        options,
        seconds,
        {},
        [Target("time, naive / ours", medians[NAIVE] / medians[OURS], 4.0, True)],
        {"largest_difference": difference},
        "exact-ablation",
        about,
    )


if __name__ == "__main__":
    main()
