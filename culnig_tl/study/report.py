"""The report: one self-contained HTML file, made from saved results with no model loaded."""

import base64
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.agreement import Estimate, agreement, patching_matrix
from culnig_tl.analysis.plots import (
    finetuning_figure,
    plot_agreement,
    plot_agreement_by_layer,
    plot_comparison,
    plot_countries,
    plot_distribution,
    plot_dose_response,
    plot_interaction,
    plot_layers,
    plot_matrix,
    plot_score_histogram,
    plot_sweep,
)
from culnig_tl.checks import check_file_name
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically
from culnig_tl.frames import Frame, read_frame
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.schemas import damaged
from culnig_tl.study.published import published
from culnig_tl.study.run_files import CHECKS, FINETUNINGS, METHODS

_TEMPLATE = Path(__file__).parent / "data" / "report.html"


def write_report(
    path: Path,
    run: Mapping[str, Any],
    neurons: NeuronSet,
    *,
    scores: Scores,
    tables: Mapping[str, pd.DataFrame],
    specific: Sequence[NeuronSet] = (),
    checks: Mapping[str, Any] | None = None,
    methods: Mapping[str, Any] | None = None,
    finetunings: Mapping[str, Any] | None = None,
) -> None:
    """Write the HTML report of a run, and its figures as PNG files into `figures` beside it.

    Args:
        path: the file to write.
        run: what was run: arguments, versions, model, datasets.
        neurons: the culture-general set.
        scores: the cultural scores that it was selected from.
        tables: of `study_tables`; a section for each kind that is there.
        specific: the culture-specific sets.
        checks: what `verify_run` found (`read_checks`): another section.
        methods: what `compare_methods` found (`read_methods`): another section.
        finetunings: what `finetune_run` found by task (`read_finetunings`): another section.
    """
    folder = path.parent / "figures"
    variant, target = run["arguments"]["variant"], run["arguments"].get("target")
    found = {
        name: published(name, run["model"]["name"])
        for name in ("table", "ablations", "specific", "ranks", "scores")
    }
    figures = {
        "comparison": plot_comparison(tables["table"], published=found["table"]),
        "distribution": plot_distribution(neurons),
        "scores": plot_score_histogram(scores, target=target),
    }
    countries = tables["countries"]
    for task in countries.index.get_level_values("task").unique():
        figures[f"countries: {task}"] = plot_countries(countries, task)
    if specific:
        figures["layers"] = plot_layers([neurons, *specific])
        figures["reductions"] = plot_matrix(
            tables["reductions"],
            "points",
            "Accuracy lost when a country's neurons are masked",
            axes=None,
            digits=1,
        )
        figures["ranks"] = plot_matrix(
            tables["ranks"],
            "rank",
            "Ranks of these losses (1: hit hardest)",
            axes=None,
            digits=1,
            colours="Reds_r",
        )
        figures["overlap"] = plot_matrix(
            tables["overlap"], "neurons", "Neurons that two sets share", axes=None, digits=0
        )
        if found["ranks"] is not None:
            figures["published ranks"] = plot_matrix(
                found["ranks"],
                "rank",
                "As published: mean ranks, six models",
                axes=None,
                digits=1,
                colours="Reds_r",
            )
    percent = {}
    if "sweep" in tables:
        figures["sweep"] = plot_sweep(tables["sweep"])
        percent["sweep"] = tables["sweep"].rename(index=lambda share: f"{100 * share:g}%")
    sizes = tables["sets"]
    sizes = sizes[~sizes["kind"].isin(("random", "matched", "sweep"))]
    shown = {**tables, **percent, "sets": sizes}
    if specific:
        shown["own"] = _with_published(tables["own"], found)
    mean = scores.mean(variant=variant, target=target)[neurons.ids]
    top = neurons.frame().assign(score=mean).nlargest(20, "score")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        neurons=repr(neurons),
        share=f"{100 * len(neurons) / neurons.layout.total:.2f}",
        layout=str(neurons.layout),
        tables={name: table_rows(table) for name, table in shown.items()},
        published={k: [] if v is None else table_rows(v) for k, v in found.items()},
        top=top.to_dict("records"),
        variant=variant,
        target=target or scores.targets[0],
        figures=_saved(figures, folder),
        checks=None if checks is None else _check_section(checks, folder),
        methods=None if methods is None else _method_section(methods, folder),
        finetunings=_finetuning_section(finetunings or {}, folder),
    )
    write_atomically(path, lambda name: name.write_text(html, encoding="utf-8"))


def _with_published(own: pd.DataFrame, found: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame:
    """`own_ranks`' table with the rank and the number of neurons as published, where there are."""
    ranks, counts = found["ranks"], found["specific"]
    table = own.copy()
    if ranks is not None:
        table["published_rank"] = [
            ranks.loc[c, c] if c in ranks.index else float("nan") for c in own.index
        ]
    if counts is not None:
        table["published_neurons"] = [
            int(counts.loc[c, "neurons"]) if c in counts.index else "-" for c in own.index
        ]
    return table


def read_checks(folder: Path) -> dict[str, Any] | None:
    """What `verify_run` left in `folder`, or None if it has not run to its end.

    Frames `effects`, `interactions`, `doses`, `patching`, and `tokens`, HTML.

    Raises:
        CulnigError: a file cannot be read.
    """
    found, page = _read_frames(folder, CHECKS), folder / "tokens.html"
    if found is None:
        return None
    try:
        found["tokens"] = page.read_text(encoding="utf-8")
    except OSError as error:
        raise CulnigError(f"cannot read {page}: {error.strerror}; give verify again") from error
    except ValueError as error:
        raise damaged(page, f"no text in UTF-8 ({error})") from error
    return found


def read_methods(folder: Path) -> dict[str, Any] | None:
    """What `compare_methods` left in `folder`, or None if it has not run to its end.

    Frames `table`, `sizes`, `overlap`, `perplexity-languages`, `perplexity-cultures`, and `sets`,
    one for each method.

    Raises:
        CulnigError: a file cannot be read.
    """
    found = _read_frames(folder, METHODS)
    if found is not None:
        names = found["overlap"].index
        for name in names:
            check_file_name(f"{folder / 'overlap.csv'}: the set", name)
        found["sets"] = [NeuronSet.load(folder / "sets" / f"{name}.json") for name in names]
    return found


def read_finetunings(folder: Path) -> dict[str, dict[str, pd.DataFrame]]:
    """What `finetune_run` left in `folder`, by task: frames `table` and `curves`.

    Raises:
        CulnigError: a file cannot be read.
    """
    tasks = sorted(file.parent for file in folder.glob("*/table.csv"))
    found = {task.name: _read_frames(task, FINETUNINGS) for task in tasks}
    return {name: frames for name, frames in found.items() if frames is not None}


def _read_frames(folder: Path, frames: Mapping[str, Frame]) -> dict[str, Any] | None:
    """The frames of these names in the folder, or None if one is missing."""
    files = {name: folder / f"{name}.csv" for name in frames}
    if not all(file.exists() for file in files.values()):
        return None
    return {name: read_frame(files[name], frame) for name, frame in frames.items()}


def _method_section(methods: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The figures and tables of the section on the rival methods."""
    figures = {
        "methods: layers": plot_layers(methods["sets"]),
        "methods: overlap": plot_matrix(
            methods["overlap"], "neurons", "Neurons shared", axes=None, digits=0
        ),
    }
    for kind in ("languages", "cultures"):
        matrix = methods[f"perplexity-{kind}"].rename_axis(index="neurons", columns="texts")
        title = f"Rise of ln perplexity, {kind}"
        figures[f"methods: {kind}"] = plot_matrix(matrix, "nats a token", title)
    return {
        "table": table_rows(methods["table"]),
        "sizes": table_rows(methods["sizes"]),
        "figures": _saved(figures, folder),
    }


def _finetuning_section(
    finetunings: Mapping[str, Mapping[str, pd.DataFrame]], folder: Path
) -> dict[str, Any]:
    """The figure and the table of each task on which modules were trained."""
    figures = {
        f"finetuning {task}": finetuning_figure(frames["curves"]).axes[0]
        for task, frames in finetunings.items()
    }
    saved = _saved(figures, folder)
    return {
        task: {
            "table": frames["table"].to_dict("records"),
            "figure": saved[f"finetuning {task}"],
        }
        for task, frames in finetunings.items()
    }


def _check_section(checks: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The figures and tables of the section on the gradient."""
    effects, patching = checks["effects"], checks["patching"]
    estimates: list[Estimate] = ["first_order"]
    if effects["integrated"].notna().any():
        estimates.append("integrated")
    tables = pd.concat(
        {name: agreement(effects, estimate=name) for name in estimates}, names=["estimate"]
    )
    additive = checks["interactions"].copy()
    for column in ("first_order", "singles", "joint"):
        additive[column] /= additive["probability"]
    figures = {
        "estimate against truth": plot_agreement(effects),
        "agreement by layer": plot_agreement_by_layer(agreement(effects, by=["site", "layer"])),
        "additivity": plot_interaction(checks["interactions"]),
        "dose response": plot_dose_response(checks["doses"]),
        "patching": plot_matrix(
            patching_matrix(patching), "share", "How far the answer moves to the source's"
        ),
    }
    return {
        "agreement": table_rows(tables),
        "additivity": table_rows(
            additive.groupby("set", sort=False)[
                ["first_order", "singles", "joint", "singles_nats", "joint_nats"]
            ].mean()
        ),
        "patching": table_rows(agreement(patching, estimate="estimated", by="set", truth="moved")),
        "pairs": len(patching),
        "prompts": effects["instance"].nunique(),
        "figures": _saved(figures, folder),
        "tokens": checks["tokens"],
    }


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `compare`'s table with their task, for printing."""
    return table.reset_index().to_dict("records")


def _saved(figures: Mapping[str, Axes], folder: Path) -> dict[str, str]:
    """Each figure as a file, and as a data address for the report; closed afterwards."""
    addresses = {}
    for name, axes in figures.items():
        figure = axes.get_figure()
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # A name in a script or of signs that the font lacks is drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")  # type: ignore[union-attr]
        plt.close(figure)  # type: ignore[arg-type]
        png = buffer.getvalue()
        file = folder / f"{'-'.join(re.findall('[A-Za-z0-9]+', name))}.png"
        write_atomically(file, lambda path, png=png: path.write_bytes(png))
        encoded = base64.b64encode(png).decode("ascii")
        addresses[name] = f"data:image/png;base64,{encoded}"
    return addresses
