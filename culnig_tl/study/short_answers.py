"""The step short-answers: short questions in many languages, with a run's neurons masked."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.comparison import compare
from culnig_tl.analysis.evaluations import COMPARISON
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.frames import FLAG, NAME, TEXT, Frame, read_frame
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.paths import check_inputs_outside
from culnig_tl.provenance import sha256_of
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import Section
from culnig_tl.tasks.short_questions import load_short_questions

REPLIES = Frame(
    {
        "id": NAME,
        "task": NAME,
        "country": NAME,
        "language": NAME,
        "question": TEXT,
        "reply": TEXT,
        "correct": FLAG,
    },
    key=("task", "id"),
)
_log = logging.getLogger(__name__)


def short_answers_run(
    run: Run | str | Path,
    *,
    countries: Sequence[str] | None = None,
    limit: int = 40,
    data: str | Path | None = None,
    english: bool = False,
    max_new_tokens: int = 512,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Ask short questions with nothing masked, with a run's culture-general set, and with a random
    set of it masked (the counterpart of Table 13).

    Into `short-answers` go a CSV of the replies for each, and table.csv. What is there is not
    written again.

    Args:
        run: a finished run, or its folder.
        countries, limit, data, english: as `load_short_questions`; without `data`, that of the
            run's task `blend`.
        max_new_tokens: as `generate`.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        `compare`'s table, a row a country and language.

    Raises:
        CulnigError: not a finished run, a folder made with other arguments, or as
            `load_short_questions`.
    """
    from culnig_tl.measure.answering import answer_questions, check_languages

    check_count("limit", limit, least=1)
    check_count("max_new_tokens", max_new_tokens, least=1)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, culture = run.study, run.neurons
    data = data or study.data.get("blend")
    if data is not None:
        check_inputs_outside(run.folder / "short-answers", {"data": data})
    if countries is not None and not countries:
        raise CulnigError("no countries: give some, as China,Iran, or leave them out for all")
    questions = load_short_questions(countries=countries, limit=limit, data=data, english=english)
    if not questions:
        raise CulnigError(f"no question was answered (limit {limit}): raise limit, or ask others")
    check_languages(questions)
    (random,) = run.random(1)
    step = run.step(
        "short-answers",
        countries=None if countries is None else list(countries),
        limit=limit,
        english=english,
        max_new_tokens=max_new_tokens,
        questions=sha256_of([asdict(question) for question in questions]),
        sets=set_hashes([culture, random]),
    )

    def answer(name: str, neurons: NeuronSet | None) -> pd.DataFrame:
        _log.info("short answers: %s", name)
        return answer_questions(
            step.model, questions, neurons, factor=study.factor, max_new_tokens=max_new_tokens
        )

    frames = []
    for name, neurons in (("original", None), (culture.name, culture), (random.name, random)):
        frame = step.frame(name, REPLIES, functools.partial(answer, name, neurons))
        frames.append(frame.assign(task=frame["country"] + ", " + frame["language"]))
    table = compare(frames[0], frames[1], frames[2:])
    step.write("table", table)
    run.write_report()
    return table


def _read(folder: Path) -> pd.DataFrame | None:
    file = folder / "short-answers" / "table.csv"
    return read_frame(file, COMPARISON) if file.exists() else None


def _show(table: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Axes]]:
    return {"table": table.to_dict("records")}, {}


SECTION = Section("short-answers", _read, _show)
