"""Short answers in many languages: written freely, with neurons masked, and judged."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.chat import chat_text, without_reasoning
from culnig_tl.checks import check_count
from culnig_tl.comparison import compare
from culnig_tl.errors import CulnigError
from culnig_tl.files import check_inputs_outside, clear_half_written, sha256_of
from culnig_tl.folders import finished_study, note_arguments, set_hashes
from culnig_tl.frames import write_frame
from culnig_tl.generation import generate
from culnig_tl.models import HookedModel, tokenizer_of
from culnig_tl.neurons import NeuronSet
from culnig_tl.prompts import chat_tokens, check_texts
from culnig_tl.run_files import REPLIES
from culnig_tl.runs import load_study_model, run_sets, write_evaluation
from culnig_tl.schemas import read_frame
from culnig_tl.tasks.short_answers import (
    ShortQuestion,
    basic_words,
    judge,
    load_short_questions,
)

_log = logging.getLogger(__name__)


def answer_questions(
    model: HookedModel,
    questions: Sequence[ShortQuestion],
    neurons: NeuronSet | None = None,
    factor: float = 0.0,
    max_new_tokens: int = 512,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Let the model write an answer to each question, with `neurons` multiplied by `factor`.

    A chat model is told the question's prompt and writes until its turn ends. A base model goes on
    behind the same prompt, and its answer is the first line that is not empty.

    Returns:
        One row a question, in their order: id, task (`blend-saq`), country, language, question,
        reply, correct (`judge`).

    Raises:
        CulnigError: no questions, or as `generate` and `judge`.
    """
    if not questions:
        raise CulnigError("no questions: load some first (load_short_questions)")
    _check_languages(questions)
    tokenizer = tokenizer_of(model)
    chat = bool(getattr(tokenizer, "chat_template", None))
    sequences = [_tokens(tokenizer, question, chat) for question in questions]
    stop = None if chat else _is_line
    names = [f"question {question.id}" for question in questions]
    written = generate(
        model, sequences, neurons, factor, max_new_tokens, stop, token_budget, names=names
    )
    rows = []
    for question, tokens in zip(questions, written, strict=True):
        reply = _reply(tokenizer, tokens)
        rows.append(
            {
                "id": question.id,
                "task": "blend-saq",
                "country": question.country,
                "language": question.language,
                "question": question.question,
                "reply": reply,
                "correct": judge(reply, question.answers, question.language),
            }
        )
    return pd.DataFrame(rows)


def short_answers_run(
    out: str | Path,
    countries: Sequence[str] | None = None,
    limit: int = 40,
    data: str | Path | None = None,
    english: bool = False,
    max_new_tokens: int = 512,
    *,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Ask short questions with nothing masked, with a run's culture-general set, and with a random
    set of it masked (the counterpart of Table 13).

    Into `out/short-answers` go a CSV of the replies for each, and table.csv. What is there is not
    written again.

    Args:
        out: the folder of a finished `run_study`.
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
    out = Path(out)
    check_count("limit", limit, 1)
    check_count("max_new_tokens", max_new_tokens, 1)
    _, study = finished_study(out, trust_remote_code=trust_remote_code)
    folder = out / "short-answers"
    data = data or study.data.get("blend")
    if data is not None:
        check_inputs_outside(folder, {"data": data})
    if countries is not None and not countries:
        raise CulnigError("no countries: give some, as China,Iran, or leave them out for all")
    questions = load_short_questions(countries, limit, data, english)
    if not questions:
        raise CulnigError(f"no question was answered (limit {limit}): raise limit, or ask others")
    _check_languages(questions)
    (culture,) = run_sets(out, "general")
    random = (run_sets(out, "random") or run_sets(out, "matched"))[0]
    arguments = {
        "countries": None if countries is None else list(countries),
        "limit": limit,
        "english": english,
        "max_new_tokens": max_new_tokens,
        "questions": sha256_of([asdict(question) for question in questions]),
        "sets": set_hashes([culture, random]),
    }
    note_arguments(folder / "short-answers.json", arguments)
    clear_half_written(folder)
    model = load_study_model(study)
    frames = []
    for name, neurons in (("original", None), (culture.name, culture), (random.name, random)):
        file = folder / f"{name}.csv"
        if not file.exists():
            _log.info("short answers: %s", name)
            frame = answer_questions(model, questions, neurons, study.factor, max_new_tokens)
            write_evaluation(frame, file)
        frame = read_frame(file, REPLIES)
        frames.append(frame.assign(task=frame["country"] + ", " + frame["language"]))
    table = compare(frames[0], frames[1], frames[2:])
    write_frame(table, folder / "table.csv", index=True)
    return table


def _check_languages(questions: Sequence[ShortQuestion]) -> None:
    """Refuse, before anything is generated, a language that cannot be judged here.

    Raises:
        CulnigError: as `basic_words`.
    """
    for language in dict.fromkeys(question.language for question in questions):
        basic_words("a", language)


def _tokens(tokenizer: Any, question: ShortQuestion, chat: bool) -> list[int]:
    where = f"question {question.id}"
    check_texts(tokenizer, [(where, question.prompt)])
    if chat:
        return chat_tokens(tokenizer, chat_text(tokenizer, question.prompt, where=where))
    # Behind `Answer:` it goes on, behind a question it answers in the next line.
    text = question.prompt.rstrip()
    text += "" if text.endswith((":", "：")) else "\n"
    return list(tokenizer(text)["input_ids"])


def _reply(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of an answer, without the reasoning that a model may write before it."""
    whole = tokenizer.decode(tokens)
    answer = without_reasoning(whole)
    if answer == whole:
        return tokenizer.decode(tokens, skip_special_tokens=True).strip()
    for special in tokenizer.all_special_tokens:
        answer = answer.replace(special, "")
    return answer.strip()


def _is_line(text: str) -> bool:
    return "\n" in text.lstrip()
