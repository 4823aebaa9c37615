"""Fine-tuning: chosen modules trained on a task, culture watched (section 4.5)."""

import copy
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from culnig_tl.analysis.evaluations import (
    chance_of,
    metric_values,
    read_evaluation,
    write_evaluation,
)
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_json
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.adapters import need_peft
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
from culnig_tl.resampling import question_numbers
from culnig_tl.tasks.instances import Instance, content_hash
from culnig_tl.training.curves import TRAINING, step_file
from culnig_tl.training.modules import ModuleSet, module_weights
from culnig_tl.training.settings import DEFAULT_TRAINING, Training
from culnig_tl.training.weights import weight_hashes

_WRITTEN = ("model", "checkpoints", "evaluations", "result.json", "scores.csv")
# What finetune.json notes: what the result depends on, but for rounding.
_NOTED = ("learning_rate", "seed", "steps", "batch", "evaluate_every", "lora")
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
    training: Training = DEFAULT_TRAINING,
    answer_format: AnswerFormat = "auto",
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
        training: the learning rate, steps and so on.
        answer_format: as `evaluate`.
        name, model_class, device: as `wrap_model`.
        start: the evaluation of `tests` before training, where it is at hand.

    Returns:
        One row a step (0 is before training) and task: items, accuracy and mean probability of
        the answer in percent, and whether it is the kept step.

    Raises:
        CulnigError: an instance in both, no test of the training task, bad arguments, `out`
            holds another fine-tuning, peft is missing, frozen weights changed, or a loss or
            log-probability that is NaN or infinite.

    Example:
        `folder` holds a tiny model, and `work` is a folder to write to.

        >>> train, tests = split_instances(load_task("paraphrase", "test", limit=8), 4)
        >>> hf_model, tokenizer = load_hf_model(folder)
        >>> training = Training(steps=1, batch=2, evaluate_every=1)
        >>> scores = finetune(
        ...     hf_model, tokenizer, train, tests=tests, out=work, training=training
        ... )
        >>> scores["items"].to_dict()
        {(0, 'paraphrase'): 4, (1, 'paraphrase'): 4}
    """
    check_device(device)
    check_finetuning(train, tests, training)
    out = Path(out)
    kinds = {"modules": None if modules is None else [str(m) for m in modules.modules]}
    arguments = kinds | {
        **{name: getattr(training, name) for name in _NOTED},
        "answer_format": answer_format,
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
        file = step_file(out, step)
        if not file.exists():
            plain = _plain_copy(model, dtypes)
            hooked = wrap_model(plain, tokenizer, name=name, model_class=model_class, device=device)
            write_evaluation(evaluate(hooked, tests, answer_format=answer_format), file)
        frame = read_evaluation(file)
        return 100 * float(frame.loc[frame["task"] == task, "correct"].mean())

    dtype = hf_model.dtype
    dtypes = {name: weight.dtype for name, weight in hf_model.named_parameters()}
    if start is not None:
        write_evaluation(start, step_file(out, 0))
    measure(hf_model, 0)
    before = weight_hashes(hf_model)
    transformers.set_seed(training.seed)
    if training.gradient_checkpointing:
        # Two names: transformers renames it for version 6.
        enable = getattr(hf_model, "activation_checkpointing_enable", None)
        (enable or hf_model.gradient_checkpointing_enable)({"use_reentrant": False})
    trained, model = _trainable(hf_model, modules, training.lora)
    trainer = _Trainer(
        model=model,
        args=_training_arguments(out / "checkpoints", training, dtype=dtype, device=device),
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
    scores = _scores(out, training, best=best)
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
    folder: Path, training: Training, *, dtype: torch.dtype, device: str
) -> TrainingArguments:
    cuda = device.startswith("cuda")
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch // training.accumulation,
        gradient_accumulation_steps=training.accumulation,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        optim="adamw_torch",
        seed=training.seed,
        data_seed=training.seed,
        bf16=dtype == torch.bfloat16 or (cuda and torch.cuda.is_bf16_supported()),
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        eval_strategy="steps",
        eval_steps=training.evaluate_every,
        save_strategy="steps",
        save_steps=training.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        greater_is_better=True,
        logging_steps=max(1, min(10, training.steps // 20)),
        logging_nan_inf_filter=False,  # it would put the mean of the other losses in its place
        report_to=training.report_to,
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


def _with_adapters(hf_model: Any, matrices: Sequence[str], rank: int) -> Any:
    peft = need_peft()
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


def _scores(out: Path, training: Training, *, best: int) -> pd.DataFrame:
    rows = []
    for step in range(0, training.steps + 1, training.evaluate_every):
        frame = read_evaluation(step_file(out, step))
        for task, part in frame.groupby("task", sort=False):
            rows.append(
                {
                    "step": step,
                    "task": task,
                    "items": len(part),
                    "questions": len(set(question_numbers(part))),
                    "chance": chance_of(part),
                    "accuracy": metric_values(part, "correct").mean(),
                    "probability": metric_values(part, "probability").mean(),
                    "nats": metric_values(part, "nats").mean(),
                    "kept": step == best,
                }
            )
    return pd.DataFrame(rows).set_index(["step", "task"])


def _place(instance: Instance) -> tuple[str, str, str]:
    """Where its question stands: two splits number theirs from 0."""
    return instance.task, instance.split, instance.question_key


def check_finetuning(
    train: Sequence[Instance], tests: Sequence[Instance], training: Training
) -> None:
    """Refuse what `finetune` could not do with these, before a model is loaded.

    Raises:
        CulnigError: as `finetune`, or there are several processes.
    """
    if process_count() > 1:
        raise CulnigError("fine-tuning runs in one process: start it without torchrun")
    if training.lora:
        need_peft()
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
