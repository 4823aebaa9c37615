"""The paper's own figures (arXiv 2510.08284), to stand beside a run."""

from pathlib import Path

import pandas as pd

_ROWS = {"table": "task", "scores": "variant", "ranks": "neurons"}
_FILE = Path(__file__).parent / "data" / "published.csv"


def published(table: str, model: str) -> pd.DataFrame | None:
    """A table as published, in the form of the run's table of that name (`study_tables`).

    - `table` (Table 2): task by original, masked (culture-general), random, random_sd; percent.
    - `ablations` (Tables 18 to 20): set by neurons and task, percent; most are of one model.
    - `specific` (Table 14): country by neurons.
    - `ranks` (Table 15): neurons' country by question's; means over the six models, so they stand
      beside any model.
    - `scores` (Table 20): variant by `z>=2.5`, neurons.

    Args:
        model: a name on the Hub, its owner included or not.

    Returns:
        None if the paper has no such table of the model.
    """
    rows = pd.read_csv(_FILE, keep_default_na=False)
    own = rows["model"].isin((model.rsplit("/", 1)[-1], ""))
    rows = rows[(rows["table"] == table) & own]
    if rows.empty:
        return None
    wide = rows.pivot(index="row", columns="column", values="value")
    order = [list(dict.fromkeys(rows[name])) for name in ("row", "column")]
    return wide.loc[order[0], order[1]].rename_axis(index=_ROWS.get(table, "set"), columns=None)
