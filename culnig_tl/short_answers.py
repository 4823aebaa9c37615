"""Short answers in many languages: written freely, with neurons masked, and judged."""

from collections.abc import Sequence

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.generation import generate
from culnig_tl.models import HookedModel, tokenizer_of
from culnig_tl.neurons import NeuronSet
from culnig_tl.tasks.short_answers import ShortQuestion, judge


def answer_questions(
    model: HookedModel,
    questions: Sequence[ShortQuestion],
    neurons: NeuronSet | None = None,
    factor: float = 0.0,
    max_new_tokens: int = 512,
    token_budget: int = 4096,
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
    tokenizer = tokenizer_of(model)
    chat = bool(getattr(tokenizer, "chat_template", None))
    sequences = [_tokens(tokenizer, question.prompt, chat) for question in questions]
    stop = None if chat else _is_line
    written = generate(model, sequences, neurons, factor, max_new_tokens, stop, token_budget)
    rows = []
    for question, tokens in zip(questions, written, strict=True):
        reply = tokenizer.decode(tokens, skip_special_tokens=True).strip()
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


def _tokens(tokenizer: object, prompt: str, chat: bool) -> list[int]:
    if chat:
        turns = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(  # type: ignore[attr-defined]
            turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]
    # Behind `Answer:` it goes on, behind a question it answers in the next line.
    text = prompt.rstrip()
    text += "" if text.endswith((":", "：")) else "\n"
    return list(tokenizer(text)["input_ids"])  # type: ignore[operator]


def _is_line(text: str) -> bool:
    return "\n" in text.lstrip()
