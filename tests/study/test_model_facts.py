"""What is known of a model before it is loaded is what it is once it is loaded."""

import math
from unittest import mock

import pytest
import tiny
from transformers import AutoTokenizer

from culnig_tl import CulnigError, load_hf_model, load_model, model_facts, neuron_layout
from culnig_tl.models import wrapping
from culnig_tl.models.choices import MODEL_CLASSES
from culnig_tl.models.classes import HookedTransformer
from culnig_tl.models.description import layout_of
from culnig_tl.study import plan
from culnig_tl.study.paper_models import PAPER_MODELS

KINDS = ("llama", "qwen2", "qwen3", "phi3", "gemma3")


@pytest.fixture
def folder(tmp_path) -> str:
    return str(tiny.byte_model(tmp_path / "tiny"))


def with_template(folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)


@pytest.mark.model
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_is_what_is_loaded(tmp_path, kind):
    folder = str(tiny.byte_model(tmp_path / kind, kind=kind))
    facts = model_facts(folder, measure=False)
    hf_model, _ = load_hf_model(folder)
    assert facts.architecture == type(hf_model).__name__
    assert facts.parameters == hf_model.num_parameters()
    model = load_model(folder)
    assert facts.layout == layout_of(model)
    assert facts.classes == (type(model).__name__,)
    assert facts.table().loc["neurons"].item() == f"{layout_of(model).total:,}"
    assert (facts.positions, facts.chat_template, facts.answer_format) == (1024, False, "cloze")
    assert facts.base is None
    assert facts.trouble is None


@pytest.mark.gemma
@tiny.needs_gemma
def test_the_class_of_the_embedded_model():
    facts = model_facts("gemma-3-270m", measure=False)
    assert type(load_model("gemma-3-270m")).__name__ == facts.classes[0]
    assert facts.layout.total == 64_512
    assert facts.demo is not None
    assert math.isnan(facts.demo.seconds_here)
    assert facts.table().loc["time of the demo here"].item() == "not measured"


def test_the_class_by_name_and_why(folder):
    tried = wrapping.classes_for("google/gemma-3-12b-it")
    assert wrapping.classes_for("google/gemma-3-12b-it", "TransformerBridge") == MODEL_CLASSES[2:]
    reason = wrapping.class_reason("google/gemma-3-12b-it")
    if HookedTransformer is None:
        assert tried == ("TransformerBridge",)
        assert reason.endswith("has no HookedTransformer")
        return
    assert tried == ("HookedTransformer", "TransformerBridge")
    assert "knows a HookedTransformer named google/gemma-3-12b-it; it is taken if" in reason
    assert wrapping.classes_for(folder) == ("TransformerBridge",)
    assert wrapping.class_reason(folder).endswith("knows no HookedTransformer of this name")


@pytest.mark.model
@pytest.mark.skipif(HookedTransformer is None, reason="this TransformerLens has one class")
def test_the_second_class_is_taken_where_the_first_cannot_be_had(folder):
    with mock.patch.object(wrapping, "_official_name", return_value="no-such-name"):
        facts = model_facts(folder, measure=False)
        assert facts.table().loc["class"].item() == "HookedTransformer, else TransformerBridge"
        assert type(load_model(folder)).__name__ == facts.classes[-1]


def test_a_chat_template(folder):
    with_template(folder)
    facts = model_facts(folder, measure=False)
    assert (facts.chat_template, facts.answer_format) == (True, "letter")


def test_a_folder_without_a_tokenizer(folder, tmp_path):
    for file in tmp_path.glob("tiny/tokenizer*"):
        file.unlink()
    facts = model_facts(folder, measure=False)
    assert (facts.chat_template, facts.answer_format) == (None, None)
    assert facts.note.startswith("Tokens: about 4 characters a token.")
    assert facts.table().loc["chat template"].item() == "not known: no tokenizer at hand"


def test_adapters(folder, tmp_path):
    lora = str(tiny.lora(tmp_path / "tiny", tmp_path / "lora"))
    facts, whole = (model_facts(name, measure=False) for name in (lora, folder))
    assert facts.base == folder
    assert facts.table().loc["adapters"].item() == f"of {folder}, merged when loaded"
    assert (facts.layout, facts.parameters) == (whole.layout, whole.parameters)
    assert facts.parameters == load_hf_model(lora)[0].num_parameters()
    assert facts.answer_format == whole.answer_format


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_the_papers_models_without_network(name):
    facts = model_facts(name, measure=False)
    assert facts.layout == PAPER_MODELS[name].layout
    assert facts.positions == PAPER_MODELS[name].positions
    assert facts.chat_template is None
    assert facts.demo is not None
    assert facts.demo.memory > 4 * facts.parameters


def test_time_is_that_of_the_plan(folder, monkeypatch):
    monkeypatch.setattr(plan, "MEASURED_SECONDS", 0.0)
    facts = model_facts(folder)
    assert facts.demo is not None
    assert 0 < facts.demo.seconds_here < 600
    assert "measured just now in float32 on 3 of 3 layers" in facts.note


def test_prompts_that_are_too_long_for_it(tmp_path):
    folder = str(tiny.byte_model(tmp_path / "short", max_position_embeddings=64))
    facts = model_facts(folder)
    assert facts.demo is None
    assert "tokens, and the model has 64 positions" in facts.table().iloc[-1].item()


def test_an_architecture_that_cannot_be_hooked(folder, monkeypatch):
    def refuse(*arguments, **options):
        raise CulnigError("TransformerBridge cannot be made of it")

    monkeypatch.setattr(plan, "wrap_model", refuse)
    facts = model_facts(folder)
    row = facts.table().loc["the demo cannot be run"].item()
    assert row == "TransformerBridge cannot be made of it"
    assert facts.demo is not None


def test_a_notebook_shows_the_table(folder):
    facts = model_facts(folder, measure=False)
    assert ">LlamaForCausalLM</td>" in facts._repr_html_()
    assert repr(facts).startswith(f"{folder}: LlamaForCausalLM, ")
    assert str(neuron_layout(folder)) in repr(facts)
