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
from scipy import stats

from culnig_tl.effects import exact_effects, position_scores
from culnig_tl.files import write_json
from culnig_tl.instances import Instance
from culnig_tl.models import layout_of, load_model, tokenizer_of
from culnig_tl.neurons import NeuronSet, hook_name
from culnig_tl.prompts import make_prompts
from culnig_tl.tasks import load_task

NAIVE, OURS = "naive", "ours"


@torch.no_grad()
def naive(model: Any, instance: Instance, neurons: NeuronSet) -> np.ndarray:
    """P(y|x) with each neuron at 0, in the order of the ids."""
    (prompt,) = make_prompts(tokenizer_of(model), [instance], "cloze")
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
    effects = exact_effects(model, instance, gates, "all", "cloze", checkpoint=checkpoint)
    seconds = time.perf_counter() - start
    (prompt,) = make_prompts(tokenizer_of(model), [instance], "cloze")
    first_order = position_scores(model, prompt, gates).sum(axis=1)
    exact = effects["exact"].to_numpy()
    best = [set(np.argsort(-values)[:100]) for values in (first_order, exact)]
    result = {
        "model": MODEL,
        "model_class": options.model_class,
        "machine": machine(),
        "prompt": instance.cloze,
        "answer": instance.answer_text,
        "probability": float(effects["probability"].iloc[0]),
        "neurons": len(gates),
        "seconds": seconds,
        "pearson": float(stats.pearsonr(first_order, exact).statistic),
        "spearman": float(stats.spearmanr(first_order, exact).statistic),
        "top_100_overlap": len(best[0] & best[1]) / 100,
        "by_layer_spearman": [
            float(stats.spearmanr(first_order[layer], exact[layer]).statistic)
            for layer in np.split(np.arange(len(gates)), layout.n_layers)
        ],
    }
    checkpoint.unlink(missing_ok=True)
    out = options.out or RESULTS / f"every-gate-{options.model_class}.json"
    write_json(out, result)
    print(
        f"{len(gates):,} gate neurons of one prompt, {len(prompt.tokens)} tokens, in "
        f"{seconds / 60:.1f} minutes; first order against truth: Spearman "
        f"{result['spearman']:.3f}, Pearson {result['pearson']:.3f}, top 100 overlap "
        f"{result['top_100_overlap']:.2f}; written to {out}"
    )


def main() -> None:
    arguments = parser(__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--neurons", type=int, default=504, help="gate neurons, all layers")
    arguments.add_argument("--every-gate", action="store_true", help="the headline run instead")
    options = arguments.parse_args()
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    instance = load_task("everyday", "test", limit=16)[0]
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
        found[OURS] = exact_effects(model, instance, neurons, "all", "cloze")

    few = NeuronSet(layout, neurons.ids[:: max(1, len(neurons) // 20)], "warm-up")
    exact_effects(model, instance, few, "all", "cloze")
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
