"""The paper's own figures (arXiv 2510.08284, Table 2), to stand beside a run of the same model."""

from pathlib import Path

import pandas as pd

_FILE = Path(__file__).parent / "data" / "published.csv"


def published_table(model: str) -> pd.DataFrame | None:
    """Accuracy in percent as published for one of the six models, by its name on the Hub.

    Returns:
        One row a task, as `compare` names it: original, masked (culture-general), random,
        random_sd; None for any other model.
    """
    table = pd.read_csv(_FILE)
    rows = table[table["model"] == model.rsplit("/", 1)[-1]]
    return None if rows.empty else rows.drop(columns="model").set_index("task")
