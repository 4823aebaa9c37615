"""Areas under faithfulness curves. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import numpy as np
import pandas as pd

from culnig_tl.frames import check_columns, numbers


def faithfulness_areas(curve: pd.DataFrame) -> pd.DataFrame:
    """The two areas of the MIB benchmark (arXiv 2504.13151) of each set of a curve, where kept.

    - CPR = integral of f(C_k) dk over the share k of neurons kept: how well the best neurons
      alone give the answer; more is better, and above 1 they give it better than the model.
    - CMD = integral of |1 - f(C_k)| dk: how far they are from doing as the model does; 0 is best.

    By the trapezoid rule over the shares that the curve has, 0 and 1 among them.

    Args:
        curve: of `faithfulness_curve`.

    Returns:
        By set: CPR and CMD.

    Raises:
        CulnigError: a column that is not there, or a number that is none.

    Example:
        By hand: f goes from 0 to 1 on a straight line, so both areas are a half.

        >>> line = {"set": "ranked", "kind": "kept", "share": [0.0, 1.0], "faithful": [0.0, 1.0]}
        >>> faithfulness_areas(pd.DataFrame(line)).loc["ranked"].tolist()
        [0.5, 0.5]
    """
    check_columns(curve, ("set", "kind", "share", "faithful"), "this curve")
    for column in ("share", "faithful"):
        numbers(curve, column, "this curve", key=["set"])
    rows = {}
    for name, part in curve[curve["kind"] == "kept"].groupby("set", sort=False):
        part = part.sort_values("share")
        share, faithful = part["share"].to_numpy(), part["faithful"].to_numpy()
        rows[name] = {
            "CPR": float(np.trapezoid(faithful, share)),
            "CMD": float(np.trapezoid(np.abs(1 - faithful), share)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")
