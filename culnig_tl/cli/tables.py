"""What the commands print: tables, lines, and places of files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from culnig_tl.analysis.evaluations import chance_of, metric_values
from culnig_tl.analysis.texts import interval_text, number_text, spread_text
from culnig_tl.processes import process_rank
from culnig_tl.resampling import (
    FEWEST_QUESTIONS,
    SIGNIFICANT,
    mean_interval,
    p_text,
    question_numbers,
)
from culnig_tl.study.maskings import GENERAL

console = Console(quiet=process_rank() > 0)


def print_table(columns: Mapping[str, str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under their heads.

    Args:
        columns: each head with the format of its cells, as `format` takes it. The first column
            holds names, which are never wrapped; no cell is cut.
    """
    first, *others = columns
    names = Column(first, no_wrap=True, min_width=max(12, len(first)))
    table = Table(
        names,
        *(Column(head, overflow="fold") for head in others),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        cells = zip(row, columns.values(), strict=True)
        # Nothing in a cell is rich's markup.
        table.add_row(*(Text(format(value, spec)) for value, spec in cells))
    console.print(table)


def print_text(text: str) -> None:
    """A line as it is: nothing in it is rich's markup."""
    console.print(Text(text), soft_wrap=True)


def print_place(what: str, path: Path) -> None:
    """Where something is, as an absolute path."""
    print_text(f"{what}: {os.path.realpath(path)}")


def print_comparison(frame: pd.DataFrame, *, name: str = GENERAL) -> None:
    """`compare`'s table; `name` is that of the masked neurons."""
    columns: dict[str, str] = dict.fromkeys(
        ("accuracy %", "asked", "chance", "original", "masked", "random", "difference", "p"), ""
    )
    rows = []
    for of in frame.reset_index().to_dict("records"):
        rows.append(
            (
                of["task"],
                f"{of['questions']:,}",
                number_text(of["chance"]),
                number_text(of["original"]),
                number_text(of["masked"]),
                spread_text(of["random"], of["random_sd"]).replace(" ±", "\n±"),
                interval_text(of, "difference").replace(" [", "\n["),
                p_text(of["p_holm"]) + (" *" if of["significant"] else ""),
            )
        )
    print_table(columns, rows)
    print_text(f"masked: {name} neurons; random: as many random ones (mean ± sd over the sets)")
    print_text("asked: different questions" + _items(frame))
    print_text(
        "difference: masked minus random, with its 95% interval by a bootstrap over questions; p: "
        f"corrected for the {len(frame)} tests (Holm); *: p < {SIGNIFICANT}, on "
        f"{FEWEST_QUESTIONS} questions or more"
    )


def print_evaluation(frame: pd.DataFrame) -> None:
    """A frame of `evaluate`: accuracy with its interval, beside chance."""
    rng = np.random.default_rng(0)
    rows = []
    for task, part in frame.groupby("task", sort=False):
        questions, values = question_numbers(part), metric_values(part, "correct")
        low, high = map(number_text, mean_interval(values, questions, rng=rng))
        means = part[["correct_vocabulary", "probability"]].mean()
        rows.append(
            (
                task,
                len(set(questions)),
                len(part),
                number_text(chance_of(part)),
                f"{number_text(values.mean())} [{low}, {high}]",
                *(100 * means),
            )
        )
    columns = {"task": "", "asked": "", "items": "", "chance": "", "accuracy %": ""}
    print_table(columns | {"vocabulary %": ".2f", "mean P(answer) %": ".2f"}, rows)
    print_text("asked: different questions; brackets: 95% interval by a bootstrap over them")


def _items(frame: pd.DataFrame) -> str:
    """In how many items they are asked, where that is another number."""
    more = frame[frame["items"] != frame["questions"]]
    if more.empty:
        return ""
    return ", in " + ", ".join(f"{row['items']:,} items of {task}" for task, row in more.iterrows())
