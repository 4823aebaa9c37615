"""Answering freely: short questions, with neurons masked or without, and judged."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.measure.generation import generate
from culnig_tl.measure.reference import Reference
from culnig_tl.models.chat import chat_text, without_reasoning
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.prompts import chat_tokens, check_texts
from culnig_tl.neurons.estimates import Values
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.judging import basic_words, judge_answer
from culnig_tl.tasks.short_questions import ShortQuestion


def answer_questions(
    model: HookedModel,
    questions: Sequence[ShortQuestion],
    neurons: NeuronSet | None = None,
    *,
    factor: float = 0.0,
    values: Values = "zero",
    reference: Reference | None = None,
    max_new_tokens: int = 512,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Let the model write an answer to each question, with `neurons` multiplied by `factor`,
    or with other prompts' activations in their place (`ablate`).

    A chat model is told the question's prompt and writes until its turn ends. A base model goes on
    behind the same prompt, and its answer is the first line that is not empty.

    Returns:
        One row a question, in their order: id, task (`blend-saq`), country, language, question,
        reply, correct (`judge_answer`).

    Raises:
        CulnigError: no questions, or as `generate` and `judge_answer`.

    Example:
        `model` is a tiny random one, and `blend` a folder with the files of BLEnD.

        >>> from culnig_tl.tasks.short_questions import load_short_questions
        >>> questions = load_short_questions(countries=["Spain"], data=blend)
        >>> frame = answer_questions(model, questions, max_new_tokens=2)
        >>> list(frame.columns)
        ['id', 'task', 'country', 'language', 'question', 'reply', 'correct']
    """
    if not questions:
        raise CulnigError("no questions: load some first (load_short_questions)")
    check_languages(questions)
    tokenizer = tokenizer_of(model)
    chat = bool(getattr(tokenizer, "chat_template", None))
    sequences = [_tokens(tokenizer, question, chat) for question in questions]
    stop = None if chat else _is_line
    names = [f"question {question.id}" for question in questions]
    written = generate(
        model,
        sequences,
        neurons,
        factor=factor,
        values=values,
        reference=reference,
        max_new_tokens=max_new_tokens,
        stop=stop,
        token_budget=token_budget,
        names=names,
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
                "correct": judge_answer(reply, question.answers, question.language),
            }
        )
    return pd.DataFrame(rows)


def check_languages(questions: Sequence[ShortQuestion]) -> None:
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
