"""Training chosen modules: the loss, what changes and what does not, what comes out."""

import dataclasses
import io
import json
import shutil
from contextlib import redirect_stdout

import datasets
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from command import Captured, byte_run, culnig
from transformers import AutoModelForCausalLM

from culnig_tl import CulnigError, NeuronSet, evaluate, finetune, load_model, neuron_layout
from culnig_tl.measure.evaluation import answer_log_probabilities
from culnig_tl.models.loading import load_hf_model
from culnig_tl.models.prompts import make_prompts
from culnig_tl.study.arguments import Study
from culnig_tl.study.finetune import finetune_data, finetune_table, training_memory
from culnig_tl.training import finetuning as module
from culnig_tl.training.modules import module_weights, select_modules
from culnig_tl.training.settings import Training
from culnig_tl.training.splitting import split_instances
from culnig_tl.training.weights import weight_hashes

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # peft asks under the name that transformers will drop.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


def questions():
    """Sixteen to train on and eight to test on, all different."""
    made = [
        dataclasses.replace(i, cloze=i.cloze.replace("Question", f"Question {word}"))
        for i, word in zip(tiny.instances(24), tiny.WORDS[2:], strict=False)
    ]
    return made[:16], made[16:]


def chosen(kind="llama", layer=1):
    """The modules of `layer`: the set has all its neurons there."""
    config = tiny.config(kind)
    layout = neuron_layout(config)
    ids = np.arange(layout.total // 3) + layer * (layout.total // 3)
    return select_modules(NeuronSet(layout, ids), config, share=0.15)


def trained(out, kind="llama", hf=None, **arguments):
    hf = hf if hf is not None else tiny.hf_model(kind)
    knobs = {"learning_rate": 0.01, "steps": 8, "batch": 4, "evaluate_every": 4}
    names = {field.name for field in dataclasses.fields(Training)}
    training = Training(**knobs | {k: v for k, v in arguments.items() if k in names})
    given = {"training": training} | {k: v for k, v in arguments.items() if k not in names}
    given.setdefault("modules", chosen(kind))
    given.setdefault("model_class", "TransformerBridge")
    train, tests = questions()
    return finetune(hf, tiny.tokenizer(), train, tests=tests, out=out, name=f"tiny-{kind}", **given)


def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.mark.model
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_the_loss_is_that_of_the_answers_tokens(tmp_path, kind):
    train, _ = questions()
    hooked = tiny.bridge(kind)
    with torch.no_grad():
        prompts = make_prompts(tiny.tokenizer(), train)
        answers = answer_log_probabilities(hooked, prompts, token_budget=64)
    right = [options[i.answer] for i, (options, _) in zip(train, answers, strict=True)]
    assert len({len(answer) for answer in right}) > 1
    expected = -float(torch.cat(right).mean())
    trained(tmp_path, kind, steps=1, batch=16, evaluate_every=1)
    assert result(tmp_path)["losses"] == [[1, pytest.approx(expected, rel=1e-5)]]


@pytest.mark.model
@pytest.mark.parametrize("kind", tiny.ARCHITECTURES)
def test_only_the_chosen_modules_change(tmp_path, kind):
    modules = chosen(kind)
    before = weight_hashes(tiny.hf_model(kind))
    scores = trained(tmp_path, kind, modules=modules)
    assert (scores.loc[0, "nats"] < scores.loc[8, "nats"]).all()
    loaded, tokenizer = load_hf_model(str(tmp_path / "model"))
    after = weight_hashes(loaded)
    assert set(after) == set(before)
    expected = {n for m in modules.modules for n in module_weights(loaded)[m.layer, m.kind]}
    assert {name for name in before if before[name] != after[name]} == expected
    said = result(tmp_path)
    assert set(said["trained"]) == expected
    weights = said["weights"]
    assert weights["frozen"]["count"] + weights["trained"]["count"] == len(before)
    assert weights["frozen"]["before"] == weights["frozen"]["after"]
    assert weights["trained"]["before"] != weights["trained"]["after"]
    # The folder answers as the kept step did.
    kept = scores[scores["kept"]].index[0][0]
    frame = evaluate(
        load_model(str(tmp_path / "model"), model_class="TransformerBridge"), questions()[1],
        answer_format="cloze",
    )  # fmt: skip
    saved = pd.read_csv(tmp_path / "evaluations" / f"step-{kept}.csv")
    assert list(frame["predicted"]) == list(saved["predicted"])
    assert np.allclose(frame["probability"], saved["probability"], rtol=1e-4)
    assert not (tmp_path / "checkpoints").exists()
    assert tokenizer.pad_token == "<pad>"


@pytest.mark.skipif(tiny.HookedTransformer is None, reason="this TransformerLens has none")
def test_evaluated_as_either_class(tmp_path, monkeypatch):
    """A HookedTransformer of the trained weights answers as the bridge does."""

    def wrap(hf, tokenizer, name, model_class, device):
        made.append(type(hf).__name__)
        assert model_class == "HookedTransformer"
        monkeypatch.setattr(tiny, "hf_model", lambda kind, seed: hf)
        return tiny.model("llama", "HookedTransformer")

    made = []
    bridge = trained(tmp_path / "bridge")
    monkeypatch.setattr(module, "wrap_model", wrap)
    native = trained(
        tmp_path / "native", model_class="HookedTransformer", hf=tiny.hf_model("llama")
    )
    assert made == ["LlamaForCausalLM"] * 3
    assert np.allclose(bridge["probability"], native["probability"], rtol=1e-3)


def test_all_parameters(tmp_path):
    trained(tmp_path, modules=None)
    weights = result(tmp_path)["weights"]
    assert weights["frozen"]["count"] == 0
    assert weights["trained"]["count"] == len(weight_hashes(tiny.hf_model("llama")))


def test_the_best_step_is_kept(tmp_path):
    scores = trained(tmp_path, learning_rate=0.05, steps=12, evaluate_every=2)
    after = scores.drop(index=0, level="step")["accuracy"].droplevel("task")
    kept = scores[scores["kept"]].index[0][0]
    assert after.loc[kept] == after.max()
    assert result(tmp_path)["best_step"] == kept
    again = trained(tmp_path, learning_rate=0.05, steps=12, evaluate_every=2)  # read back
    assert again["accuracy"].tolist() == scores["accuracy"].tolist()


def test_a_run_that_died_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    trained(tmp_path / "whole", steps=12)
    calls = []

    def dies(*args, **kwargs):
        calls.append(0)
        if len(calls) == 4:  # step 0, 4, 8, then this
            raise KeyboardInterrupt
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(module, "evaluate", dies)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "died", steps=12)
    assert not (tmp_path / "died" / "scores.csv").exists()
    trained(tmp_path / "died", steps=12)
    assert len(calls) == 5  # only the one that died was done again
    whole, died = (result(tmp_path / name) for name in ("whole", "died"))
    assert died["weights"] == whole["weights"]
    assert died["losses"] == whole["losses"]


def test_parts_of_a_batch_and_checkpointed_activations_train_alike(tmp_path):
    plain = trained(tmp_path / "plain")
    parts = trained(tmp_path / "parts", accumulation=4)
    less = trained(tmp_path / "less", gradient_checkpointing=True)
    assert np.allclose(plain["nats"], parts["nats"], rtol=1e-3)
    assert np.allclose(plain["nats"], less["nats"], rtol=1e-4)


def test_bfloat16_trains_in_float32(tmp_path):
    """Steps of 1e-5 on weights near 0.15 are lost in bfloat16."""
    hf = tiny.hf_model("llama").to(torch.bfloat16)
    name = next(iter(module_weights(hf)[1, "MLP"]))
    seen = {}

    class Watched(module._Trainer):
        def train(self, *args, **kwargs):
            out = super().train(*args, **kwargs)
            seen.update({n: (w.dtype, w.detach().clone()) for n, w in hf.named_parameters()})
            return out

    before = hf.get_parameter(name).detach().clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_Trainer", Watched)
        trained(tmp_path, hf=hf, learning_rate=1e-5)
    dtype, after = seen[name]
    assert dtype == torch.float32
    assert 0 < (after - before.float()).abs().max() < 1e-4
    assert seen["model.embed_tokens.weight"][0] == torch.bfloat16
    loaded, _ = load_hf_model(str(tmp_path / "model"), dtype="bfloat16")
    assert loaded.get_parameter(name).dtype == torch.bfloat16
    weights = result(tmp_path)["weights"]
    assert weights["frozen"]["before"] == weights["frozen"]["after"]


def test_mixed_precision_is_not_evaluated_through(tmp_path):
    """What the Trainer wraps around a model answers with its weights, not the copy's."""
    tiny.hf_model("llama").save_pretrained(tmp_path / "half")
    hf = AutoModelForCausalLM.from_pretrained(
        tmp_path / "half", dtype=torch.bfloat16, attn_implementation="eager"
    )
    scores = trained(tmp_path, hf=hf)
    kept = scores[scores["kept"]].index[0][0]
    hooked = load_model(str(tmp_path / "model"), model_class="TransformerBridge", dtype="bfloat16")
    frame = evaluate(hooked, questions()[1], answer_format="cloze")
    expected = 100 * frame["probability"].mean()
    assert scores.loc[kept, "probability"].iloc[0] == pytest.approx(expected, rel=1e-3)


def test_adapters_merge_into_the_chosen_modules(tmp_path):
    modules = chosen("phi3")
    before = weight_hashes(tiny.hf_model("phi3"))
    scores = trained(tmp_path, "phi3", modules=modules, lora=2, learning_rate=0.05)
    assert (scores.loc[0, "nats"] < scores.loc[8, "nats"]).all()
    loaded, _ = load_hf_model(str(tmp_path / "model"))
    after = weight_hashes(loaded)
    expected = {n for m in modules.modules for n in module_weights(loaded)[m.layer, m.kind]}
    assert {name for name in before if before[name] != after[name]} == expected


def test_adapters_without_peft(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(
        CulnigError, match="lora needs the package peft: pip install 'culnig-tl.lora"
    ):
        trained(tmp_path, lora=2)


def test_items_are_divided_whole():
    train, _ = questions()
    again = (dataclasses.replace(i, id=f"{i.id}#1", template=1, item=i.id) for i in train)
    twice = [*train, *again]
    to_train, to_test = split_instances(twice, 4)
    assert (len(to_train), len(to_test)) == (24, 8)
    items = [{i.item_id for i in part} for part in (to_train, to_test)]
    assert not items[0] & items[1]
    assert split_instances(twice, 4) == (to_train, to_test)


def test_more_tests_hold_those_of_fewer():
    train, _ = questions()
    three, four = ({i.id for i in split_instances(train, count)[1]} for count in (3, 4))
    assert three < four


def test_a_question_is_not_trained_on_and_tested():
    """Each question comes three times, as BLEnD's do with other wrong options."""
    instances = [
        dataclasses.replace(one, id=f"{one.id}/{turn}", asks=one.id)
        for one in questions()[0]
        for turn in range(3)
    ]
    train, tests = split_instances(instances, 4)
    assert len(tests) == len({one.asks for one in tests}) == 4
    assert not {one.asks for one in train} & {one.asks for one in tests}
    assert len(train) == len(instances) - 12


def test_items_that_would_all_be_tests():
    train, _ = questions()
    with pytest.raises(
        CulnigError, match="16 of 16 questions of 'tiny' are to be tests: give 1 to 15"
    ):
        split_instances(train, 16)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            lambda train, tests: ([], tests), "no instances to train on", id="nothing to train on"
        ),
        pytest.param(
            lambda train, tests: (train, [*tests, train[3]]),
            "instance tiny-3 of 'tiny' is to be trained on and test",
            id="a trained instance among the tests",
        ),
        pytest.param(
            lambda train, tests: (
                train, [*tests, dataclasses.replace(train[3], id="new", task="other")],
            ),
            "instance tiny-3 of 'tiny' is to be trained on and test",
            id="the same question of another task among the tests",
        ),
        pytest.param(
            lambda train, tests: (train, [dataclasses.replace(i, task="other") for i in tests]),
            "no test is of the trained task 'tiny': add some",
            id="tests of other tasks alone",
        ),
    ],
)  # fmt: skip
def test_instances_that_cannot_be_trained_on(tmp_path, given, message):
    train, tests = given(*questions())
    with pytest.raises(CulnigError, match=message):
        finetune(tiny.hf_model("llama"), tiny.tokenizer(), train, tests=tests, out=tmp_path)


def test_another_split_may_number_its_items_from_0_too():
    train, tests = questions()
    numbered = dataclasses.replace(tests[0], id="tiny-3", split="test")
    module.check_finetuning(train, [numbered], Training())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"steps": 0}, "steps is 0: give 1 or more", id="no steps"),
        pytest.param(
            {"accumulation": 3},
            "batch 4 is no multiple of accumulation 3",
            id="unequal parts of a batch",
        ),
        pytest.param(
            {"evaluate_every": 3},
            "steps 8 is no multiple of evaluate_every 3",
            id="a last step that is not evaluated",
        ),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, arguments, message):
    with pytest.raises(CulnigError, match=message):
        trained(tmp_path, **arguments)


def test_several_processes_do_not_train(tmp_path, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(CulnigError, match="in one process: start it without torchrun"):
        trained(tmp_path)


def test_other_settings_in_the_same_folder(tmp_path):
    trained(tmp_path, steps=1, evaluate_every=1)
    with pytest.raises(CulnigError, match="was made with steps = 1, this asks for 2"):
        trained(tmp_path, steps=2, evaluate_every=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small finished run."""
    with pytest.MonkeyPatch.context() as patch:
        return byte_run(patch, Captured(), tmp_path_factory.mktemp("run"))


def asked(out):
    """The command that trains on paraphrases, but for which modules and how fast."""
    return [
        *("finetune", "--run", out, "--task", "paraphrase", "--steps", 2, "--batch", 2),
        *("--evaluate-every", 1, "--test-limit", 6, "--culture-limit", 4, "--share", 0.2),
    ]


@pytest.fixture(scope="module")
def finetuned(run):
    """What was said while the run's top modules and all were trained, at two rates."""
    command = [*asked(run), "--which", "top,all", "--learning-rates", "3e-5,1e-2"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        code, _, error = culnig(patch, Captured(), *command)
    assert code == 0, error
    return run / "finetune" / "paraphrase", said.getvalue()


def test_modules_of_a_run(monkeypatch, capsys, run):
    code, printed, error = culnig(monkeypatch, capsys, "modules", "--run", run, "--share", 0.2)
    assert code == 0, error
    assert "google/gemma-3-27b-it" in printed
    assert "layer0 attention" in printed


def test_modules_of_no_run(monkeypatch, capsys, tmp_path):
    code, _, error = culnig(monkeypatch, capsys, "modules", "--run", tmp_path)
    assert code == 1
    assert "holds no finished run" in error


def test_finetune_says_what_it_did_to_culture(finetuned):
    assert "culture" in finetuned[1]


def test_curves_of_every_choice_and_rate(finetuned):
    curves = pd.read_csv(finetuned[0] / "curves.csv")
    assert len(curves) == 2 * 2 * 3 * 2  # choices, rates, steps, tasks
    assert set(curves["which"]) == {"top", "all"}
    start = curves[curves["step"] == 0].groupby("task")["probability"]
    assert start.nunique().tolist() == [1, 1]


def test_the_report_says_which_modules_were_trained(run, finetuned):
    report = (run / "report.html").read_text()
    assert "Which modules to train" in report
    assert "<td>3e-05</td>" in report  # not rounded to 0


def test_a_trained_model_is_kept(finetuned):
    assert (finetuned[0] / "top-0.01-0" / "model" / "config.json").exists()


@pytest.mark.usefixtures("finetuned")
def test_more_is_added_to_what_is_there(monkeypatch, capsys, tmp_path, run):
    """In another order too; models need not stay."""
    out = shutil.copytree(run, tmp_path / "run")
    place = out / "finetune" / "paraphrase"
    before = (place / "top-0.01-0" / "scores.csv").stat().st_mtime_ns
    code, _, error = culnig(
        monkeypatch, capsys, *asked(out), "--which", "bottom,top", "--learning-rates", "1e-2",
        "--seeds", "0,1", "--no-keep-models",
    )  # fmt: skip
    assert code == 0, error
    assert (place / "top-0.01-0" / "scores.csv").stat().st_mtime_ns == before
    assert not (place / "bottom-0.01-1" / "model").exists()
    rows = pd.read_csv(place / "table.csv").set_index(["which", "learning_rate"])
    assert rows.loc[("bottom", 0.01), "seeds"] == 2
    assert rows.loc[("all", 0.01), "seeds"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            ["--which", "best"],
            "unknown choice 'best': choose from top, bottom, random, all",
            id="an unknown choice",
        ),
        pytest.param(
            ["--seeds", "a"],
            "--seeds has 'a', which is no number: give some, as 1,2",
            id="a seed that is no number",
        ),
        pytest.param(
            ["--steps", 4], "was made with steps = 2, this asks for 4", id="other steps than before"
        ),
        pytest.param(
            ["--test-limit", 80],
            "80 of 80 questions of 'paraphrase' are to be tests: give 1 to 79",
            id="nothing left to train on",
        ),
    ],
)
@pytest.mark.usefixtures("finetuned")
def test_finetune_refuses_in_one_line(monkeypatch, capsys, run, given, message):
    code, _, error = culnig(monkeypatch, capsys, *asked(run), *given)
    assert code == 1
    assert message in " ".join(error.split())


def qnli_rows(name="", config=None, *, split):
    """As `datasets.load_dataset` gives them."""
    return datasets.Dataset.from_list(
        [
            {"idx": i, "question": f"{split} {i}?", "sentence": f"{i}.", "label": i % 2}
            for i in range(9)
        ]
    )


WITH_CULTURE = Study(tests=("countryrc", "paraphrase"))


def test_what_is_trained_and_tested(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", qnli_rows)
    train, tests = finetune_data(
        WITH_CULTURE, "qnli", data=None, train_limit=6, test_limit=4, culture_limit=8
    )
    assert [i.split for i in train] == ["train"] * 6
    assert pd.Series([(i.task, i.split) for i in tests]).value_counts().to_dict() == {
        ("qnli", "test"): 4,
        ("everyday", "test"): 8,
    }


@pytest.mark.parametrize("whose", ["given", "the run's"])
def test_a_file_of_ones_own_is_divided(monkeypatch, tmp_path, whose):
    monkeypatch.setattr(datasets, "load_dataset", qnli_rows)
    study, given = WITH_CULTURE, tmp_path / "qnli.jsonl"
    qnli_rows(split="validation").to_json(given)
    if whose == "the run's":
        tests = (*study.tests, "qnli")
        study, given = dataclasses.replace(study, tests=tests, data={"qnli": str(given)}), None
    train, tests = finetune_data(
        study, "qnli", data=given, train_limit=0, test_limit=4, culture_limit=0
    )
    ids = [{i.id for i in part if i.task == "qnli"} for part in (train, tests)]
    assert [len(part) for part in ids] == [5, 4]
    assert not ids[0] & ids[1]


def test_what_is_trained_is_not_also_the_culture_that_is_watched():
    _, tests = finetune_data(
        WITH_CULTURE, "everyday", data=None, train_limit=0, test_limit=4, culture_limit=8
    )
    assert {i.task for i in tests} == {"everyday"}


def test_table_takes_the_kept_step():
    rows = [
        ("top", 0.1, seed, step, task, accuracy, -1.0 - step, step == 2, 7, "qnli", 10)
        for seed, gain in ((0, 10.0), (1, 20.0))
        for step in (0, 1, 2)
        for task, accuracy in (("qnli", 50 + gain * step), ("blend", 40 - step), ("normad", 20.0))
    ]
    names = "which learning_rate seed step task accuracy nats kept neurons trained items".split()
    table = finetune_table(pd.DataFrame(rows, columns=names))
    row = table.loc[("top", 0.1)]
    assert (row["seeds"], row["neurons"], row["step"]) == (2, 7, 2)
    assert (row["task_start"], row["task"], row["task_sd"]) == (50, 80, 10)
    assert (row["culture_start"], row["culture"], row["culture_sd"]) == (30, 29, 0)
    assert row["culture_nats"] == -2


def test_training_memory():
    """12.2 billion and so on; 16 bytes a trained weight, 2 a frozen one, 2 in the copy."""
    memory = training_memory(0.1)
    assert len(memory) == 6
    row = memory.loc["meta-llama/Llama-3.1-8B-Instruct"]
    assert row["parameters"] == pytest.approx(8.03e9, rel=0.001)
    assert row["all"] == pytest.approx(18 * 8.03e9 / 2**30, rel=0.001)
    assert row["share"] == pytest.approx((0.9 * 2 + 0.1 * 16 + 2) * 8.03e9 / 2**30, rel=0.001)
