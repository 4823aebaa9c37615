"""What a chat model is told: its template applied, and checked that it says what was to be said."""

import re
from typing import Any

from culnig_tl.errors import CulnigError

_REASONING = "think|thought|reason|reflect|analysis|scratchpad|monologue|deliberat"
# A mark such as <think>, [THINK], <|begin_of_thought|>, ◁think▷ or <|channel|>analysis.
_MARK = re.compile(
    rf"[<\[◁][^<>\[\]◁▷\s]*(?:{_REASONING})[^<>\[\]◁▷\s]*[>\]▷]"
    rf"|<\|channel\|?>\s*(?:{_REASONING}|commentary)\w*",
    re.IGNORECASE,
)
MARKS_BEGIN = "<[◁【"
# A tag of the template's own that it also closes somewhere is a block, unless it is the answer's.
_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]*)>")
_NO_BLOCK = re.compile("answer|response|assistant|output|model|bot|user|system|turn|final", re.I)


def chat_text(tokenizer: Any, user: str, *, system: str = "", where: str = "the prompt") -> str:
    """The text behind which a chat model's answer begins.

    The template is applied (`enable_thinking=False`). Where it has no place for a system turn, its
    text goes before the user's, in the user's turn. A block of reasoning that the template opens
    is closed again, so that what follows is the answer.

    Args:
        where: names the prompt in messages.

    Raises:
        CulnigError: a template that fails, that does not give the text as it was told, or that
            leaves a block of reasoning open in a way that cannot be closed.
    """
    turns = [{"role": "user", "content": user}]
    text = None
    if system:
        try:
            text = _render(tokenizer, [{"role": "system", "content": system}, *turns], where)
            dropped = text == _render(tokenizer, turns, where)
        except CulnigError:
            dropped = True
        if dropped or text is None or not (_holds(text, system) and _holds(text, user)):
            turns, text = [{"role": "user", "content": with_system(system, user)}], None
    if text is None:
        text = _render(tokenizer, turns, where)
    for told in (system, user):
        if not _holds(text, told):
            raise CulnigError(
                f"{where}: the chat template does not give its text as it is "
                f"(...{_spaced(told)[-40:]!r}): use another template, or the cloze format"
            )
    return text + _closing(tokenizer, text, user, where=where)


def with_system(system: str, user: str) -> str:
    """Both as one text, where there is no turn for the system's."""
    return f"{system.strip()}\n\n{user}" if system.strip() else user


def without_reasoning(reply: str) -> str:
    """What a reply says behind its reasoning; nothing where it never comes to an end of it."""
    marks = [mark for mark in _MARK.finditer(reply) if mark]
    if not marks:
        return reply
    last = marks[-1]
    if _is_end(last[0]):
        return reply[last.end() :]
    final = re.search(r"<\|channel\|?>\s*final\w*(?:<\|message\|>)?", reply[last.end() :])
    if final:
        return reply[last.end() + final.end() :]
    return reply[: last.start()] if reply[: last.start()].strip() else ""


def special_marks(tokenizer: Any) -> list[str]:
    """The tokens that mean something to the model, such as the end of a turn.

    A tokenizer lists its thousands of added tokens anew each time: ask once for many texts.
    """
    known = set(getattr(tokenizer, "all_special_tokens", ()))
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    known |= {str(token) for token in added if token.special or _MARK.fullmatch(str(token))}
    # Only marks, as some tokenizers take an ordinary sign for their end.
    return sorted(t for t in known if len(t) > 2 and t[0] in MARKS_BEGIN and t[-1] in ">]▷】")


def _render(tokenizer: Any, turns: list[dict[str, str]], where: str) -> str:
    apply = getattr(tokenizer, "apply_chat_template", None)
    if apply is None:
        raise CulnigError(
            f"{where}: its tokenizer has a chat template and cannot apply it: use a tokenizer of "
            "transformers, or the cloze format (--format cloze)"
        )
    import jinja2

    try:
        text = apply(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CulnigError(
            f"{where}: the chat template fails ({type(error).__name__}: {reason}): give the "
            "tokenizer another one, or use the cloze format (--format cloze)"
        ) from error
    if not isinstance(text, str):
        raise CulnigError(f"{where}: the chat template gives {type(text).__name__}, not a text")
    return text


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _holds(text: str, told: str) -> bool:
    """Whether the text is there; white space may be another."""
    return _spaced(told) in _spaced(text)


def _is_end(mark: str) -> bool:
    return "/" in mark or re.search(r"(?:^|[^a-z])end|close", mark, re.IGNORECASE) is not None


def _closing(tokenizer: Any, text: str, user: str, *, where: str) -> str:
    """What closes the block of reasoning that the template opens behind the user's text."""
    words = user.split()
    behind = list(re.finditer(r"\s+".join(map(re.escape, words)), text)) if words else []
    tail = text[behind[-1].end() :] if behind else text
    template = str(getattr(tokenizer, "chat_template", ""))
    opened: str | None = None
    for mark in _MARK.finditer(tail):
        opened = None if _is_end(mark[0]) else mark[0]
        if "<|end|>" in tail[mark.end() :] or re.search(r"channel\|?>\s*final", tail[mark.end() :]):
            opened = None
    tags: list[str] = []
    for tag in _TAG.finditer(tail):
        closes, name = tag.groups()
        if closes:
            tags = tags[: tags.index(name)] if name in tags else tags
        elif f"</{name}>" in template and not _NO_BLOCK.search(name):
            tags.append(name)
    if opened is None and tags:
        opened = f"<{tags[0]}>"
    if opened is None:
        return ""
    if re.fullmatch(r"<[A-Za-z][\w:-]*>|\[[A-Za-z]\w*\]|◁\w+▷", opened):
        gap = "" if text.endswith("\n") else "\n"
        return f"{gap}\n{opened[0]}/{opened[1:]}\n\n"
    raise CulnigError(
        f"{where}: the chat template opens a block of reasoning ({opened!r}), in which no answer "
        "stands: give the tokenizer a template without it, or use the cloze format"
    )
