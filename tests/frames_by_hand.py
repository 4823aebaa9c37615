"""Evaluations whose tables can be worked out by hand."""

import numpy as np
import pandas as pd


def frame(correct, task: str = "everyday", **columns) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": task,
            "id": [f"{task}-{i}" for i in range(len(correct))],
            "group": ["Spain", "Iran"] * (len(correct) // 2) + ["Spain"] * (len(correct) % 2),
            "correct": np.array(correct, dtype=bool),
            **columns,
        }
    )


def both(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([first, second], ignore_index=True)
