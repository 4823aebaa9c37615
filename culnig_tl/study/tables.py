"""Results: the tables of a study, from its evaluations and sets. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from culnig_tl.analysis.comparison import by_group, compare
from culnig_tl.analysis.evaluations import chance_of, metric_values, rows_of, same_instances
from culnig_tl.analysis.groups import (
    compare_groups,
    group_intervals,
    own_ranks,
    rank_groups,
)
from culnig_tl.frames import MAYBE_NUMBER, NAME, Frame
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.selection import overlap
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import (
    RESAMPLES,
    TIE,
    interval,
    mean_interval,
    p_value,
    question_numbers,
    resampled_means,
    verdicts,
)
from culnig_tl.study.maskings import GENERAL, Masking

CHANCE = "chance"


# The stability of each set (`stability`), which a run notes while it has its scores at hand.
STABILITY = Frame(
    {
        "set": NAME,
        "jaccard_halves": MAYBE_NUMBER,
        "jaccard_resamples": MAYBE_NUMBER,
        "jaccard_chance": MAYBE_NUMBER,
    },
    key=("set",),
    index=("set",),
)


def study_tables(
    maskings: Sequence[Masking],
    sets: Mapping[str, NeuronSet],
    frames: Mapping[str, pd.DataFrame],
    *,
    stable: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """All tables of a study by name, each as it is saved as CSV.

    - `table`: Table 2's counterpart, `compare` with the uniform random sets (with the matched ones
      if there are no others); `probability`: the same of P(y|x); `matched`: with the matched ones.
    - `groups`: `by_group`; `sets`: how many neurons each set has, by site, and how stable it
      is.
    - `ablations`: accuracy on each test for each ablation of the method (Tables 18 to 20), in the
      first row chance; `parts`: what each ablation changes beside the whole method, by test.
    - `sweep`: t, r, neurons, accuracy, reduction with its 95% interval (Figure 2).
    - `reductions`, `ranks`, `own`: `compare_groups`, `rank_groups`, `own_ranks` on the
      study's own task (Table 15); `reductions_low`, `reductions_high`: `group_intervals`;
      `own_nats`: as `own`, of ln P(y|x), which every question moves; `overlap` of the general and
      the specific sets.

    Args:
        maskings: the study's maskings, those without a set left out.
        sets: by name; there is none for `original`.
        frames: of `evaluate`, by name.
        stable: `stability` by set, where it is known.
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
        "groups": by_group(original, general, random),
        "sets": _set_sizes(maskings, sets, stable),
    }
    if uniform and matched:
        tables["matched"] = compare(original, general, matched)
    if "ablation" in kinds:
        names = ["original", GENERAL, *(m.name for m in kinds["ablation"])]
        tables["ablations"] = _accuracies(names, sets, frames)
        tables["parts"] = _parts(frames[GENERAL], {name: frames[name] for name in names[2:]})
    if "sweep" in kinds:
        tables["sweep"] = _sweep(kinds["sweep"], sets, frames)
    if "specific" in kinds:
        own = original["task"] == original["task"].iloc[0]
        before = original[own].reset_index(drop=True)
        masked = {
            m.name: rows_of(frames[m.name], before, f"the evaluation of {m.name!r}")
            for m in kinds["specific"]
        }
        tables["reductions"] = compare_groups(before, masked)
        low, high = group_intervals(before, masked)
        tables |= {"reductions_low": low, "reductions_high": high}
        tables["ranks"] = rank_groups(tables["reductions"])
        tables["own"] = own_ranks(before, masked)
        tables["own_nats"] = own_ranks(before, masked, metric="nats")
        tables["overlap"] = overlap([sets[name] for name in (GENERAL, *masked)])
    return tables


def _set_sizes(
    maskings: Sequence[Masking], sets: Mapping[str, NeuronSet], stable: pd.DataFrame | None
) -> pd.DataFrame:
    rows = [
        {"set": m.name, "kind": m.kind, "neurons": len(sets[m.name])}
        | sets[m.name].counts()[list(SITES)].sum().to_dict()
        for m in maskings
        if m.name in sets
    ]
    table = pd.DataFrame(rows).set_index("set")
    return table if stable is None else table.join(stable)


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
    chance = {
        task: chance_of(part) for task, part in frames["original"].groupby("task", sort=False)
    }
    return pd.DataFrame([{"set": CHANCE, "neurons": 0} | chance, *rows]).set_index("set")


def _parts(whole: pd.DataFrame, ablations: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What each ablation of the method changes beside the whole method: accuracy with the
    ablation's set masked minus that with the whole method's, a row an ablation and test.

    The p-values are two-sided, and Holm's correction is over all of them.
    """
    rng = np.random.default_rng(0)
    rows = []
    for name, frame in ablations.items():
        one, other = same_instances({GENERAL: whole, name: frame})
        change = metric_values(other, "correct") - metric_values(one, "correct")
        questions = question_numbers(one)
        for task, part in one.groupby("task", sort=False):
            here = part.index.to_numpy()
            drawn = resampled_means(change[here], questions[here], resamples=RESAMPLES, rng=rng)
            low, high = interval(drawn)
            rows.append(
                {
                    "set": name,
                    "task": task,
                    "questions": len(np.unique(questions[here])),
                    "difference": change[here].mean(),
                    "difference_low": low,
                    "difference_high": high,
                    "p": min(1.0, 2 * min(p_value(drawn >= -TIE), p_value(drawn <= TIE))),
                }
            )
    table = pd.DataFrame(rows).set_index(["set", "task"])
    p_holm, significant = verdicts(table["p"].to_numpy(), table["questions"].to_numpy())
    return table.assign(p_holm=p_holm, significant=significant)


def _sweep(
    maskings: Sequence[Masking],
    sets: Mapping[str, NeuronSet],
    frames: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for masking in maskings:
        frame = frames[masking.name]
        same = rows_of(frames["original"], frame, "the original evaluation")
        before, after = metric_values(same, "correct"), metric_values(frame, "correct")
        questions = question_numbers(same)
        low, high = mean_interval(before - after, questions, rng=rng)
        rows.append(
            {
                **masking.about,
                "neurons": len(sets[masking.name]),
                "items": len(frame),
                "questions": len(np.unique(questions)),
                "chance": chance_of(same),
                "accuracy": after.mean(),
                "reduction": before.mean() - after.mean(),
                "reduction_low": low,
                "reduction_high": high,
            }
        )
    return pd.DataFrame(rows).set_index(["t", "r"])
