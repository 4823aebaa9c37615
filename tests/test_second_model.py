"""SmolLM2-135M-Instruct: another architecture, a real chat template, and no cultural knowledge.

It is at chance on BLEnD, so that whatever finds culture in it there is wrong.
"""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import Study, evaluate, load_model, load_task, run_study
from culnig_tl.models.embedded import CHAT_NAME
from culnig_tl.models.loading import load_hf_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.resampling import FEWEST_QUESTIONS, mean_interval, question_numbers

pytestmark = [tiny.needs_smollm2, pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def hugging_face():
    return load_hf_model(CHAT_NAME)


def chat(tokenizer, instance):
    turns = [{"role": "system", "content": instance.system}] if instance.system else []
    turns += [{"role": "user", "content": instance.user}]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)


def test_prompts_are_those_of_the_chat_template(hugging_face):
    _, tokenizer = hugging_face
    for task in ("everyday", "commonsense", "paraphrase", "countryrc"):
        instances = load_task(task, "test", limit=3)
        prompts = make_prompts(tokenizer, instances)  # letters, as there is a template
        for prompt, instance in zip(prompts, instances, strict=True):
            expected = chat(tokenizer, instance)["input_ids"]
            assert list(prompt.tokens) == expected
            assert tokenizer.decode(prompt.label) == instance.labels[instance.answer]


@torch.no_grad()
def test_answers_are_those_of_hugging_face(hugging_face):
    hf, tokenizer = hugging_face
    instances = load_task("everyday", "test", limit=12)
    frame = evaluate(load_model(CHAT_NAME, device="cpu"), instances)
    letters = [tokenizer.encode(letter) for letter in "ABCD"]
    assert {len(tokens) for tokens in letters} == {1}
    for row, instance in zip(frame.itertuples(), instances, strict=True):
        tokens = torch.tensor([chat(tokenizer, instance)["input_ids"]])
        p = hf(input_ids=tokens).logits[0, -1].softmax(-1)[[token for (token,) in letters]]
        assert row.probability == pytest.approx(float(p[instance.answer]), rel=1e-4)
        assert row.predicted == instance.options[int(p.argmax())]


def share_right(model, instances, answer_format):
    """The 95% interval over questions of the share that is answered right."""
    frame = evaluate(model, instances, answer_format=answer_format)
    values, questions = frame["correct"].to_numpy(float), question_numbers(frame)
    return mean_interval(values, questions, rng=np.random.default_rng(0))


@pytest.mark.parametrize("answer_format", ["letter", "cloze"])
def test_it_is_at_chance_on_blend(shared, answer_format):
    instances = load_task("blend", "test", data=shared / "data" / "blend", limit=160)
    low, high = share_right(load_model(CHAT_NAME, device="cpu"), instances, answer_format)
    assert low < 0.25 < high + 0.05


def test_what_it_knows_is_asked_in_its_own_words():
    """So what is found in it is no accident of a model that answers nothing. The bundled questions
    it can answer better than by chance too, but by letters it answers none."""
    model = load_model(CHAT_NAME, device="cpu")
    assert share_right(model, load_task("commonsense", "test"), "cloze")[0] > 0.4
    low, high = share_right(model, load_task("everyday", "test", limit=96), "letter")
    assert low < 0.25 < high + 0.05


@pytest.mark.parametrize(("task", "answer_format"), [("everyday", "letter"), ("blend", "cloze")])
def test_the_whole_method_finds_no_culture_in_it(request, tmp_path, task, answer_format):
    data = {}
    if task == "blend":
        data = {"blend": str(request.getfixturevalue("shared") / "data" / "blend")}
    study = Study(
        model=CHAT_NAME, task=task, data=data, answer_format=answer_format, limit=64, rc_limit=48,
        test_limit=96, seeds=2, matched_seeds=0, tests=(), ablations=False, specific=False,
        sweep=False, device="cpu",
    )  # fmt: skip
    table = run_study(study, tmp_path / "run").table
    # Enough to call something significant; one that is asked of several countries is one.
    assert table.loc[task, "questions"] >= FEWEST_QUESTIONS
    assert not table.loc[task, "significant"], table.loc[task]
