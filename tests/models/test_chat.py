"""Chat templates of every kind: what was to be told is told, and the answer comes behind it."""

from dataclasses import replace

import pytest
import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from culnig_tl import CulnigError
from culnig_tl.measure.answering import _tokens
from culnig_tl.models.chat import chat_text, without_reasoning
from culnig_tl.models.prompts import chat_tokens, make_prompts
from culnig_tl.tasks.short_questions import ShortQuestion

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}{% endif %}"
DROPPED = "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content | trim }}{% endfor %}<|assistant|>"
SYSTEM, USER = "You live in Iran.", "  What do people eat?\nA. rice\n"


def reader(template=None, begins=False) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and some marks; with `begins` it puts BOS before every text."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore
    bytes_.decoder = decoders.ByteLevel()  # type: ignore
    found = PreTrainedTokenizerFast(
        tokenizer_object=bytes_,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"],
    )
    if begins:
        found.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", found.bos_token_id)]
        )
    found.chat_template = template
    return found


def instance(**changes):
    known = {"id": "q-1", "user": USER, "system": SYSTEM} | changes
    return replace(tiny.instances(1)[0], **known)


def shown(tokenizer, **changes) -> str:
    (prompt,) = make_prompts(tokenizer, [instance(**changes)], answer_format="letter")
    return tokenizer.decode(list(prompt.tokens))


@pytest.mark.parametrize(
    "template", [None, TURNS, NO_SYSTEM + TURNS, DROPPED, {"default": TURNS, "tool_use": "x"}]
)
def test_the_system_is_told_with_every_template(template):
    tokenizer = reader(template)
    text = shown(tokenizer)
    assert text.index(SYSTEM) < text.index(USER.strip())
    other = shown(tokenizer, system="You live in Spain.")
    assert other == text.replace("Iran", "Spain") != text
    assert shown(tokenizer, system="") == text.replace(SYSTEM, "").replace(
        "<|system|><|end|>", ""
    ) or ("Iran" not in shown(tokenizer, system=""))


def test_where_the_system_stands():
    assert (
        chat_text(reader(TURNS), "u", system="s")
        == "<|system|>s<|end|><|user|>u<|end|><|assistant|>"
    )
    told = "<|user|>s\n\nu<|end|><|assistant|>"
    assert chat_text(reader(NO_SYSTEM + TURNS), "u", system="s") == told
    assert chat_text(reader(DROPPED), "u", system="s") == "<|user|>s\n\nu<|assistant|>"
    assert shown(reader()).startswith(f"{SYSTEM}\n\n{USER.rstrip()}")


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>", "<think>\n\n</think>\n\n"),
        ("<think>\n", "<think>\n\n</think>\n\n"),
        ("<reasoning>\n", "<reasoning>\n\n</reasoning>\n\n"),
        ("<Thought>", "<Thought>\n\n</Thought>\n\n"),
        ("<seed:think>", "<seed:think>\n\n</seed:think>\n\n"),
        ("[THINK]", "[THINK]\n\n[/THINK]\n\n"),
        ("◁think▷", "◁think▷\n\n◁/think▷\n\n"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("<|begin_of_thought|>x<|end_of_thought|>", "<|begin_of_thought|>x<|end_of_thought|>"),
        ("<|START_THINKING|><|END_THINKING|>", "<|START_THINKING|><|END_THINKING|>"),
        ("<work>{# </work> #}", "<work>\n\n</work>\n\n"),
        ("<answer>{# </answer> #}", "<answer>"),
        ("<start_of_turn>model\n", "<start_of_turn>model\n"),
        ("<|channel|>analysis<|message|>x<|end|><|channel|>final<|message|>",) * 2,
    ],
)
def test_reasoning_is_closed(opened, closed):
    told = "What is <think>?"  # the user's own words open nothing
    template = TURNS + opened.replace("\n", "{{ '\\n' }}")  # jinja drops a last line's end
    text = chat_text(reader(template), told)
    assert text == f"<|user|>{told}<|end|><|assistant|>{closed}"


@pytest.mark.parametrize("opened", ["<|begin_of_thought|>", "<|channel|>analysis<|message|>"])
def test_reasoning_that_cannot_be_closed(opened):
    with pytest.raises(
        CulnigError, match="instance q-1: the chat template opens a block of reason"
    ):
        shown(reader(TURNS + opened))


@pytest.mark.parametrize(
    "template", ["{{ messages[0].content | e }} &", "{{ messages[0].content.split() | join(' ') }}"]
)
def test_templates_that_change_no_word_of_the_text(template):
    assert "eat?" in shown(reader(template), system="")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content[:12] }}<|assistant|>", "does not give its text as it is"),
        ("{{ messages[0].content | upper }}", "does not give its text as it is"),
        ("{{ messages[0].content | replace('people', 'they') }}", "does not give its text"),
        ("<|assistant|>", "does not give its text as it is"),
        ("{{ raise_exception('never') }}", r"the chat template fails \(TemplateError: never\)"),
        ("{% if %}", "the chat template fails .TemplateSyntaxError"),
        ("{{ messages[0].text | trim }}{{ messages[0].a.b }}", "the chat template fails"),
        ("{{ 1 + messages }}", "the chat template fails .TypeError"),
        ({"tool_use": TURNS}, "the chat template fails .ValueError"),
    ],
)
@pytest.mark.parametrize("system", [SYSTEM, ""], ids=["system", "no system"])
def test_templates_that_fail(template, message, system):
    with pytest.raises(CulnigError, match=f"instance q-1: .*{message}") as raised:
        shown(reader(template), system=system)
    assert "\n" not in str(raised.value)


def test_escaped_text_is_refused():
    with pytest.raises(CulnigError, match="q-1: the chat template does not give its text"):
        shown(reader("{{ messages[0].content | e }}"), user="Is a < b?", system="")


def test_a_tokenizer_that_cannot_apply_its_template():
    class Bare:
        chat_template = TURNS

    with pytest.raises(CulnigError, match="the prompt: its tokenizer has a chat template and can"):
        chat_text(Bare(), "u")


MARKS = pytest.mark.parametrize("mark", ["<|end|>", "</s>", "<|assistant|>", "<s>"])
FORMATS = pytest.mark.parametrize("answer_format", ["letter", "cloze"])


@MARKS
@FORMATS
def test_special_tokens_in_an_instance(mark, answer_format):
    asked = instance(user=f"What is {mark} here?", cloze=f"What is {mark} here?")
    with pytest.raises(CulnigError, match="instance q-1: its text holds the special token '"):
        make_prompts(reader(TURNS), [asked], answer_format=answer_format)


@MARKS
@FORMATS
def test_special_tokens_in_a_short_question(mark, answer_format):
    text = f"What is {mark} here?"
    question = ShortQuestion(
        id="q-2", country="UK", language="en", question=text, prompt=text, answers=("tea",)
    )
    with pytest.raises(CulnigError, match="question q-2: its text holds the special token '"):
        _tokens(reader(TURNS), question, answer_format == "letter")


@pytest.mark.parametrize("template", [TURNS, "{{ bos_token }}" + TURNS])
@pytest.mark.parametrize("begins", [True, False])
def test_bos_stands_once(template, begins):
    tokenizer = reader(template, begins)
    (prompt,) = make_prompts(tokenizer, [instance(user="u", system="")], answer_format="letter")
    told = chat_tokens(tokenizer, chat_text(tokenizer, "u"))
    assert list(prompt.tokens) == told
    expected = int(begins or "bos" in template)
    assert told.count(tokenizer.bos_token_id) == expected
    assert told[:expected] == [tokenizer.bos_token_id] * expected


def test_labels_that_cannot_be_told_apart():
    labels = ("1", "10", "2", "3")
    with pytest.raises(CulnigError, match="q-1: label '10' begins with the tokens of label '1'"):
        make_prompts(reader(TURNS), [instance(labels=labels)], answer_format="letter")


def test_an_option_that_is_empty():
    with pytest.raises(CulnigError, match="q-1: an option is empty; give it a text"):
        make_prompts(reader(), [instance(options=("a", " ", "b", "c"))], answer_format="cloze")


def test_a_short_question_is_told_as_an_instance_is():
    tokenizer = reader("{{ bos_token }}" + TURNS + "<think>\n", begins=True)
    question = ShortQuestion(
        id="q-2", country="UK", language="en", question="u", prompt="u", answers=("tea",)
    )
    (prompt,) = make_prompts(tokenizer, [instance(user="u", system="")], answer_format="letter")
    assert _tokens(tokenizer, question, True) == list(prompt.tokens)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("tea", "tea"),
        ("<think>Is it coffee?</think>\n\ntea", "\n\ntea"),
        ("Is it coffee?</think>tea", "tea"),
        ("<think>Is it coffee?", ""),
        ("[THINK]coffee[/THINK]tea", "tea"),
        ("<|START_THINKING|>coffee<|END_THINKING|>tea", "tea"),
        ("<|channel|>analysis<|message|>coffee<|end|><|channel|>final<|message|>tea", "tea"),
        ("<|channel|>analysis<|message|>coffee", ""),
        ("I think it is tea", "I think it is tea"),
    ],
)
def test_a_reply_without_its_reasoning(reply, answer):
    assert without_reasoning(reply) == answer
