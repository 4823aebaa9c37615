"""The report: one self-contained HTML file, made from saved results with no model loaded.

What the run itself found stands in `data/report.html`; each step adds the section that it owns.
"""

import base64
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from culnig_tl.analysis.drawing import with_fewer_colours
from culnig_tl.analysis.plots import (
    plot_comparison,
    plot_distribution,
    plot_groups,
    plot_layers,
    plot_matrix,
    plot_score_histogram,
    plot_sweep,
)
from culnig_tl.analysis.texts import interval_text, number_text, spread_text
from culnig_tl.files import write_atomically
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import FEWEST_QUESTIONS, p_text
from culnig_tl.study import (
    compare_methods,
    finetune,
    lm_eval,
    precision,
    short_answers,
    verify_section,
)
from culnig_tl.study.arguments import command_line, task_names
from culnig_tl.study.changed import changed_answers
from culnig_tl.study.columns import Labels
from culnig_tl.study.published import published
from culnig_tl.study.run import Run
from culnig_tl.study.section import (
    Section,
    shown_rows,
    table_rows,
    templates,
)
from culnig_tl.study.top_neurons import noted_writes, top_neurons
from culnig_tl.study.verdict import verdict
from culnig_tl.tasks import OWN, OWN_NAMES, TASKS

_COMPARISONS = ("table", "probability", "matched")
# In the order in which they stand in the report.
SECTIONS = (
    verify_section.SECTION,
    compare_methods.SECTION,
    finetune.SECTION,
    precision.SECTION,
    short_answers.SECTION,
    lm_eval.SECTION,
)


def write_report(run: Run) -> Path:
    """Write report.html into the run's folder, and its figures as PNG files into `figures` there.

    Returns:
        The report's file.

    Raises:
        CulnigError: a file of the run or of a step is damaged, or the folder cannot be written.
    """
    found = [(section, section.read(run.folder)) for section in SECTIONS]
    html = render_report(
        run.about,
        run.neurons,
        run.scores(),
        tables=run.tables,
        specific=list(run.specific.values()),
        sections=[(section, left) for section, left in found if left is not None],
        figures=run.folder / "figures",
        changed=changed_answers(run),
        command=command_line(run.study, run.folder),
        raised=noted_writes(run.folder),
    )
    file = run.folder / "report.html"
    write_atomically(file, lambda name: name.write_text(html, encoding="utf-8"))
    return file


def render_report(
    about: Mapping[str, Any],
    neurons: NeuronSet,
    scores: Scores,
    *,
    tables: Mapping[str, pd.DataFrame],
    figures: Path,
    specific: Sequence[NeuronSet] = (),
    sections: Sequence[tuple[Section, Any]] = (),
    changed: Mapping[str, Any] | None = None,
    command: str = "",
    raised: Mapping[tuple[int, str, int], str] = MappingProxyType({}),
) -> str:
    """The HTML of a run's report; its figures go into the folder `figures` too.

    Args:
        about: what was run: arguments, versions, model, datasets.
        neurons: the culture-general set.
        scores: the cultural scores that it was selected from.
        tables: of `study_tables`; a part for each kind that is there.
        figures: a folder.
        specific: the culture-specific sets.
        sections: of steps, each with what it read.
        changed: of `changed_answers`.
        command: that made the run.
        raised: what neurons write, by layer, site and index.
    """
    arguments = about["arguments"]
    variant, target = arguments["variant"], arguments.get("target")
    word, names = TASKS[arguments["task"]].word, task_names(arguments)
    # The paper asks of countries.
    known = TASKS[arguments["task"]].countries
    found = {
        name: published(name, about["model"]["name"]) if known else None
        for name in ("table", "ablations", "specific", "ranks", "scores")
    }
    drawn = {
        "comparison": plot_comparison(tables["table"], published=found["table"]),
        "distribution": plot_distribution(neurons),
        "scores": plot_score_histogram(scores, target=target),
    }
    groups = tables["groups"]
    for task in groups.index.get_level_values("task").unique():
        drawn[f"groups: {task}"] = plot_groups(groups, task)
    if specific:
        drawn["layers"] = plot_layers([neurons, *specific])
        drawn["reductions"] = plot_matrix(
            tables["reductions"],
            "points",
            f"Accuracy lost when a {word}'s neurons are masked",
            axes=None,
            digits=1,
            own=True,
            interval=(
                (tables["reductions_low"], tables["reductions_high"])
                if "reductions_low" in tables
                else None
            ),
        )
        drawn["ranks"] = plot_matrix(
            tables["ranks"],
            "rank",
            "Ranks of these losses (1: hit hardest)",
            axes=None,
            digits=1,
            own=True,
            colours="Reds_r",
        )
        drawn["overlap"] = plot_matrix(
            tables["overlap"], "neurons", "Neurons that two sets share", digits=0
        )
        if found["ranks"] is not None:
            drawn["published ranks"] = plot_matrix(
                found["ranks"],
                "rank",
                "As published: mean ranks, six models",
                axes=None,
                digits=1,
                own=True,
                colours="Reds_r",
            )
    percent = {}
    if "sweep" in tables:
        drawn["sweep"] = plot_sweep(tables["sweep"])
        percent["sweep"] = tables["sweep"].rename(index=lambda share: f"{100 * share:g}%")
    sizes = tables["sets"]
    sizes = sizes[~sizes["kind"].isin(("random", "matched", "sweep"))]
    shown = {**tables, **percent, "sets": sizes}
    if specific:
        shown["own"] = _with_published(tables["own"], found)
        for name in {"own", "own_nats"} & set(shown):
            shown[name] = shown[name].dropna(axis="columns", how="all")
    top = top_neurons(neurons, scores, variant=variant, target=target)
    keys = zip(top["layer"], top["site"], top["index"], strict=True)
    top["raised"] = [raised.get(key, "") for key in keys]
    environment = templates(arguments["task"])
    labels = Labels()
    environment.filters |= {
        "label": labels.label,
        "number": number_text,
        "spread": spread_text,
        "interval": interval_text,
        "p": p_text,
    }
    parts = []
    for section, left in sections:
        values, own = section.show(left)
        template = environment.get_template(f"{section.name}.html")
        parts.append(Markup(template.render(**values, figures=_saved(own, figures))))
    html = environment.get_template("report.html").render(
        run=about,
        fewest=FEWEST_QUESTIONS,
        names=names.get(OWN_NAMES, "countryrc"),
        about=names.get(OWN, "culture"),
        neurons=repr(neurons),
        share=f"{100 * len(neurons) / neurons.layout.total:.2f}",
        layout=str(neurons.layout),
        tables={
            name: table_rows(table) if name in _COMPARISONS else shown_rows(table)
            for name, table in shown.items()
        },
        published={k: [] if v is None else table_rows(v) for k, v in found.items()},
        top=top.to_dict("records"),
        raised=bool(raised),
        variant=variant,
        target=target or scores.targets[0],
        figures=_saved(drawn, figures),
        sections=parts,
        verdict=verdict(tables["table"], neurons=len(neurons), total=neurons.layout.total),
        changed=changed,
        command=command,
        glossary=labels.glossary,
    )
    return _with_contents(html)


def _with_contents(html: str) -> str:
    """Each heading with an address, and a table of contents of them where the page has its mark."""
    found: list[str] = []

    def anchored(match: re.Match[str]) -> str:
        found.append(match[1])
        return f'<h2 id="part-{len(found)}">{match[1]}</h2>'

    html = re.sub(r"<h2>(.*?)</h2>", anchored, html, flags=re.S)
    links = (f'<li><a href="#part-{n}">{text}</a></li>' for n, text in enumerate(found, start=1))
    return html.replace("<!-- contents -->", f"<nav><ol>{''.join(links)}</ol></nav>", 1)


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
        png = with_fewer_colours(buffer.getvalue())
        file = folder / f"{'-'.join(re.findall('[A-Za-z0-9]+', name))}.png"
        write_atomically(file, lambda path, png=png: path.write_bytes(png))
        encoded = base64.b64encode(png).decode("ascii")
        addresses[name] = f"data:image/png;base64,{encoded}"
    return addresses
