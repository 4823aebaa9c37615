"""Choosing modules by the neurons in them."""

import numpy as np
import pytest
import tiny
import transformers

from culnig_tl import CulnigError, NeuronSet, neuron_layout, select_modules
from culnig_tl.neurons.layout import Neuron
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.training.modules import ModuleSet, module_weights

# Table 17: culture-general neurons in the MLPs of gemma-3-12b-it that were taken, by layer.
PUBLISHED = {13: 785, 12: 685, 14: 612, 10: 491, 11: 469, 7: 429, 9: 409}
GEMMA = PAPER_MODELS["google/gemma-3-12b-it"].config()


def with_counts(config, counts):
    """A set with so many neurons in each (layer, site)."""
    neurons = [Neuron(layer, site, i) for (layer, site), n in counts.items() for i in range(n)]
    return NeuronSet.of(neuron_layout(config), neurons, "culture-general")


def test_the_published_top_modules():
    others = {(layer, "gate"): 300 for layer in range(6) if layer not in PUBLISHED}
    attention = {(13, "q"): 100, (13, "k"): 100, (13, "v"): 100}
    mlps = {(layer, "gate"): count for layer, count in PUBLISHED.items()}
    modules = select_modules(with_counts(GEMMA, mlps | others | attention), GEMMA)
    assert [(str(m), m.neurons) for m in modules.modules] == [
        (f"layer{layer} MLP", count) for layer, count in PUBLISHED.items()
    ]
    assert modules.modules[0].parameters == 3 * 3840 * 15360
    assert 0.10 <= modules.parameters / modules.total < 0.12


def nearly_everywhere():
    """A set with neurons in most MLPs, and in the attention of two layers in three."""
    counts = {(layer, "gate"): 5 for layer in range(48) if layer not in (34, 41, 43)}
    counts |= {(layer, "v"): 1 for layer in range(48) if layer % 3}
    return with_counts(GEMMA, counts)


def test_bottom_modules_hold_none_and_are_as_many_parameters():
    modules = select_modules(nearly_everywhere(), GEMMA, which="bottom")
    assert sum(m.neurons for m in modules.modules) == 0
    assert 0.10 <= modules.parameters / modules.total < 0.12
    attention = modules.frame().query("kind == 'attention'")
    assert set(attention["parameters"]) == {2 * 3840 * 4096 + 2 * 3840 * 2048}


def test_the_seed_draws_the_bottom_modules():
    neurons = nearly_everywhere()
    modules, again, other = (
        select_modules(neurons, GEMMA, which="bottom", seed=seed) for seed in (0, 0, 1)
    )
    assert select_modules(neurons, GEMMA, which="bottom") == modules
    assert again == modules
    assert other != modules


def test_bottom_modules_are_those_with_the_fewest_where_all_have_some():
    few = {(layer, "gate"): 1 + (layer != 7) for layer in range(48)}
    few |= {(layer, "q"): 3 for layer in range(48)}
    modules = select_modules(with_counts(GEMMA, few), GEMMA, which="bottom")
    assert str(modules.modules[0]) == "layer7 MLP"


def test_random_modules_do_not_look_at_neurons():
    a, b = ({(layer, "gate"): 1} for layer in (1, 2))
    chosen = [select_modules(with_counts(GEMMA, x), GEMMA, which="random") for x in (a, b)]
    assert list(map(str, chosen[0].modules)) == list(map(str, chosen[1].modules))
    assert len({select_modules(with_counts(GEMMA, a), GEMMA, share=0.1, which="random", seed=s).modules
                for s in range(3)}) == 3  # fmt: skip


def test_ties_by_layer_and_attention_first(caplog):
    config = tiny.config("llama")
    modules = select_modules(NeuronSet(neuron_layout(config), np.array([])), config, share=0.2)
    assert list(map(str, modules.modules)) == ["layer0 attention", "layer0 MLP"]
    assert modules.provenance["ties"] == 6
    assert "the last of the 2 taken is one of 6 with 0 neurons" in caplog.text


@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_weights_of_modules(kind):
    hf = tiny.hf_model(kind)
    weights = module_weights(hf)
    assert set(weights) == {(i, k) for i in range(3) for k in ("attention", "MLP")}
    names = set(weights[1, "attention"]) | set(weights[1, "MLP"])
    matrices = {n for n, w in hf.named_parameters() if ".layers.1." in f".{n}" and w.ndim == 2}
    assert names == matrices
    heads = 32 // 4 if kind in ("llama", "phi3") else 16
    attention = 32 * heads * (4 + 2 + 2 + 4)  # a joint matrix holds as many
    assert sum(w.numel() for w in weights[1, "attention"].values()) == attention
    assert sum(w.numel() for w in weights[1, "MLP"].values()) == 3 * 32 * 48


def test_a_multimodal_model_has_the_modules_of_its_language_model():
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=tiny.config("gemma3").to_dict(), vision_config=vision, mm_tokens_per_image=4
    )
    hf = transformers.AutoModelForCausalLM.from_config(config)
    weights = module_weights(hf)
    assert set(weights) == {(i, k) for i in range(3) for k in ("attention", "MLP")}
    assert not [name for names in weights.values() for name in names if "vision" in name]


def small_choice():
    config = tiny.config("qwen3")
    return select_modules(with_counts(config, {(1, "gate"): 2, (2, "k"): 1}), config)


def test_a_set_says_what_it_is():
    assert repr(small_choice()).startswith("top: 1 modules with 2 neurons, 4,608 of ")
    assert "layer1 MLP" in small_choice()._repr_html_()


def test_a_saved_set_is_loaded(tmp_path):
    small_choice().save(tmp_path / "top.json")
    assert ModuleSet.load(tmp_path / "top.json") == small_choice()


def test_a_file_that_is_no_set_of_modules(tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(CulnigError, match="bad.json is not a module set saved by this package"):
        ModuleSet.load(tmp_path / "bad.json")


def test_a_damaged_set_of_modules(tmp_path):
    small_choice().save(tmp_path / "bad.json")
    text = (tmp_path / "bad.json").read_text().replace('"layer"', '"place"')
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(CulnigError, match="bad.json is damaged .*choose the modules again"):
        ModuleSet.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"which": "best"},
            "unknown choice 'best': choose from top, bottom, random",
            id="an unknown choice",
        ),
        pytest.param({"share": 1.2}, "share is 1.2: give a share between 0 and 1", id="no share"),
        pytest.param(
            {"share": 1.0},
            "share is 1.0, and the attention .*hold 88%.*give less",
            id="more than the modules hold",
        ),
        pytest.param(
            {"config": GEMMA},
            "'culture-general' is of a model with .*the same model",
            id="neurons of another model",
        ),
    ],
)
def test_modules_that_cannot_be_chosen(arguments, message):
    config = tiny.config("llama")
    neurons = with_counts(config, {(1, "gate"): 2})
    with pytest.raises(CulnigError, match=message):
        select_modules(neurons, **{"config": config} | arguments)


def test_a_model_without_such_weights():
    with pytest.raises(
        CulnigError, match="GPT2LMHeadModel has no weights layers.0..{1,2}proj for its"
    ):
        module_weights(tiny.hf_model("gpt2"))
