"""Precision: how far the neurons of a run move when its model is loaded in another dtype."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written
from culnig_tl.frames import write_frame
from culnig_tl.models.choices import DTYPES
from culnig_tl.neurons.layout import ATTENTION_SITES, SITES
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import rank_values
from culnig_tl.processes import agreed, barrier
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import SCORED, study_data
from culnig_tl.study.folder import check_data, finished_study, scores_file
from culnig_tl.study.maskings import study_maskings
from culnig_tl.study.running import load_study_model, run_scores, score_once, select_sets


def precision_run(
    out: str | Path,
    *,
    dtypes: Sequence[str] = ("bfloat16", "float16"),
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Score a finished run's instances again with the model in other dtypes, and select again.

    Products and sums are float32 or better in all of them (`attribute`). The scores go into
    `out/precision/DTYPE`, the table into `out/precision/table.csv`; what is there is not done
    again.

    Args:
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        By dtype and set (the culture-general one, and the specific ones of the run): neurons (of
        the set in that dtype), shared (with the run's own), overlap (shared as a share of the run's
        own); spearman_mlp and spearman_attention: the rank correlation, over all neurons of the
        pool, of what the culture-general neurons are ranked by (NaN where all have one score).

    Raises:
        CulnigError: not a finished run, an unknown dtype or the run's own, scores that are not
            finite in that dtype, or no neurons.
    """
    out = Path(out)
    run, study = finished_study(out, trust_remote_code=trust_remote_code)
    own = run_scores(out, run=run)
    if not dtypes:
        raise CulnigError("no dtype: give some, as --dtypes bfloat16,float16")
    for dtype in dtypes:
        check_choice("dtype", dtype, DTYPES)
    same = [dtype for dtype in dtypes if dtype == study.dtype]
    if same:
        raise CulnigError(f"{out} is a run in {same[0]} already: give other dtypes (--dtypes)")
    for dtype in dtypes:
        check_choice("dtype", dtype, DTYPES)
    data, rows = study_data(study), []
    check_data(out, run, data)
    maskings = [m for m in study_maskings(study) if m.kind in ("general", "specific")]
    reference, ranks = select_sets(maskings, own), _ranks(own, study)
    for dtype in dict.fromkeys(dtypes):
        there = replace(study, dtype=dtype)
        folder = out / "precision" / dtype
        if agreed(all(scores_file(folder, name).exists() for name in SCORED)):
            about = {**run["model"], "dtype": dtype}
            scores = run_scores(folder, run={**run, "model": about})
        else:
            clear_half_written(folder, deep=True)
            model = load_study_model(there)
            scores = {
                name: score_once(model, there, data[name], name=name, out=folder) for name in SCORED
            }
        found, moved = select_sets(maskings, scores), _ranks(scores, study)
        agreement = {f"spearman_{pool}": _correlation(ranks[pool], moved[pool]) for pool in ranks}
        for name, neurons in reference.items():
            ids = found[name].ids if name in found else np.empty(0, dtype=int)
            shared = len(np.intersect1d(ids, neurons.ids))
            rows.append(
                {
                    "dtype": dtype,
                    "set": name,
                    "neurons": len(ids),
                    "shared": shared,
                    "overlap": shared / len(neurons),
                    **agreement,
                }
            )
    table = pd.DataFrame(rows).set_index(["dtype", "set"])
    write_frame(table, out / "precision" / "table.csv", index=True)
    barrier()  # it is there
    return table


def _correlation(own: np.ndarray, moved: np.ndarray) -> float:
    if np.ptp(own) == 0 or np.ptp(moved) == 0:
        return float("nan")
    return float(stats.spearmanr(own, moved).statistic)


def _ranks(scores: Mapping[str, Scores], study: Study) -> dict[str, np.ndarray]:
    """By pool, what the study's culture-general neurons are ranked by."""
    layout = scores["neuron"].layout
    control = scores["control"] if study.control else None
    values = rank_values(scores["neuron"], control, study.variant, target=study.target)
    pools = {"mlp": SITES[:1], "attention": ATTENTION_SITES}
    return {pool: values[layout.ids_of(sites)] for pool, sites in pools.items()}
