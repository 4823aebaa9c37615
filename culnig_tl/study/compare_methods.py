"""The step compare-methods: LAPE and CAPE, the rival methods, on a finished run."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import functools
import logging
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.comparison import compare, corrected
from culnig_tl.analysis.evaluations import COMPARISON
from culnig_tl.analysis.plots import plot_layers, plot_matrix
from culnig_tl.checks import SETS_MOST, check_count, check_file_name, check_share
from culnig_tl.errors import CulnigError
from culnig_tl.frames import COUNT, MAYBE_NUMBER, NAME, Frame
from culnig_tl.neurons.lape import ActivationShares, select_cape, select_lape
from culnig_tl.neurons.selection import overlap, select_random
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import sha256_of
from culnig_tl.study.once import once
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import Section, read_frames, shown_rows
from culnig_tl.tasks.blend import LANGUAGES, load_questions

# Every so manieth question is kept for perplexity; shares are counted on the others.
HELD_OUT = 10
_PERPLEXITY = Frame(
    columns={"neurons": NAME}, key=("neurons",), rest=MAYBE_NUMBER, index=("neurons",)
)
METHODS = {
    "table": Frame(
        {"set": NAME, **COMPARISON.columns},
        key=("set", "task"),
        optional=COMPARISON.optional,
        index=("set",),
    ),
    "sizes": Frame({"set": NAME, "neurons": COUNT}, key=("set",), index=("set",)),
    "overlap": Frame(columns={"set": NAME}, key=("set",), rest=COUNT, index=("set",)),
    "perplexity-languages": _PERPLEXITY,
    "perplexity-cultures": _PERPLEXITY,
}
_log = logging.getLogger(__name__)


def compare_methods(
    run: Run | str | Path,
    *,
    context: int = 128,
    quantile: float = 0.95,
    top: float = 0.01,
    seeds: int = 1,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Find LAPE and CAPE neurons of a finished run's model and mask them as the run did its own.

    The texts are BLEnD's questions: by language, as each country asks them (LAPE), and by country,
    in English (CAPE). Into `methods` go the shares, the sets, sizes.csv, overlap.csv,
    perplexity-languages.csv and perplexity-cultures.csv (`perplexity_increase` on every tenth
    question, which the shares leave out), and table.csv: `compare` for all neurons of each method
    together, with random neurons of the same sites and layers. What is there is not done again.
    Then the report is written anew, with a section on them.

    Args:
        run: a finished run, or its folder, whose task was `blend`.
        context: as `activation_shares`.
        quantile, top: as `select_lape`.
        seeds: random sets for each method.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        table.csv: set, test, and `compare`'s columns.

    Raises:
        CulnigError: not a finished run, or one of another task; `methods` was made with other
            arguments; no neuron was found.

    Example:
        `run` is of the bundled questions, which are in one language only.

        >>> compare_methods(run)
        Traceback (most recent call last):
        culnig_tl.errors.CulnigError: ... is a run of 'everyday', and the texts come from BLEnD's
        questions: make a run with --task blend
    """
    from culnig_tl.measure.activity import activation_shares
    from culnig_tl.measure.perplexity import perplexity_increase
    from culnig_tl.models.sums import remove_checkpoint

    check_count("context", context, least=1, unit="tokens")
    check_share("quantile", quantile)
    check_share("top", top)
    check_count("seeds", seeds, least=1, most=SETS_MOST)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, culture = run.study, run.neurons
    if study.task != "blend":
        raise CulnigError(
            f"{run.folder} is a run of {study.task!r}, and the texts come from BLEnD's questions: "
            "make a run with --task blend"
        )
    texts = question_texts(load_questions(data=study.data.get("blend")))
    for kind, (_, held_out) in texts.items():
        few = [name for name, part in held_out.items() if not part]
        if few:
            raise CulnigError(
                f"{few[0]!r}, of the {kind}, has fewer than {HELD_OUT} questions: perplexity needs "
                f"every {HELD_OUT}th of them"
            )
    asked = run.data.asked
    step = run.step(
        "methods",
        context=context,
        quantile=quantile,
        top=top,
        seeds=seeds,
        texts=sha256_of(texts),
        sets=set_hashes([culture]),
    )
    folder = step.folder

    def shares(kind: str) -> ActivationShares:
        file, counted = folder / f"{kind}.safetensors", texts[kind][0]

        def count() -> None:
            _log.info("activation shares of %s: %s", kind, ", ".join(counted))
            checkpoint = file.with_suffix(".checkpoint")
            found = activation_shares(step.model, counted, context=context, checkpoint=checkpoint)
            found.save(file)
            remove_checkpoint(checkpoint)

        once(file, count)
        return ActivationShares.load(file)

    def increase(kind: str, sets: Mapping[str, NeuronSet]) -> pd.DataFrame:
        _log.info("perplexity of %s, %d sets", kind, len(sets))
        return perplexity_increase(step.model, texts[kind][1], sets, context=context)

    lape = select_lape(shares("languages"), quantile=quantile, top=top)
    cape = select_cape(shares("cultures"), lape, LANGUAGES, quantile=quantile, top=top)
    together = [culture]
    for name, sets in (("LAPE", lape), ("CAPE", cape)):
        together.append(functools.reduce(operator.or_, sets.values()).named(name))
        if not len(together[-1]):
            raise CulnigError(f"no {name} neuron: lower quantile, or raise top")
    every = (*together, *lape.values(), *cape.values())
    for neurons in every:
        neurons.save(folder / "sets" / f"{neurons.name}.json")
    sizes = pd.Series({neurons.name: len(neurons) for neurons in every}, name="neurons")
    step.write("sizes", sizes.rename_axis("set").reset_index(), index=False)
    step.write("overlap", overlap(together).reset_index(), index=False)
    for kind, sets in (("languages", lape), ("cultures", cape)):
        name = f"perplexity-{kind}"
        step.frame(name, METHODS[name], functools.partial(increase, kind, sets), index=True)
    tables = {}
    for neurons in together:
        # The run has evaluated its own set, and perhaps the random ones of it.
        home = run.folder if neurons is culture else folder
        home = home / "evaluations" / ("" if neurons is culture else neurons.name)
        random = [select_random(neurons, seed, matched=True) for seed in range(seeds)]
        masked, *controls = (
            step.evaluation(home / f"{one.name}.csv", asked, one) for one in (neurons, *random)
        )
        tables[neurons.name] = compare(run.evaluation("original"), masked, controls)
    table = corrected(pd.concat(tables, names=["set"]))
    step.write("table", table)
    run.write_report()
    return table


def question_texts(
    questions: pd.DataFrame,
) -> dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]]:
    """The questions by language and by culture: to count on, and, every tenth of them, held out."""
    found = {}
    for name, group, column in (
        ("languages", "language", "local"),
        ("cultures", "country", "english"),
    ):
        parts = {
            str(key): list(dict.fromkeys(rows[column]))
            for key, rows in questions.groupby(group, sort=False)
        }
        counted = {
            key: [t for i, t in enumerate(texts) if (i + 1) % HELD_OUT]
            for key, texts in parts.items()
        }
        held_out = {key: texts[HELD_OUT - 1 :: HELD_OUT] for key, texts in parts.items()}
        found[name] = (counted, held_out)
    return found


def _read(folder: Path) -> dict[str, Any] | None:
    """The frames of `METHODS`, and `sets`, one for each method."""
    found = read_frames(folder / "methods", METHODS)
    if found is None:
        return None
    names = found["overlap"].index
    for name in names:
        check_file_name(f"{folder / 'methods' / 'overlap.csv'}: the set", name)
    files = [folder / "methods" / "sets" / f"{name}.json" for name in names]
    return found | {"sets": [NeuronSet.load(file) for file in files]}


def _show(methods: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Axes]]:
    """Tables and figures of the section on the rival methods."""
    figures = {
        "methods: layers": plot_layers(methods["sets"]),
        "methods: overlap": plot_matrix(methods["overlap"], "neurons", "Neurons shared", digits=0),
    }
    for kind in ("languages", "cultures"):
        matrix = methods[f"perplexity-{kind}"].rename_axis(index="neurons", columns="texts")
        title = f"Rise of ln perplexity, {kind}"
        figures[f"methods: {kind}"] = plot_matrix(matrix, "nats a token", title)
    tables = {name: shown_rows(methods[name]) for name in ("table", "sizes")}
    return tables, figures


SECTION = Section("methods", _read, _show)
