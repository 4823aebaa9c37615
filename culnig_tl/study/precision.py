"""The step precision: how far a run's neurons move when its model is loaded in another dtype."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.frames import COUNT, MAYBE_NUMBER, NAME, SHARE, Frame, read_frame, write_frame
from culnig_tl.models.choices import DTYPES
from culnig_tl.neurons.layout import ATTENTION_SITES, SITES
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import rank_values
from culnig_tl.processes import agreed, barrier
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import SCORED
from culnig_tl.study.folder import scores_file
from culnig_tl.study.once import scores_once, select_sets
from culnig_tl.study.run import Run, load_study_model
from culnig_tl.study.section import Section

PRECISION = Frame(
    {
        "dtype": NAME,
        "set": NAME,
        "neurons": COUNT,
        "shared": COUNT,
        "overlap": SHARE,
        "spearman_mlp": MAYBE_NUMBER,
        "spearman_attention": MAYBE_NUMBER,
    },
    key=("dtype", "set"),
)


def precision_run(
    run: Run | str | Path,
    *,
    dtypes: Sequence[str] = ("bfloat16", "float16"),
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Score a finished run's instances again with the model in other dtypes, and select again.

    Products and sums are float32 or better in all of them (`attribute`). The scores go into
    `precision/DTYPE`, the table into `precision/table.csv`; what is there is not done
    again.

    Args:
        run: a finished run, or its folder.
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
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, own = run.study, {name: run.scores(name) for name in SCORED}
    if not dtypes:
        raise CulnigError("no dtype: give some, as --dtypes bfloat16,float16")
    for dtype in dtypes:
        check_choice("dtype", dtype, DTYPES)
    if study.dtype in dtypes:
        raise CulnigError(
            f"{run.folder} is a run in {study.dtype} already: give other dtypes (--dtypes)"
        )
    data, rows = run.data, []
    maskings = [m for m in run.maskings if m.kind in ("general", "specific")]
    reference, ranks = select_sets(maskings, own), _ranks(own, study)
    for dtype in dict.fromkeys(dtypes):
        scores = _scores(run, dtype, data.scored)
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
    write_frame(table, run.folder / "precision" / "table.csv", index=True)
    barrier()  # it is there
    run.write_report()
    return table


def _scores(run: Run, dtype: str, data: Mapping[str, Sequence[Any]]) -> dict[str, Scores]:
    """The run's scores in another dtype."""
    folder = run.step("precision", part=dtype).folder
    if agreed(all(scores_file(folder, name).exists() for name in SCORED)):
        model = {**run.about["model"], "dtype": dtype}
        return {name: run.scores_in(folder, name, model) for name in SCORED}
    model = load_study_model(replace(run.pinned, dtype=dtype))
    return scores_once(folder, model, data, study=run.study)


def _correlation(own: np.ndarray, moved: np.ndarray) -> float:
    if np.ptp(own) == 0 or np.ptp(moved) == 0:
        return float("nan")
    from scipy import stats  # as slow to import as pandas

    return float(stats.spearmanr(own, moved).statistic)


def _ranks(scores: Mapping[str, Scores], study: Study) -> dict[str, np.ndarray]:
    """By pool, what the study's culture-general neurons are ranked by."""
    layout = scores["neuron"].layout
    control = scores["control"] if study.control else None
    values = rank_values(scores["neuron"], control, study.variant, target=study.target)
    pools = {"mlp": SITES[:1], "attention": ATTENTION_SITES}
    return {pool: values[layout.ids_of(sites)] for pool, sites in pools.items()}


def _read(folder: Path) -> pd.DataFrame | None:
    file = folder / "precision" / "table.csv"
    return read_frame(file, PRECISION) if file.exists() else None


def _show(table: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Axes]]:
    return {"table": table.to_dict("records")}, {}


SECTION = Section("precision", _read, _show)
