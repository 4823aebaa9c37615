"""How the cost of attribution grows, and what a second process or exported weights bring.

    python benchmarks/scaling.py

- `processes`: two processes with one thread each, started by torchrun, against one process with
  two threads; attribution and evaluation of the same instances, in turn.
- `instances`, `length`: gemma-3-270m on more instances, and on longer ones.
- `size`: three small Llama configurations with random weights.
- `hooks`: `evaluate` with neurons masked by hooks, against weights in which they are masked
  (`scale_weights`, as `culnig export` writes them) and against nothing masked.

Figures and numbers go into `results/scaling`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from common import MODEL, RESULTS, interleaved, machine, parser
from rich.console import Console
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from culnig_tl.files import read_json, write_json
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.loading import load_hf_model, load_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.processes import agreed, process_rank
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance
from culnig_tl.training.weights import scale_weights

SHARED = 256
COUNTS = (16, 32, 64, 128, 256)
LENGTHS = (16, 32, 64, 128, 256, 512)
SIZES = ((128, 384, 4), (256, 1024, 6), (512, 1536, 8))  # d_model, d_mlp, layers
MASKED = 300
console = Console()


def child(options: argparse.Namespace) -> None:
    """One of the processes of `processes`: the first writes the seconds into `options.child`."""
    instances = load_task("everyday", "neuron", limit=SHARED)
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    seconds = {}
    works: dict[str, Callable[[list[Instance]], Any]] = {
        "attribution": lambda part: attribute(model, part, answer_format="cloze"),
        "evaluation": lambda part: evaluate(model, part, answer_format="cloze"),
    }
    for name, work in works.items():
        work(instances[: SHARED // 2])  # memory of a batch's size is slow at its first use
        agreed(None)
        start = time.perf_counter()
        work(instances)
        agreed(None)  # until the last has finished
        seconds[name] = time.perf_counter() - start
    if not process_rank():
        options.child.write_text(json.dumps(seconds))


def processes(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one process with two threads and of two with one."""
    here = [__file__, "--model-class", options.model_class]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ways = {"1 process, 2 threads": ([], "2"), "2 processes, 1 thread each": (torchrun, "1")}
    found: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.json"
        for _ in range(options.repeats):
            for way, (start, threads) in ways.items():
                command = [sys.executable, *start, *here, "--child", str(file)]
                subprocess.run(
                    command, env=os.environ | {"OMP_NUM_THREADS": threads}, check=True,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                for name, seconds in json.loads(file.read_text()).items():
                    found[way].setdefault(name, []).append(seconds)
    one, two = found.values()
    ratios = {name: statistics.median(one[name]) / statistics.median(two[name]) for name in one}
    axes = plt.figure(figsize=(6, 3.2), layout="constrained").gca()
    for offset, (way, times) in enumerate(found.items()):
        medians = [SHARED / statistics.median(times[name]) for name in times]
        at = np.arange(len(times)) + 0.36 * (offset - 0.5)
        axes.bar(at, medians, width=0.34, label=way)
    axes.set_xticks(range(len(one)), list(one))
    axes.set(ylabel="instances a second", title=f"{MODEL}, {SHARED} instances, 2 cores")
    axes.margins(y=0.25)
    save(axes, "processes", legend=True)
    for name, ratio in ratios.items():
        console.print(f"{name}: threads / processes {ratio:.2f} (wanted >= 1)")
    return {"seconds": found, "threads / processes": ratios}


def instances(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds against the number of instances."""
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    everything = load_task("everyday", "neuron", limit=max(COUNTS))
    works = {
        count: lambda part=everything[:: COUNTS[-1] // count]: attribute(
            model, part, answer_format="cloze"
        )
        for count in COUNTS
    }
    seconds = timed(works, options)
    fit = stats.linregress(list(seconds), list(seconds.values()))
    text = (
        f"{1000 * fit.slope:.1f} ms an instance + {fit.intercept:.2f} s, r² = {fit.rvalue**2:.4f}"
    )
    axes = scatter(seconds, "instances", "seconds", f"{MODEL}: {text}")
    axes.plot(COUNTS, [fit.intercept + fit.slope * count for count in COUNTS], color="#999999")
    save(axes, "instances")
    console.print(f"instances: {text}")
    return {
        "seconds": seconds,
        "slope": fit.slope,
        "intercept": fit.intercept,
        "r2": fit.rvalue**2,
    }


def length(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds an instance against its tokens; the same eight questions behind more words."""
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    base = load_task("everyday", "neuron", limit=8)
    works, tokens = {}, {}
    for wanted in LENGTHS:
        words = max(0, wanted - 16)
        longer = [replace(i, cloze="and so on " * (words // 3) + i.cloze) for i in base]
        prompts = make_prompts(tokenizer_of(model), longer, answer_format="cloze")
        tokens[wanted] = statistics.mean(len(prompt.sequence) for prompt in prompts)
        works[wanted] = lambda part=longer: attribute(model, part, answer_format="cloze")
    each = {
        tokens[wanted]: 1000 * seconds / len(base)
        for wanted, seconds in timed(works, options).items()
    }
    fit = stats.linregress(np.log(list(each)[2:]), np.log(list(each.values())[2:]))
    title = f"{MODEL}: from {list(each)[2]:.0f} tokens on, milliseconds ~ tokens^{fit.slope:.2f}"
    axes = scatter(each, "tokens of an instance", "milliseconds an instance", title)
    far = np.array(list(each)[2:])
    axes.plot(far, np.exp(fit.intercept) * far**fit.slope, color="#999999")
    axes.set(xscale="log", yscale="log")
    for axis, ticks in ((axes.xaxis, list(each)), (axes.yaxis, [100, 200, 500, 1000, 2000])):
        axis.set_ticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axis.set_ticks([], minor=True)
    save(axes, "length")
    console.print(title)
    return {"milliseconds": each, "exponent": fit.slope}


def size(options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a token against the parameters of the blocks."""
    asked = load_task("everyday", "neuron", limit=options.instances)
    texts = [i.cloze for i in asked] + [option for i in asked for option in i.options]
    names = {"<pad>": 0} | {w: n + 1 for n, w in enumerate(dict.fromkeys(" ".join(texts).split()))}
    words = Tokenizer(models.WordLevel(names, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")
    prompts = make_prompts(tokenizer, asked, answer_format="cloze")
    tokens = sum(len(prompt.sequence) for prompt in prompts)
    works = {}
    for d_model, d_mlp, layers in SIZES:
        config = LlamaConfig(
            vocab_size=len(names),
            hidden_size=d_model,
            intermediate_size=d_mlp,
            num_hidden_layers=layers,
            num_attention_heads=d_model // 64,
            num_key_value_heads=d_model // 128,
            pad_token_id=0,
        )
        hf = LlamaForCausalLM._from_config(config, attn_implementation="eager")
        blocks = sum(weight.numel() for weight in hf.model.layers.parameters())
        model = wrap_model(
            hf, tokenizer, name="random", model_class="TransformerBridge", device=options.device
        )
        works[blocks] = lambda model=model: attribute(model, asked, answer_format="cloze")
    each = {blocks: 1e6 * seconds / tokens for blocks, seconds in timed(works, options).items()}
    millions = np.array(list(each)) / 1e6
    fit = stats.linregress(millions, list(each.values()))
    title = f"{fit.slope:.0f} µs a token per million parameters + {fit.intercept:.0f} µs"
    axes = scatter(
        {blocks / 1e6: value for blocks, value in each.items()},
        "parameters of the blocks, millions", "microseconds a token", title,
    )  # fmt: skip
    axes.plot(millions, fit.intercept + fit.slope * millions, color="#999999")
    save(axes, "size")
    console.print(f"size: {title}")
    return {"microseconds a token": each, "slope": fit.slope, "intercept": fit.intercept}


def hooks(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `evaluate` with neurons masked by hooks and in the weights."""
    model = load_model(MODEL, model_class=options.model_class, device=options.device)
    asked = load_task("everyday", "test", limit=options.instances)
    layout = layout_of(model)
    ids = np.random.default_rng(0).choice(layout.total, MASKED, replace=False)
    neurons = NeuronSet(layout, ids, "random")
    hf, tokenizer = load_hf_model(MODEL)
    scale_weights(hf, neurons)
    scaled = wrap_model(
        hf, tokenizer, name=MODEL, model_class=options.model_class, device=options.device
    )
    works = {
        "nothing masked": lambda: evaluate(model, asked, None, factor=0.0, answer_format="cloze"),
        "masked by hooks": lambda: evaluate(
            model, asked, neurons, factor=0.0, answer_format="cloze"
        ),
        "masked in the weights": lambda: evaluate(
            scaled, asked, None, factor=0.0, answer_format="cloze"
        ),
    }
    answers = [works[name]() for name in ("masked by hooks", "masked in the weights")]
    same = np.allclose(answers[0]["probability"], answers[1]["probability"], rtol=1e-3)
    seconds = timed(works, options)
    ratio = seconds["masked by hooks"] / seconds["masked in the weights"]
    console.print(f"evaluate, hooks / weights: {ratio:.3f}; same answers: {same}")
    return {"seconds": seconds, "hooks / weights": ratio, "same": bool(same)}


PARTS = {part.__name__: part for part in (processes, size, instances, length, hooks)}


def timed(works: dict[Any, Callable[[], Any]], options: argparse.Namespace) -> dict[Any, float]:
    """The median of the seconds of each, in turn, after one warm-up of the first."""
    next(iter(works.values()))()
    runs = interleaved(works, dict.fromkeys(works, options.repeats), options.device)
    return {name: statistics.median(times) for name, times in runs.items()}


def scatter(points: dict[Any, float], x: str, y: str, title: str) -> Any:
    """Points on axes of their own."""
    axes = plt.figure(figsize=(6, 3.6), layout="constrained").gca()
    axes.plot(list(points), list(points.values()), "o", color="#4c72b0")
    axes.set_title(title, fontsize=10)
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def save(axes: Any, name: str, legend: bool = False) -> None:
    """Write the figure into the results."""
    if legend:
        axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    (RESULTS / "scaling").mkdir(exist_ok=True)
    axes.figure.savefig(RESULTS / "scaling" / f"{name}.png", dpi=120)
    plt.close(axes.figure)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--parts", default=",".join(PARTS), help="some of them")
    arguments.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        child(options)
        return
    about = machine()
    out = options.out or RESULTS / "scaling" / f"scaling-{options.model_class}.json"
    found = read_json(out) if out.exists() else {}
    for name in options.parts.split(","):
        found[name] = PARTS[name](options) | {"machine": about, "repeats": options.repeats}
        write_json(out, found)
    console.print(f"written to {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
