"""The tables of this package's own study, which come with it."""

from pathlib import Path


def stored_study() -> Path:
    """The folder of the tables and sets of our study of gemma-3-270m (`docs/results.md`).

    - `study/`: `culnig run` on BLEnD, CountryRC and three tests without culture.
    - `methods/`: `culnig compare-methods` of that run, LAPE's and CAPE's sets among it.
    - `finetune/`: `culnig finetune` of that run, on QNLI and MRPC.

    Example:
        >>> import pandas as pd
        >>> table = pd.read_csv(stored_study() / "study/table.csv", index_col="task")
        >>> list(table.index)
        ['blend', 'countryrc', 'commonsenseqa', 'qnli', 'mrpc']
    """
    return Path(__file__).parent / "data" / "stored"
