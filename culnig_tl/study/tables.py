"""Results: the tables of a study, from its evaluations and sets. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping, Sequence

import pandas as pd

from culnig_tl.analysis.comparison import (
    by_country,
    compare,
    compare_countries,
    own_ranks,
    rank_countries,
)
from culnig_tl.analysis.evaluations import metric_values, rows_of, same_instances
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.selection import overlap
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.maskings import GENERAL, Masking


def study_tables(
    maskings: Sequence[Masking], sets: Mapping[str, NeuronSet], frames: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """All tables of a study by name, each as it is saved as CSV.

    - `table`: Table 2's counterpart, `compare` with the uniform random sets (with the matched ones
      if there are no others); `probability`: the same of P(y|x); `matched`: with the matched ones.
    - `countries`: `by_country`; `sets`: how many neurons each set has, by site.
    - `ablations`: accuracy on each test for each ablation of the method (Tables 18 to 20).
    - `sweep`: t, r, neurons, accuracy, reduction (Figure 2).
    - `reductions`, `ranks`, `own`: `compare_countries`, `rank_countries`, `own_ranks` on the
      study's own task (Table 15); `own_nats`: the last of ln P(y|x), which every question moves;
      `overlap` of the general and the specific sets.

    Args:
        maskings: the study's maskings, those without a set left out.
        sets: by name; there is none for `original`.
        frames: of `evaluate`, by name.
    """
    kinds: dict[str, list[Masking]] = {}
    for masking in maskings:
        kinds.setdefault(masking.kind, []).append(masking)
    original, general = frames["original"], frames[GENERAL]
    uniform, matched = (
        [frames[m.name] for m in kinds.get(kind, [])] for kind in ("random", "matched")
    )
    random = uniform or matched
    tables = {
        "table": compare(original, general, random),
        "probability": compare(original, general, random, metric="probability"),
        "countries": by_country(original, general, random),
        "sets": _set_sizes(maskings, sets),
    }
    if uniform and matched:
        tables["matched"] = compare(original, general, matched)
    if "ablation" in kinds:
        names = ["original", GENERAL, *(m.name for m in kinds["ablation"])]
        tables["ablations"] = _accuracies(names, sets, frames)
    if "sweep" in kinds:
        tables["sweep"] = _sweep(kinds["sweep"], sets, frames)
    if "specific" in kinds:
        own = original["task"] == original["task"].iloc[0]
        before = original[own].reset_index(drop=True)
        masked = {
            m.name: rows_of(frames[m.name], before, f"the evaluation of {m.name!r}")
            for m in kinds["specific"]
        }
        tables["reductions"] = compare_countries(before, masked)
        tables["ranks"] = rank_countries(tables["reductions"])
        tables["own"] = own_ranks(before, masked)
        tables["own_nats"] = own_ranks(before, masked, metric="nats")
        tables["overlap"] = overlap([sets[name] for name in (GENERAL, *masked)])
    return tables


def _set_sizes(maskings: Sequence[Masking], sets: Mapping[str, NeuronSet]) -> pd.DataFrame:
    rows = [
        {"set": m.name, "kind": m.kind, "neurons": len(sets[m.name])}
        | sets[m.name].counts()[list(SITES)].sum().to_dict()
        for m in maskings
        if m.name in sets
    ]
    return pd.DataFrame(rows).set_index("set")


def _accuracies(
    names: Sequence[str], sets: Mapping[str, NeuronSet], frames: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    rows = [
        {"set": name, "neurons": len(sets[name]) if name in sets else 0}
        | frame.assign(correct=metric_values(frame, "correct"))
        .groupby("task", sort=False)["correct"]
        .mean()
        .to_dict()
        for name, frame in zip(names, same_instances({n: frames[n] for n in names}), strict=True)
    ]
    return pd.DataFrame(rows).set_index("set")


def _sweep(
    maskings: Sequence[Masking],
    sets: Mapping[str, NeuronSet],
    frames: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    rows = []
    for masking in maskings:
        frame = frames[masking.name]
        before = rows_of(frames["original"], frame, "the original evaluation")
        before, after = metric_values(before, "correct"), metric_values(frame, "correct")
        rows.append(
            {
                **masking.about,
                "neurons": len(sets[masking.name]),
                "items": len(frame),
                "accuracy": after.mean(),
                "reduction": before.mean() - after.mean(),
            }
        )
    return pd.DataFrame(rows).set_index(["t", "r"])
