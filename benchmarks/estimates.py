"""How well each estimate of a neuron's effect agrees with the true one.

    python benchmarks/estimates.py --blend FOLDER
    python benchmarks/estimates.py --blend FOLDER --model SmolLM2-135M-Instruct

On `--prompts` questions of BLEnD's test split that the model answers (the right option first, and
P(answer) above 1%), one of each question, `--neurons` neurons are really set to 0, one by one: half
of them the largest by the first-order and by the gate-exact estimate, half random, gates and q, k,
v in fixed shares. Into `benchmarks/results/estimates/` (another model: `estimates-MODEL/`) go:

- `agreement.csv`: each estimate against the true effect on log P, by site, averaged over prompts,
  with 95% intervals by question. Beside what the package has stand rules that change the backward
  pass and were tried for q and k: norms whose scale is a constant, as RelP (arXiv 2508.21258) and
  others have it, and a softmax whose gradient is taken at twice the temperature, as in GIM
  (arXiv 2505.17630), alone and as the mean of both temperatures.
- `activations.csv`: position by position on a few prompts, the share of gates whose estimate has
  the right sign, by the gate's own activation.
- `paths.csv`: of the integrated gradient with 1 and 2 nodes, on fewer neurons.
- `joint.csv`: of a set (`--set`), its shares by the joint path against its true effect.
- `about.json`: machine, prompts, seconds of an estimate of all neurons.

The frames of effects themselves are kept in `--work`, from which a run that died goes on.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import MODEL, RESULTS, machine
from torch import Tensor

from culnig_tl.analysis.agreement import STATISTICS, agreement
from culnig_tl.analysis.effect_plots import plot_agreement
from culnig_tl.files import write_json
from culnig_tl.measure.cuts import keep_hooks, log_probability
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.gradients import gradient_hooks
from culnig_tl.measure.paths import path_sums
from culnig_tl.measure.set_effects import interaction
from culnig_tl.measure.taylor import taylor_check
from culnig_tl.models.description import layout_of
from culnig_tl.models.forward import frozen
from culnig_tl.models.loading import load_model
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.estimates import ESTIMATES, Estimate, estimate_points
from culnig_tl.neurons.layout import Key
from culnig_tl.neurons.selection import select_random
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.answered import LEAST
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance, one_of_each

SHARES = {"gate": 0.5, "q": 0.2, "k": 0.15, "v": 0.15}
CLOZE: dict[str, Any] = {"answer_format": "cloze"}
TRIED = ("frozen_norms", "temperature_2", "both_temperatures")


def answerable(model: Any, instances: Sequence[Instance], count: int) -> list[Instance]:
    """The first that the model answers right with P above `LEAST`, one of each question."""
    frame = evaluate(model, instances, **CLOZE)
    good = frame[frame["correct"] & (frame["probability"] > LEAST)].drop_duplicates("question")
    by_id = {instance.id: instance for instance in instances}
    print(f"{len(good)} questions can be answered, of {frame['question'].nunique()}")
    return [by_id[one] for one in good["id"]][:count]


class Temperature(torch.autograd.Function):
    """Softmax as it is, with the gradient that it would have at a higher temperature."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, pattern: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(scores)
        ctx.temperature = temperature
        return pattern.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (scores,), (gradient,) = ctx.saved_tensors, gradients
        softer = (scores / ctx.temperature).softmax(dim=-1)
        return softer * (gradient - (softer * gradient).sum(dim=-1, keepdim=True)), None, None


def softer_attention(n_layers: int, temperature: float) -> list[tuple[str, Any]]:
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook_function(scores: Tensor, hook: Any) -> None:
            kept[layer] = scores

        return hook_function

    def put(layer: int) -> Callable[..., Tensor]:
        def hook_function(pattern: Tensor, hook: Any) -> Tensor:
            return Temperature.apply(kept[layer], pattern.detach(), temperature)

        return hook_function

    hooks: list[tuple[str, Any]] = []
    for layer in range(n_layers):
        hooks.append((f"blocks.{layer}.attn.hook_attn_scores", keep(layer)))
        hooks.append((f"blocks.{layer}.attn.hook_pattern", put(layer)))
    return hooks


def frozen_norms(model: Any) -> list[tuple[str, Any]]:
    names = [name for name in model.hook_dict if name.endswith("hook_scale")]
    return [(name, lambda scale, hook: scale.detach()) for name in names]


def all_shares(
    model: Any, prompt: Prompt, estimate: Estimate, hooks: list[tuple[str, Any]]
) -> np.ndarray:
    """Activation x gradient of log P of all neurons, summed over positions, by flat id."""
    layout = layout_of(model)
    found = np.zeros(layout.total)

    def use(key: Any, activation: Tensor, gradient: Tensor) -> None:
        product = (activation * gradient).flatten(2)[0].double()
        found[layout.span(*key)] = product.sum(dim=0).numpy()

    with (
        frozen(model),
        gradient_hooks(model, estimate_points(layout.keys, estimate), use),
    ):
        log_probability(model, prompt, hooks=hooks).sum().backward()
    return found


def choose(shares: dict[str, np.ndarray], layout: Any, count: int, seed: int) -> NeuronSet:
    """Half the largest of either estimate, half random, of each site its share."""
    rng, ids = np.random.default_rng(seed), []
    for site, share in SHARES.items():
        here = layout.ids_of([site])
        half = int(count * share / 2)
        large = np.concatenate(
            [here[np.argsort(-np.abs(shares[name][here]))[: half // 2]] for name in ESTIMATES]
        )
        large = np.unique(large)
        rest = np.setdiff1d(here, large)
        ids += [large, rng.choice(rest, int(count * share) - len(large), replace=False)]
    return NeuronSet(layout, np.concatenate(ids), "checked")


def flat_ids(frame: pd.DataFrame, layout: Any) -> np.ndarray:
    starts = [
        layout.span(int(r), s).start for r, s in zip(frame["layer"], frame["site"], strict=True)
    ]
    return np.array(starts) + frame["index"].to_numpy()


def effects_of(
    model: Any, instances: Sequence[Instance], options: argparse.Namespace
) -> Iterator[tuple[pd.DataFrame, dict[str, float]]]:
    """For each prompt the frame of effects with all estimates, and seconds of one of them all."""
    layout = layout_of(model)
    native = type(model).__name__ == "HookedTransformer"
    for number, instance in enumerate(instances):
        (prompt,) = model_prompts(model, [instance], **CLOZE)
        seconds, shares = {}, {}
        for estimate in ESTIMATES:
            start = time.perf_counter()
            shares[estimate] = all_shares(model, prompt, estimate, [])
            seconds[estimate] = time.perf_counter() - start
        if native:
            softer = softer_attention(layout.n_layers, 2.0)
            shares["frozen_norms"] = all_shares(model, prompt, "gate_exact", frozen_norms(model))
            shares["temperature_2"] = all_shares(model, prompt, "gate_exact", softer)
            shares["both_temperatures"] = (shares["gate_exact"] + shares["temperature_2"]) / 2
        neurons = choose(shares, layout, options.neurons, number)
        before, start = set(options.work.glob("*")), time.perf_counter()
        frame = taylor_check(model, [instance], neurons, steps=0, checkpoint=options.work, **CLOZE)
        if set(options.work.glob("*")) != before:  # it was not there already
            seconds["exact, of those checked"] = time.perf_counter() - start
        ids = flat_ids(frame, layout)
        for name in TRIED[: 3 * native]:
            frame[name] = shares[name][ids] * frame["probability"]
        yield frame, seconds
        print(number, instance.id, f"P {frame['probability'].iloc[0]:.3f}", flush=True)


def in_nats(effects: pd.DataFrame, names: Sequence[str], by: str = "site") -> pd.DataFrame:
    """`agreement` of each estimate, as a share of P, with the true effect in nats."""
    shares = effects.copy()
    for name in names:
        if not name.startswith("score"):
            shares[name] = shares[name] / shares["probability"]
    tables = {name: agreement(shares, estimate=name, by=by, truth="nats") for name in names}
    table = pd.concat(tables, names=["estimate"])
    error = {}
    for name in names:
        miss = (shares[name] - shares["nats"]).abs().groupby([shares["instance"], shares[by]])
        whole = shares["nats"].abs().groupby([shares["instance"], shares[by]])
        error[name] = (miss.sum() / whole.sum()).groupby(by, observed=True).mean()
    return table.assign(error=pd.concat(error, names=["estimate"]))


def by_activation(
    model: Any, instances: Sequence[Instance], options: argparse.Namespace
) -> pd.DataFrame:
    """Position by position, by the gate's activation: how often an estimate's sign is right."""
    layout, frames = layout_of(model), []
    for number, instance in enumerate(instances):
        (prompt,) = model_prompts(model, [instance], **CLOZE)
        shares = {name: all_shares(model, prompt, name, []) for name in ESTIMATES}
        gates = layout.ids_of(["gate"])
        large = gates[np.argsort(-np.abs(shares["gate_exact"][gates]))[:60]]
        rest = np.random.default_rng(number).choice(np.setdiff1d(gates, large), 20, replace=False)
        neurons = NeuronSet(layout, np.concatenate([large, rest]), "gates")
        frame = taylor_check(
            model, [instance], neurons, positions="each", steps=0, checkpoint=options.work, **CLOZE
        )
        frames.append(frame.assign(activation=activations(model, prompt, neurons).reshape(-1)))
    effects = pd.concat(frames, ignore_index=True)
    effects = effects[effects["nats"].abs() > 1e-5]  # below that it is rounding
    edges = [-np.inf, -2, -0.75, -0.25, 0, 0.75, 2, np.inf]
    effects["activation"] = pd.cut(effects["activation"], edges).astype(str)
    right = {name: np.sign(effects[name]) == np.sign(effects["nats"]) for name in ESTIMATES}
    groups = effects.assign(**right).groupby("activation", sort=False)
    table = groups[list(ESTIMATES)].mean()
    table["effects"], table["questions"] = groups.size(), groups["question"].nunique()
    order = pd.cut(pd.Series([-3, -1, -0.5, -0.1, 0.1, 1, 3]), edges).astype(str)
    return table.reindex([one for one in order if one in table.index])


def activations(model: Any, prompt: Prompt, neurons: NeuronSet) -> np.ndarray:
    """[neuron, pos]."""
    found: dict[Key, Tensor] = {}
    with torch.no_grad():
        log_probability(model, prompt, hooks=keep_hooks(neurons, found))
    return torch.cat([found[key].T for key in neurons.by_site()]).numpy()


def joint(model: Any, instances: Sequence[Instance], neurons: NeuronSet) -> pd.DataFrame:
    """Of the set and a matched random one: what the shares of the joint path add up to."""
    parts = []
    for one in (neurons, select_random(neurons, 0, matched=True)):
        whole = interaction(model, instances, one, **CLOZE).set_index("instance")
        for steps in (4, 8, 10):
            sums = path_sums(model, instances, one, steps=steps, **CLOZE)
            singles, floor = (
                sums["instance"].map(whole[column]) for column in ("singles_nats", "floor_nats")
            )
            parts.append(sums.assign(neurons=len(one), steps=steps, singles=singles, floor=floor))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--blend", type=Path, required=True)
    options.add_argument("--model", default=MODEL)
    options.add_argument("--model-class", default="auto")
    options.add_argument("--prompts", type=int, default=20)
    options.add_argument("--neurons", type=int, default=1000)
    options.add_argument("--set", type=Path, help="a set, for the joint path")
    options.add_argument(
        "--work", type=Path, help="default: runs/estimates, or runs/estimates-MODEL"
    )
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    name = "estimates" if chosen.model == MODEL else f"estimates-{chosen.model}"
    chosen.work, chosen.out = chosen.work or Path("runs") / name, chosen.out or RESULTS / name
    chosen.out.mkdir(parents=True, exist_ok=True)
    about = machine()
    model = load_model(chosen.model, model_class=chosen.model_class)
    tests = load_task("blend", "test", data=chosen.blend)
    instances = answerable(model, one_of_each(tests), chosen.prompts)
    frames, seconds = zip(*effects_of(model, instances, chosen), strict=True)
    effects = pd.concat(frames, ignore_index=True)
    effects.to_parquet(chosen.work / "effects.parquet")
    names = [*ESTIMATES, *(name for name in TRIED if name in effects)]
    names += [f"score_{estimate}" for estimate in ESTIMATES]
    in_nats(effects, names).to_csv(chosen.out / "agreement.csv")
    for estimate in ESTIMATES:
        figure = plot_agreement(effects, estimate=estimate).figure
        figure.savefig(chosen.out / f"{estimate}.png", dpi=130)
    by_activation(model, instances[:6], chosen).to_csv(chosen.out / "activations.csv")
    layout = layout_of(model)
    paths = []
    for number, (instance, frame) in enumerate(zip(instances[:10], frames, strict=False)):
        rng = np.random.default_rng(number)
        some = frame.groupby("site", observed=True).sample(
            min(40, chosen.neurons // 10), random_state=rng
        )
        few = NeuronSet(layout, flat_ids(some, layout), "few")
        checks = [
            taylor_check(model, [instance], few, steps=steps, checkpoint=chosen.work, **CLOZE)
            for steps in (1, 2)
        ]
        paths.append(checks[1].assign(integrated_1=checks[0]["integrated"]))
    fewer = pd.concat(paths, ignore_index=True).rename(columns={"integrated": "integrated_2"})
    in_nats(fewer, [*ESTIMATES, "integrated_1", "integrated_2"]).to_csv(chosen.out / "paths.csv")
    if chosen.set:
        neurons = NeuronSet.load(chosen.set, layout=layout)
        joint(model, instances[:10], neurons).to_csv(chosen.out / "joint.csv", index=False)
    medians = pd.DataFrame(seconds).median().to_dict()
    write_json(
        chosen.out / "about.json",
        {
            "benchmark": "estimates",
            "model": chosen.model,
            "model_class": type(model).__name__,
            "machine": about,
            "prompts": [instance.id for instance in instances],
            "neurons": chosen.neurons,
            "probabilities": [float(frame["probability"].iloc[0]) for frame in frames],
            "statistics": STATISTICS,
            "median seconds a prompt": medians,
        },
    )
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
