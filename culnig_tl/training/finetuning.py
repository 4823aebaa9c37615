"""Fine-tuning: chosen modules trained on a task, culture watched (section 4.5)."""

import copy
import logging
import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from datasets import Dataset
from transformers import Trainer, TrainingArguments, integrations
from transformers.trainer_utils import get_last_checkpoint

from culnig_tl.analysis.evaluations import metric_values, read_evaluation, write_evaluation
from culnig_tl.checks import SEED_MOST, check_choice, check_count, check_number
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_json
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.batches import pad_batch
from culnig_tl.models.choices import AnswerFormat, ModelClass
from culnig_tl.models.configs import most_positions
from culnig_tl.models.devices import check_device, default_device
from culnig_tl.models.hf_files import copy_processor_files
from culnig_tl.models.identity import weights_in
from culnig_tl.models.loading import save_hf_model
from culnig_tl.models.prompts import Prompt, check_lengths, make_prompts
from culnig_tl.models.wrapping import wrap_model
from culnig_tl.paths import check_own_folder
from culnig_tl.processes import process_count
from culnig_tl.provenance import note_arguments, package_versions, sha256_of
from culnig_tl.tasks.instances import Instance, content_hash, stable_random
from culnig_tl.training.curves import TRAINING
from culnig_tl.training.modules import ModuleSet, module_weights
from culnig_tl.training.weights import weight_hashes

_WRITTEN = ("model", "checkpoints", "evaluations", "result.json", "scores.csv")


IGNORED = -100  # a label that does not count in the loss


_log = logging.getLogger(__name__)


def finetune(
    hf_model: transformers.PreTrainedModel,
    tokenizer: Any,
    train: Sequence[Instance],
    *,
    tests: Sequence[Instance],
    out: str | Path,
    modules: ModuleSet | None = None,
    learning_rate: float = 3e-5,
    seed: int = 0,
    steps: int = 600,
    batch: int = 16,
    evaluate_every: int = 200,
    answer_format: AnswerFormat = "auto",
    lora: int = 0,
    accumulation: int = 1,
    gradient_checkpointing: bool = False,
    report_to: str = "none",
    name: str | None = None,
    model_class: ModelClass = "auto",
    device: str | None = None,
    start: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Train some modules of a model to answer a task, with Hugging Face's Trainer.

    The loss is that of the right answer's tokens alone, in the wording and format in which
    `evaluate` asks. AdamW, the learning rate falls linearly to 0. Every `evaluate_every` steps and
    at the end a hooked copy of the model answers `tests`; the step with the highest accuracy on
    the training task's instances among them is kept. Trained weights are held in float32, the
    others as they come; in bfloat16 where the model or the device has it, products are too.

    Into `out`: `model`, a Hugging Face folder that `load_model` takes; `evaluations`, one CSV a
    step; scores.csv; result.json with arguments, versions, losses, seconds, and the SHA-256 of
    the frozen and of the trained weights before and after. What was interrupted goes on from its
    last evaluation; what is finished is read.

    Args:
        hf_model: as `load_hf_model` gives it; trained in place.
        train, tests: no instance may be in both. `tests` holds some of the training task.
        modules: of `select_modules`; None trains all parameters.
        batch: instances in a step; a device holds `batch / accumulation` at a time.
        lora: rank of low-rank adapters in place of the matrices themselves (needs peft); 0: none.
        report_to: as the Trainer knows it.
        name, model_class, device: as `wrap_model`.
        start: the evaluation of `tests` before training, where it is at hand.

    Returns:
        One row a step (0 is before training) and task: items, accuracy and mean probability of
        the answer in percent, and whether it is the kept step.

    Raises:
        CulnigError: an instance in both, no test of the training task, bad arguments, `out`
            holds another fine-tuning, peft is missing, frozen weights changed, or a loss or
            log-probability that is NaN or infinite.
    """
    check_learning_rate(learning_rate)
    check_count("seed", seed, most=SEED_MOST)
    check_settings(
        steps, batch, evaluate_every, lora=lora, accumulation=accumulation, report_to=report_to
    )
    check_device(device)
    check_finetuning(
        train,
        tests,
        steps,
        batch=batch,
        accumulation=accumulation,
        evaluate_every=evaluate_every,
        lora=lora,
    )
    out = Path(out)
    kinds = {"modules": None if modules is None else [str(m) for m in modules.modules]}
    arguments = kinds | {
        "learning_rate": learning_rate,
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "evaluate_every": evaluate_every,
        "answer_format": answer_format,
        "lora": lora,
        "weights": weights_in(hf_model, tokenizer=tokenizer),
        "train": {"instances": len(train), "hash": content_hash(list(train))},
        "tests": {"instances": len(tests), "hash": content_hash(list(tests))},
    }
    check_own_folder(out, "finetune.json", ours=_WRITTEN)
    note_arguments(out / "finetune.json", arguments)
    if (out / "scores.csv").exists():
        return read_frame(out / "scores.csv", TRAINING).set_index(["step", "task"])
    began = time.monotonic()
    task = train[0].task
    tokenised = make_prompts(tokenizer, train, answer_format=answer_format)
    lengths = [(f"instance {p.instance.id}", len(p.tokens) + len(p.label)) for p in tokenised]
    lengths += [
        (f"instance {p.instance.id}", p.longest)
        for p in make_prompts(tokenizer, tests, answer_format=answer_format)
    ]
    check_lengths(most_positions(hf_model.config), lengths)
    device = device or default_device()

    def measure(model: Any, step: int) -> float:
        file = out / "evaluations" / f"step-{step}.csv"
        if not file.exists():
            plain = _plain_copy(model, dtypes)
            hooked = wrap_model(plain, tokenizer, name=name, model_class=model_class, device=device)
            write_evaluation(evaluate(hooked, tests, answer_format=answer_format), file)
        frame = read_evaluation(file)
        return 100 * float(frame.loc[frame["task"] == task, "correct"].mean())

    dtype = hf_model.dtype
    dtypes = {name: weight.dtype for name, weight in hf_model.named_parameters()}
    if start is not None:
        write_evaluation(start, out / "evaluations" / "step-0.csv")
    measure(hf_model, 0)
    before = weight_hashes(hf_model)
    transformers.set_seed(seed)
    if gradient_checkpointing:
        # Two names: transformers renames it for version 6.
        enable = getattr(hf_model, "activation_checkpointing_enable", None)
        (enable or hf_model.gradient_checkpointing_enable)({"use_reentrant": False})
    trained, model = _trainable(hf_model, modules, lora)
    trainer = _Trainer(
        model=model,
        args=_training_arguments(
            out,
            dtype,
            device,
            learning_rate=learning_rate,
            seed=seed,
            steps=steps,
            batch=batch,
            evaluate_every=evaluate_every,
            accumulation=accumulation,
            report_to=report_to,
        ),
        train_dataset=Dataset.from_list([_row(prompt) for prompt in tokenised]),
        eval_dataset=Dataset.from_dict({"id": [i.id for i in tests]}),  # its presence, no more
        data_collator=_collator(tokenizer),
    )
    trainer.measure = measure
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_Bar())
    last = get_last_checkpoint(str(out / "checkpoints")) if (out / "checkpoints").exists() else None
    trainer.train(resume_from_checkpoint=last)
    best = trainer.state.best_global_step or trainer.state.global_step
    final = _plain_copy(model, dtypes)
    after = weight_hashes(final)
    changed = [n for n in before if n not in trained and before[n] != after[n]]
    if changed:
        raise CulnigError(f"frozen weights changed, {changed[0]} first: this must not happen")
    save_hf_model(final, tokenizer, out / "model", replace=True)
    copy_processor_files(hf_model, out / "model")
    scores = _scores(out, best)
    result = {
        "arguments": arguments,
        "versions": package_versions(),
        "best_step": best,
        "seconds": time.monotonic() - began,
        "losses": [[e["step"], e["loss"]] for e in trainer.state.log_history if "loss" in e],
        "weights": {
            kind: {
                "count": len(names),
                "before": sha256_of({n: before[n] for n in names}),
                "after": sha256_of({n: after[n] for n in names}),
            }
            for kind, names in (
                ("trained", sorted(trained)),
                ("frozen", sorted(set(before) - set(trained))),
            )
        },
        "trained": sorted(trained),
    }
    write_json(out / "result.json", result)
    write_frame(scores, out / "scores.csv", index=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return scores


def split_instances(
    instances: Sequence[Instance], tests: int
) -> tuple[list[Instance], list[Instance]]:
    """Instances to train on and `tests` items to test on, drawn by a stable hash.

    Raises:
        CulnigError: nothing would be left to train on.
    """
    items = list(dict.fromkeys(_item(i) for i in instances))
    if not 0 < tests < len(items):
        raise CulnigError(
            f"{tests} of {len(items)} items of {instances[0].task!r} are to be tests: give 1 to "
            f"{len(items) - 1}, so that some are left to train on"
        )
    drawn = sorted(items, key=lambda item: stable_random("divide", item).random())
    kept = set(drawn[:tests])
    train = [i for i in instances if _item(i) not in kept]
    return train, [i for i in instances if _item(i) in kept]


class _Trainer(Trainer):
    """Hugging Face's, but for what an evaluation is."""

    measure: Any

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        loss = logs.get("loss", 0.0)
        if not math.isfinite(loss):
            raise CulnigError(
                f"the loss at step {self.state.global_step} is {loss}: lower learning_rate "
                f"({self.args.learning_rate:g}), or use dtype float32"
            )
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = {"eval_accuracy": self.measure(self.model, self.state.global_step)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class _Bar(transformers.ProgressCallback):
    """Hugging Face's progress bar, without a line for each logged loss."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        pass


def _training_arguments(
    out: Path,
    dtype: torch.dtype,
    device: str,
    *,
    learning_rate: float,
    seed: int,
    steps: int,
    batch: int,
    evaluate_every: int,
    accumulation: int,
    report_to: str,
) -> TrainingArguments:
    cuda = device.startswith("cuda")
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=batch // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        optim="adamw_torch",
        seed=seed,
        data_seed=seed,
        bf16=dtype == torch.bfloat16 or (cuda and torch.cuda.is_bf16_supported()),
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        logging_steps=max(1, min(10, steps // 20)),
        logging_nan_inf_filter=False,  # it would put the mean of the other losses in its place
        report_to=report_to,
        disable_tqdm=True,  # there is a bar of our own
    )


def _trainable(hf_model: Any, modules: ModuleSet | None, lora: int) -> tuple[list[str], Any]:
    """The names of the weights that will change, and the model with all others frozen."""
    weights = module_weights(hf_model)
    if modules is None:
        names = [n for n, _ in hf_model.named_parameters() if "vision" not in n]
        matrices = [n for part in weights.values() for n in part]
    else:
        names = [n for m in modules.modules for n in weights[m.layer, m.kind]]
        matrices = names
    if lora:
        return matrices, _with_adapters(hf_model, matrices, lora)
    chosen = set(names)
    for name, weight in hf_model.named_parameters():
        weight.requires_grad_(name in chosen)
        if name in chosen:  # steps of 1e-5 vanish in bfloat16
            weight.data = weight.data.float()
    return names, hf_model


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise CulnigError("lora needs the package peft: pip install 'culnig-tl[lora]'") from error
    return peft


def _with_adapters(hf_model: Any, matrices: Sequence[str], rank: int) -> Any:
    peft = _peft()
    targets = [name.removesuffix(".weight") for name in matrices if name.endswith(".weight")]
    return peft.get_peft_model(
        hf_model,
        peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM"),
    )


def _plain_copy(model: Any, dtypes: Mapping[str, torch.dtype]) -> Any:
    """A copy as an ordinary Hugging Face model: adapters merged, nothing of the Trainer in it."""
    plain = copy.deepcopy(model)
    for patched in ("forward", "_original_forward"):  # what mixed precision puts around it
        vars(plain).pop(patched, None)
    if hasattr(plain, "merge_and_unload"):
        plain = plain.merge_and_unload()
    for name, weight in plain.named_parameters():  # of buffers, some are float32 in any model
        weight.data = weight.data.to(dtypes[name])
    return plain


def _row(prompt: Prompt) -> dict[str, list[int]]:
    return {"prompt": list(prompt.tokens), "answer": list(prompt.label)}


def _collator(tokenizer: Any) -> Any:
    """Rows as a batch, padded on the left, so that all answers end where the batch ends.

    Only the logits from which answers are read are asked for: with a vocabulary of 262,144 the
    others would cost more than the rest of the model.
    """

    def collate(rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        sequences = [row["prompt"] + row["answer"] for row in rows]
        batch = pad_batch(sequences, range(len(rows)), tokenizer, device="cpu")
        # Each token is predicted one before it; the last position predicts nothing that counts.
        keep = 1 + max(len(row["answer"]) for row in rows)
        labels = torch.full((len(rows), keep), IGNORED)
        for label, row in zip(labels, rows, strict=True):
            label[keep - len(row["answer"]) :] = torch.tensor(row["answer"])
        return {
            "input_ids": batch.tokens,
            "attention_mask": batch.mask,
            "labels": labels,
            "logits_to_keep": keep,
            "use_cache": False,
        }

    return collate


def _scores(out: Path, best: int) -> pd.DataFrame:
    rows = []
    for file in (out / "evaluations").glob("step-*.csv"):
        step = int(file.stem.removeprefix("step-"))
        frame = read_evaluation(file)
        for task, part in frame.groupby("task", sort=False):
            rows.append(
                {
                    "step": step,
                    "task": task,
                    "items": len(part),
                    "accuracy": metric_values(part, "correct").mean(),
                    "probability": metric_values(part, "probability").mean(),
                    "nats": metric_values(part, "nats").mean(),
                    "kept": step == best,
                }
            )
    return pd.DataFrame(rows).sort_values(["step"], kind="stable").set_index(["step", "task"])


def _item(instance: Instance) -> str:
    """The instance's item, whatever its template."""
    return re.sub(r"#\d+$", "", instance.id)


def _place(instance: Instance) -> tuple[str, str, str]:
    """Where its item stands: two splits number theirs from 0."""
    return instance.task, instance.split, _item(instance)


def check_learning_rate(rate: float) -> None:
    """Refuse a learning rate that is no number above 0 and up to 1.

    Raises:
        CulnigError: it is none.
    """
    check_number("learning rate", rate, least=0, most=1)
    if not rate:
        raise CulnigError("learning rate is 0, which trains nothing: give one such as 3e-5")


def check_settings(
    steps: int,
    batch: int,
    evaluate_every: int,
    *,
    lora: int,
    accumulation: int,
    report_to: str = "none",
) -> None:
    """Refuse settings of `finetune` that cannot be, before a model is loaded.

    Raises:
        CulnigError: one is out of its range or does not go with another, a package is missing, or
            there are several processes.
    """
    for what, value in (
        ("steps", steps), ("batch", batch), ("accumulation", accumulation),
        ("evaluate_every", evaluate_every),
    ):  # fmt: skip
        check_count(what, value, least=1)
    check_count("lora", lora)
    if batch % accumulation:
        raise CulnigError(
            f"batch {batch} is no multiple of accumulation {accumulation}: make it so"
        )
    if steps % evaluate_every:
        raise CulnigError(
            f"steps {steps} is no multiple of evaluate_every {evaluate_every}: make it so, or the "
            "last steps are not evaluated"
        )
    known = ("none", "all", *integrations.integration_utils.INTEGRATION_TO_CALLBACK)
    check_choice("report_to", report_to, known)
    if report_to not in ("none", "all", *integrations.get_available_reporting_integrations()):
        raise CulnigError(f"report_to {report_to!r} needs a package: pip install {report_to}")
    if process_count() > 1:
        raise CulnigError("fine-tuning runs in one process: start it without torchrun")


def check_finetuning(
    train: Sequence[Instance],
    tests: Sequence[Instance],
    steps: int,
    *,
    batch: int,
    accumulation: int,
    evaluate_every: int,
    lora: int = 0,
) -> None:
    """Refuse what `finetune` could not do with these; arguments as there.

    Raises:
        CulnigError: as `finetune`.
    """
    check_settings(steps, batch, evaluate_every, lora=lora, accumulation=accumulation)
    if lora:
        _peft()
    if not train:
        raise CulnigError("no instances to train on: load some first")
    task = train[0].task
    asked = {_place(i) for i in tests} | {i.cloze for i in tests}
    for instance in train:
        if _place(instance) in asked or instance.cloze in asked:
            raise CulnigError(
                f"instance {instance.id} of {instance.task!r} is to be trained on and tested: "
                "keep the two apart (split_instances)"
            )
    if task not in {i.task for i in tests}:
        raise CulnigError(f"no test is of the trained task {task!r}: add some, to keep the best")
