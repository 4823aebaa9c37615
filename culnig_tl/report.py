"""The report: one self-contained HTML file, made from saved results with no model loaded."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.files import write_atomically
from culnig_tl.neurons import NeuronSet
from culnig_tl.plots import plot_comparison, plot_countries, plot_distribution
from culnig_tl.scores import Scores

_TEMPLATE = Path(__file__).parent / "data" / "report.html"


def write_report(
    path: Path,
    run: Mapping[str, Any],
    neurons: NeuronSet,
    scores: Scores,
    accuracy: pd.DataFrame,
    probability: pd.DataFrame,
    countries: pd.DataFrame,
) -> None:
    """Write the HTML report of a run.

    Args:
        path: the file to write.
        run: what was run: arguments, versions, model, datasets.
        neurons: the culture-general set.
        scores: the cultural scores that it was selected from.
        accuracy, probability: `compare`'s table for either metric.
        countries: `by_country`'s table.
    """
    figures = {
        "comparison": plot_comparison(accuracy),
        "distribution": plot_distribution(neurons),
    }
    for task in countries.index.get_level_values("task").unique():
        figures[f"countries: {task}"] = plot_countries(countries, task)
    variant = neurons.provenance["arguments"]["variant"]
    mean = scores.mean(variant)[neurons.ids]
    top = neurons.frame().assign(score=mean).nlargest(20, "score")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        neurons=repr(neurons),
        share=f"{100 * len(neurons) / neurons.layout.total:.2f}",
        layout=str(neurons.layout),
        random_sets=run["arguments"]["seeds"],
        accuracy=table_rows(accuracy),
        probability=table_rows(probability),
        top=top.to_dict("records"),
        variant=variant,
        figures={name: _as_png(axes) for name, axes in figures.items()},
    )
    write_atomically(path, lambda name: name.write_text(html, encoding="utf-8"))


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `compare`'s table with their task, for printing."""
    return table.reset_index().to_dict("records")


def _as_png(axes: Axes) -> str:
    """The axes' figure as a data address, closed afterwards."""
    figure = axes.get_figure()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")  # type: ignore[union-attr]
    plt.close(figure)  # type: ignore[arg-type]
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
