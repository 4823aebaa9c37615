"""How fast exact ablation is, against one `run_with_hooks` a neuron.

- `naive`: `run_with_hooks` once for each neuron, all layers and all logits.
- `ours`: `exact_effects`, tokenisation included.

    python benchmarks/exact_ablation.py
    python benchmarks/exact_ablation.py --every-gate --prompt 0

The second ablates every gate neuron of one prompt, one by one, and says how well each estimate
ranked them and how many of the true top 100 `top_effects` finds in how many seconds; it goes on
from its checkpoint when it was interrupted, and keeps the true effects as a table. How
`top_effects` screens was chosen on prompt 1; prompt 2 was measured afterwards.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import MODEL, RESULTS, Target, finish, interleaved, machine, parser
from scipy.stats import rankdata

from culnig_tl.analysis.agreement import STATISTICS, agreement
from culnig_tl.analysis.effect_plots import plot_agreement
from culnig_tl.files import write_json
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.taylor import position_shares
from culnig_tl.measure.top import top_effects
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.layout import hook_name
from culnig_tl.neurons.selection import share_count
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance

NAIVE, OURS = "naive", "ours"
TOP = 100
SHARES = (0.01, 0.02, 0.03, 0.05)
SCREEN = "gate_exact"  # by which `top_effects` screens


@torch.no_grad()
def naive(model: Any, instance: Instance, neurons: NeuronSet) -> np.ndarray:
    """log P(y|x) with each neuron at 0, in the order of the ids."""
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    tokens = torch.tensor([prompt.sequence], device=model.cfg.device)
    labels = torch.tensor(prompt.label, device=model.cfg.device)
    found = []
    for neuron in neurons:

        def zero(activation: torch.Tensor, hook: Any, index: int = neuron.index) -> torch.Tensor:
            flat = activation.flatten(2).clone()  # q, k, v: [batch, pos, head, d_head]
            flat[:, :, index] = 0
            return flat.view(activation.shape)

        logits = model.run_with_hooks(
            tokens, fwd_hooks=[(hook_name(neuron.layer, neuron.site), zero)]
        )
        log_probabilities = logits[0, -len(labels) :].log_softmax(dim=-1)
        found.append(float(log_probabilities.gather(1, labels[:, None]).sum()))
    return np.array(found)


def true_effects(model: Any, instance: Instance, neurons: NeuronSet, file: Path) -> pd.DataFrame:
    """The true effects in `file`, and how long they took; measured if they are not there."""
    if not file.exists():
        checkpoint, start = file.with_suffix(".checkpoint"), time.perf_counter()
        made = exact_effects(model, instance, neurons, answer_format="cloze", checkpoint=checkpoint)
        seconds = time.perf_counter() - start
        kept = made[["layer", "site", "index", "probability", "nats"]].assign(seconds=seconds)
        kept.astype({"nats": "float32"}).to_parquet(file, compression="zstd")
        checkpoint.unlink(missing_ok=True)
    truth = pd.read_parquet(file)
    return truth.assign(exact=truth["probability"] * -np.expm1(-truth["nats"].astype(float)))


def every_gate(model: Any, instance: Instance, options: argparse.Namespace) -> None:
    """The headline run: all gate neurons of one prompt, exactly, and what the estimates found."""
    layout = layout_of(model)
    gates = NeuronSet(layout, layout.ids_of(["gate"]), "gate")
    start = time.perf_counter()
    found = top_effects(model, instance, TOP, sites=["gate"], answer_format="cloze")
    top_seconds = time.perf_counter() - start
    name = f"every-gate-{options.prompt}"
    truth = true_effects(model, instance, gates, RESULTS / f"{name}.parquet")
    best = truth["exact"].nlargest(TOP).index
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    estimates: dict[str, Any] = {}
    screens: dict[str, np.ndarray] = {}
    for estimate in ESTIMATES:
        shares, probability = position_shares(model, prompt, gates, estimate=estimate)
        values = shares.sum(axis=1) * probability
        effects = truth.assign(instance=instance.id, **{estimate: values})
        overall = agreement(effects, estimate=estimate).iloc[0]
        screens[estimate] = values
        if estimate == SCREEN:
            screens["size at each position"] = np.abs(shares).sum(axis=1)
        estimates[estimate] = {
            **{name: float(overall[name]) for name in STATISTICS},
            "by_layer_spearman": agreement(effects, estimate=estimate, by="layer")[
                "spearman"
            ].tolist(),
        }
        plot_agreement(effects, estimate=estimate).figure.savefig(
            RESULTS / f"{name}-{estimate}.png", dpi=150
        )
    found_by = {}
    for screen, values in screens.items():
        ranks = rankdata(-values, method="ordinal")[best]
        found_by[screen] = {
            str(share): float((ranks <= share_count(len(gates), share)).mean()) for share in SHARES
        }
    result = {
        "model": MODEL,
        "model_class": options.model_class,
        "machine": machine(),
        "prompt": instance.cloze,
        "answer": instance.answer_text,
        "tokens": len(prompt.sequence),
        "probability": float(truth["probability"].iloc[0]),
        "neurons": len(gates),
        "seconds": float(truth["seconds"].iloc[0]),
        "estimates": estimates,
        "top_found_in_share": found_by,
        "top": TOP,
        "top_effects_seconds": top_seconds,
        "top_effects_overlap": len(found.merge(truth.loc[best], on=["layer", "site", "index"]))
        / TOP,
    }
    out = options.out or RESULTS / f"{name}.json"
    write_json(out, result)
    print(
        f"{len(gates):,} gate neurons of one prompt, {len(prompt.sequence)} tokens, in "
        f"{result['seconds'] / 60:.1f} minutes; of the true top {TOP}, top_effects found "
        f"{result['top_effects_overlap']:.0%} in {top_seconds:.0f} s; written to {out}"
    )
    for estimate, values in estimates.items():
        numbers = ", ".join(f"{name} {values[name]:.3f}" for name in STATISTICS)
        print(f"{estimate}: {numbers}")
    for screen, shares in found_by.items():
        print(f"of the top {TOP} in the highest share by {screen}: {shares}")


@torch.no_grad()
def best_known(model: Any, instances: list[Instance], number: int = 0) -> Instance:
    """The instance whose answer the model finds likeliest, among those of one token.

    Or, of other questions, the one that comes `number` places behind it.

    Most of the paper's answers are one token, and where P(y|x) is next to 0 there is nothing to
    ablate.
    """
    prompts = make_prompts(tokenizer_of(model), instances, answer_format="cloze")
    short = [prompt for prompt in prompts if len(prompt.label) == 1]
    short.sort(key=lambda prompt: -float(log_probability(model, prompt)))
    best = {prompt.instance.question_key: prompt.instance for prompt in reversed(short)}
    return [p.instance for p in short if best[p.instance.question_key] is p.instance][number]


def main() -> None:
    arguments = parser(__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--neurons", type=int, default=504, help="gate neurons, all layers")
    arguments.add_argument("--every-gate", action="store_true", help="the headline run instead")
    arguments.add_argument("--prompt", type=int, default=0, help="of the headline run")
    options = arguments.parse_args()
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    instance = best_known(model, load_task("everyday", "test", limit=64), options.prompt)
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
    difference = float(np.abs(np.exp(found[NAIVE]) - ours).max())
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
