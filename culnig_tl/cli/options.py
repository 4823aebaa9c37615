"""Options that commands share: their types, and the help text beside them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from culnig_tl.cli.terminal import path_of
from culnig_tl.models import choices
from culnig_tl.neurons import scores
from culnig_tl.neurons.scores import TARGETS
from culnig_tl.tasks import TASKS

MODEL_HELP = "gemma-3-270m (embedded), a name on the Hugging Face Hub, or a folder."


CLASS_HELP = "auto, HookedTransformer or TransformerBridge (TransformerLens)."


DTYPE_HELP = "float32, bfloat16, float16 or float64."


TASK_HELP = f"One of {', '.join(TASKS)}."


FORMAT_HELP = "cloze, letter, or auto: letter with a chat template."


DEVICES_HELP = "Over how many GPUs the model is spread."


BUDGET_HELP = "Tokens in a batch; default: what fits into the free memory."


TOP_MLP_HELP = "Share of gate neurons to keep (t_MLP)."


TOP_ATTENTION_HELP = "Share of q, k, v neurons to keep (t_attn)."


REMOVE_HELP = "Share removed by CountryRC score (r)."


VARIANT_HELP = "Reduction over positions: max, mean or norm."


TARGET_HELP = f"What is differentiated: {', '.join(TARGETS)}; by default the scores' first."


FACTOR_HELP = "Multiply the neurons' activations: 0 masks."


TRUST_HELP = "Run code that comes with the model; to be said with every command."


def path_option(help: str, *names: str) -> Any:
    """An option for a file or a folder."""
    return typer.Option(*names, help=help, metavar="PATH", parser=path_of)


Model = Annotated[str, typer.Option(help=MODEL_HELP)]


# A text that is none of the choices reaches the package's own message, not the parser's.
ModelClass = Annotated[
    choices.ModelClass, typer.Option(help=CLASS_HELP, parser=str, metavar="TEXT")
]


Dtype = Annotated[choices.Dtype, typer.Option(help=DTYPE_HELP, parser=str, metavar="TEXT")]


Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: what there is.")]


Devices = Annotated[int, typer.Option(help=DEVICES_HELP)]


TaskName = Annotated[str, typer.Option(help=TASK_HELP)]


Data = Annotated[
    Path | None, path_option("Local file or folder of the task; default: bundled or the Hub.")
]


Countries = Annotated[
    str | None, typer.Option(help="Comma-separated, such as 'China,Iran,US'; default: all.")
]


Format = Annotated[
    choices.AnswerFormat,
    typer.Option("--format", help=FORMAT_HELP, parser=str, metavar="TEXT"),
]


Limit = Annotated[int, typer.Option(min=0, help="At most so many instances; 0: all.")]


Budget = Annotated[int | None, typer.Option(help=BUDGET_HELP)]


Out = Annotated[Path, path_option("Where the result goes.")]


Templates = Annotated[Path | None, path_option("JSON file of prompt templates.")]


TopMlp = Annotated[float, typer.Option(help=TOP_MLP_HELP)]


TopAttention = Annotated[float, typer.Option(help=TOP_ATTENTION_HELP)]


Remove = Annotated[float, typer.Option(help=REMOVE_HELP)]


Variant = Annotated[scores.Variant, typer.Option(help=VARIANT_HELP, parser=str, metavar="TEXT")]


Target = Annotated[scores.Target | None, typer.Option(help=TARGET_HELP, parser=str, metavar="TEXT")]


Factor = Annotated[float, typer.Option(help=FACTOR_HELP)]


Trust = Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)]


RunFolder = Annotated[Path, path_option("The folder of a finished run.", "--run")]
