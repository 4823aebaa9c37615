"""What the benchmarks share: options, timing, peak memory, the table, the JSON file."""

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from culnig_tl.files import write_json
from culnig_tl.models.batches import MOST_TOKENS
from culnig_tl.models.wrapping import HookedTransformer
from culnig_tl.provenance import package_versions

MODEL = "gemma-3-270m"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Target:
    """A ratio that a benchmark is expected to reach."""

    name: str
    ratio: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "name": self.name,
            "ratio": self.ratio,
            "target": f"{'>=' if self.at_least else '<='} {self.limit}",
            "met": self.met,
        }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that the benchmarks of a method have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--instances", type=int, default=64)
    options.add_argument(
        "--model-class",
        choices=("HookedTransformer", "TransformerBridge"),
        default="TransformerBridge" if HookedTransformer is None else "HookedTransformer",
        help="default: HookedTransformer where the installed transformer-lens has it",
    )
    options.add_argument(
        "--blend",
        type=Path,
        help="BLEnD's folder: its first instances in file order, many of which are one question",
    )
    options.add_argument("--device", default="cpu")
    options.add_argument("--token-budget", type=int, default=MOST_TOKENS["cpu"])
    options.add_argument("--repeats", type=int, default=3, help="the median of so many is taken")
    options.add_argument("--out", type=Path, help="the JSON file")
    options.add_argument("--skip-memory", action="store_true", help="do not measure peak memory")
    options.add_argument("--only", help=argparse.SUPPRESS)  # measure this method's peak memory
    return options


def machine() -> dict[str, Any]:
    """Processor, accelerator, versions and date."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    cuda = torch.cuda.is_available()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "load_average_at_start": os.getloadavg()[0],
        "versions": package_versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def interleaved(
    methods: dict[str, Callable[[], Any]], repeats: dict[str, int], device: str
) -> dict[str, list[float]]:
    """Seconds of each run: a, b, c, a, b, c, ..., each method as often as `repeats` says."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(max(repeats.values())):
        for name, method in methods.items():
            if turn >= repeats[name]:
                continue
            gc.collect()
            _synchronize(device)
            start = time.perf_counter()
            method()
            _synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report_peak(work: Callable[[], Any], model: torch.nn.Module, device: str) -> None:
    """Run `work` and print, as one line of JSON, the memory before it and its peak, in MiB.

    On the CPU that is this process's resident memory. Its high-water mark is reset first:
    loading a model peaks above what stays loaded, and `getrusage` would report that peak. All
    weights are read before, since those mapped from a file are resident only once they are used.
    """
    gc.collect()
    for weight in model.parameters():
        weight.detach().sum()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        loaded = torch.cuda.memory_allocated() / 2**20
        work()
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        Path("/proc/self/clear_refs").write_text("5")
        loaded = _resident("VmRSS")
        work()
        peak = _resident("VmHWM")
    print(json.dumps({"loaded_mib": loaded, "peak_mib": peak, "extra_mib": peak - loaded}))


def peak_memories(
    script: str, methods: Iterable[str], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """`report_peak` of each method, in a process of its own; nothing with `--skip-memory`."""
    if options.skip_memory:
        return {}
    return {method: _peak_memory(script, method, options) for method in methods}


def _peak_memory(script: str, method: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, script, "--only", method]
    for name in ("instances", "model_class", "device", "token_budget"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    if options.blend:
        command += ["--blend", str(options.blend)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def finish(
    title: str,
    options: argparse.Namespace,
    seconds: dict[str, list[float]],
    memory: dict[str, dict[str, float]],
    targets: list[Target],
    agreement: dict[str, float],
    prefix: str,
    about: dict[str, Any],
) -> None:
    """Print the table, the targets beside what was reached, and write the JSON file.

    The method named `ours` is the one that ratios refer to.
    """
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    table = Table(title=title)
    for column in ("method", "seconds", "s / instance", "ratio to ours", "peak extra MiB"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, median in medians.items():
        table.add_row(
            name,
            f"{median:.2f}",
            f"{median / options.instances:.4f}",
            f"{median / medians['ours']:.2f}",
            f"{memory[name]['extra_mib']:,.0f}" if name in memory else "-",
        )
    console = Console()
    console.print(table)
    goals = Table("target", "reached", "wanted", "met")
    for target in targets:
        wanted = target.as_dict()["target"]
        goals.add_row(target.name, f"{target.ratio:.2f}", wanted, "yes" if target.met else "no")
    console.print(goals)
    for name, times in seconds.items():
        if max(times) > 1.3 * min(times):
            runs = ", ".join(f"{time:.2f}" for time in times)
            console.print(f"uneven runs of {name!r} ({runs} s): was the machine quiet?")
    lens = about["versions"]["transformer-lens"]
    data = "-blend" if options.blend else ""
    out = options.out or RESULTS / f"{prefix}{data}-{options.model_class}-tl{lens}.json"
    settings = {
        name: value if isinstance(value, int | str) else str(value)
        for name, value in vars(options).items()
        if name not in ("only", "out", "blend")
    }
    methods = {
        name: {
            "seconds": medians[name],
            "seconds_per_instance": medians[name] / options.instances,
            "ratio_to_ours": medians[name] / medians["ours"],
            "runs": seconds[name],
            "memory": memory.get(name),
        }
        for name in medians
    }
    content = {
        "benchmark": prefix,
        "model": MODEL,
        "machine": about,
        "settings": settings | {"data": "blend" if options.blend else "everyday"},
        "agreement": agreement,
        "methods": methods,
        "targets": [target.as_dict() for target in targets],
    }
    write_json(out, content)
    console.print(f"written to {out}", soft_wrap=True)


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
