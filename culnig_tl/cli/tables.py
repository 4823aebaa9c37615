"""What the commands print: tables, lines, and places of files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from culnig_tl.processes import process_rank
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
    table = Table(names, *(Column(head, overflow="fold") for head in others))
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
    columns = {"accuracy %": "", "items": "", "original": ".1f", "masked": ".1f", "random": ""}
    rows = []
    for of in frame.reset_index().to_dict("records"):
        random = f"{of['random']:.1f} ± {of['random_sd']:.1f}"
        tested = (of["p_mean"], of["p_one"], "*" if of["significant"] else "")
        rows.append((of["task"], of["items"], of["original"], of["masked"], random, *tested))
    print_table(columns | {"p": ".3f", "p one": ".3f", "": ""}, rows)
    print_text(f"masked: {name} neurons; random: as many random ones (mean ± sd)")
    print_text("p, p one: bootstrap against the random sets' mean, against one; *: both < 0.05")
