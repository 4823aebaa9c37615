"""The step neurons: a page on which every neuron of a run's set shows what it does.

1. Facts are measured once and kept in `neurons/neurons.json`, for other tools too.
2. The page, `neurons/neurons.html`, is made from that file, with no model loaded.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from culnig_tl.checks import check_count, check_file_name
from culnig_tl.earlier import COLUMNS, named_now
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_text, write_atomically
from culnig_tl.local_html import LocalHTML
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.scores import Scores, Target, Variant
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.study.answered import answered_first
from culnig_tl.study.arguments import evaluation_budget
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import templates
from culnig_tl.tasks import TASKS
from culnig_tl.tasks.instances import Instance, content_hash

# Of prompts on which activations are looked at; the first of a run's scored ones.
PROMPTS = 800


def neurons_run(
    run: Run | str | Path,
    *,
    neurons: NeuronSet | None = None,
    texts: str | Path | None = None,
    prompts: int = 4,
    contexts: int = 3,
    trust_remote_code: bool = False,
) -> Path:
    """Write a page on the neurons of a finished run, and what it says as JSON.

    Args:
        run: a finished run, or its folder.
        neurons: which; None takes the culture-general set. Another set's page goes into a folder of
            its name.
        texts: a file of texts of your own, one a line, on which the neurons are looked at too.
        prompts: on how many test questions each neuron is really set to 0; 0 leaves that out.
        contexts: so many of each side.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        The page's file; `neurons.json` is beside it.

    Raises:
        CulnigError: not a finished run, a set of another model or an empty one, a file of texts
            that cannot be read or has none, or the page was made with other arguments.

    Example:
        `run` is a finished run of a tiny model.

        >>> neurons_run(run, prompts=1, contexts=1).name
        'neurons.html'
    """
    from culnig_tl.measure.neuron_facts import neuron_facts

    check_count("prompts", prompts)
    check_count("contexts", contexts, least=1)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    chosen = run.neurons if neurons is None else neurons
    require_same_model(chosen, run.neurons.layout)
    check_file_name("the set's name", chosen.name)
    if not len(chosen):
        raise CulnigError(f"the set {chosen.name!r} is empty: there is nothing to show")
    own_texts = [] if texts is None else read_texts(texts)
    study, data = run.study, run.own_data
    instances = data.neuron[:PROMPTS]
    asked = answered_first(run, data.tests[study.task])[:prompts]
    step = run.step(
        "neurons",
        part="" if neurons is None else chosen.name,
        prompts=prompts,
        contexts=contexts,
        texts=own_texts,
        instances=content_hash([*instances, *asked]),
        sets=set_hashes([chosen]),
    )

    def facts() -> str:
        found = neuron_facts(
            step.model,
            chosen,
            instances,
            scores=run.scores("neuron"),
            control=run.scores("control") if study.control else None,
            texts=own_texts,
            effects_on=asked,
            variant=study.variant,
            target=study.target,
            k=contexts,
            answer_format=study.answer_format,
            token_budget=evaluation_budget(study),
        )
        about = _about(
            run.about["model"]["name"],
            chosen,
            prompts=len(instances) + len(own_texts),
            questions=len(asked),
            group=TASKS[study.task].word,
        )
        return json.dumps({"about": about, "neurons": found}, ensure_ascii=False)

    content = json.loads(step.text("neurons.json", facts))
    page = neurons_html(content["about"], content["neurons"])
    file = step.folder / "neurons.html"
    write_atomically(file, lambda name: name.write_text(page, encoding="utf-8"))
    return file


def read_texts(path: str | Path) -> list[str]:
    """The lines of a file that are not blank.

    Raises:
        CulnigError: it cannot be read, or there is none.
    """
    texts = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not texts:
        raise CulnigError(f"{path} has no text: give one a line")
    return texts


def neuron_page(
    model: Any,
    scores: Scores,
    neuron: Neuron | tuple[int, str, int],
    *,
    instances: Sequence[Instance],
    control: Scores | None = None,
    texts: Sequence[str] = (),
    effects_on: Sequence[Instance] = (),
    variant: Variant = "max",
    target: Target | None = None,
    contexts: int = 3,
) -> LocalHTML:
    """One neuron's page, which a notebook shows: all of `neuron_facts`.

    Args:
        neuron: layer, site and index.
        instances, texts: the prompts on which it is looked at, and plain texts of your own.
        model, scores, control, effects_on, variant, target: as `neuron_facts`.
        contexts: so many of each side.

    Raises:
        CulnigError: the model has no such neuron, or as `neuron_facts`.

    Example:
        `model` is a tiny random one, `scores` what `attribute` found on `instances`.

        >>> page = neuron_page(model, scores, (1, "gate", 3), instances=instances)
        >>> "layer 1, gate 3" in page
        True
    """
    from culnig_tl.measure.neuron_facts import neuron_facts
    from culnig_tl.models.description import describe_model

    layer, site, index = neuron
    flat = scores.layout.flat_id(Neuron(layer, site, index))  # type: ignore[arg-type]
    name = f"layer {layer}, {site} {index}"
    one = NeuronSet(scores.layout, np.array([flat]), name)
    facts = neuron_facts(
        model,
        one,
        instances,
        scores=scores,
        control=control,
        texts=texts,
        effects_on=effects_on,
        variant=variant,
        target=target,
        k=contexts,
    )
    about = _about(
        describe_model(model)["name"],
        one,
        prompts=len(instances) + len(texts),
        questions=len(effects_on),
        group="group",
    )
    return LocalHTML(neurons_html(about, facts))


def _about(
    model: str, neurons: NeuronSet, *, prompts: int, questions: int, group: str
) -> dict[str, Any]:
    """What stands at the head of the page."""
    return {
        "model": model,
        "set": neurons.name,
        "neurons": len(neurons),
        "of": neurons.layout.total,
        "prompts": prompts,
        "questions": questions,
        "group": group,
    }


def neurons_html(about: Mapping[str, Any], facts: Sequence[Mapping[str, Any]]) -> str:
    """The page: facts as JSON within it, drawn by a script and circuitsvis's own bundled one."""
    about = {"group": "country", **about}  # before there were others
    facts = [_named_now(one) for one in facts]
    data = json.dumps({"about": about, "neurons": facts}, ensure_ascii=False)
    return (
        templates()
        .get_template("neurons-page.html")
        .render(
            about=about,
            # In a script nothing is markup but the end of the script.
            data=Markup(data.replace("<", "\\u003c")),
            circuitsvis=Markup(_circuitsvis()),
        )
    )


def _named_now(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A neuron's facts, those of an earlier version with today's names."""
    now = dict(facts)
    now["explained"] = named_now(facts["explained"], COLUMNS)
    for part in ("contexts", "effects"):
        now[part] = [named_now(one, COLUMNS) for one in facts[part]]
    return now


def _circuitsvis() -> str:
    """circuitsvis's bundled script, without the call that draws one view."""
    from circuitsvis.tokens import colored_tokens

    found = re.search(
        r"<script[^>]*>(.*)CircuitsVis\.render\(", colored_tokens(["a"], [0.0]).local_src, re.S
    )
    assert found is not None
    return found[1].replace("</script", "<\\/script")
