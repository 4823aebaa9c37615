"""SmolLM2-135M-Instruct: another architecture, a real chat template, and no cultural knowledge.

It is at chance on cultural questions, so that whatever finds culture in it is wrong.
"""

import dataclasses

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import Study, evaluate, load_model, load_task, run_study
from culnig_tl.models.embedded import CHAT_NAME
from culnig_tl.models.loading import load_hf_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.resampling import mean_interval, question_numbers

pytestmark = [tiny.needs_smollm2, pytest.mark.model]


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


@pytest.mark.slow
@pytest.mark.parametrize("answer_format", ["letter", "cloze"])
def test_it_knows_commonsense_at_best(answer_format):
    """The negative control: at chance on culture, whichever way it is asked."""
    model = load_model(CHAT_NAME, device="cpu")
    correct = {}
    for task in ("everyday", "commonsense"):
        frame = evaluate(model, load_task(task, "test"), answer_format=answer_format)
        values, questions = frame["correct"].to_numpy(float), question_numbers(frame)
        correct[task] = mean_interval(values, questions, rng=np.random.default_rng(0))
    low, _ = correct["everyday"]
    assert low < 0.25 + 0.05
    if answer_format == "cloze":
        assert correct["commonsense"][0] > 0.25


@pytest.mark.slow
def test_the_whole_method_finds_no_culture_in_it(tmp_path):
    study = Study(
        model=CHAT_NAME, answer_format="letter", seeds=3, matched_seeds=3, ablations=False,
        specific=False, sweep=False, device="cpu",
    )  # fmt: skip
    for answer_format in ("letter", "cloze"):
        of_format = dataclasses.replace(study, answer_format=answer_format)
        run = run_study(of_format, tmp_path / answer_format)
        table = run.table
        assert table.loc["everyday", "questions"] >= 30  # enough to call something significant
        assert not table.loc["everyday", "significant"], table.loc["everyday"]
