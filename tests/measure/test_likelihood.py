"""log P of prompts in batches equals one pass a prompt."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.likelihood import log_probabilities
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.forward import frozen
from culnig_tl.models.prompts import make_prompts
from culnig_tl.tasks.instances import one_of_each

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_in_batches_as_one_by_one(kind, model_class):
    model, instances = tiny.model(kind, model_class), tiny.instances()
    twice = [*instances, replace(instances[2], id="again")]
    prompts = make_prompts(tokenizer_of(model), twice, answer_format="cloze")
    with frozen(model), torch.no_grad():
        found = log_probabilities(model, prompts, token_budget=60)
        expected = [float(log_probability(model, prompt)) for prompt in prompts]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[-1] == found[2]


def test_the_first_of_each_question():
    one, other = tiny.instances()[:2]
    again = replace(one, id="again", question_id="q")
    asked = [replace(one, question_id="q"), other, again]
    assert [i.id for i in one_of_each(asked)] == [one.id, other.id]
