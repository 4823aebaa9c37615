"""The token view: a prompt's tokens coloured by a neuron set's score, layer by layer."""

import re

import torch
from circuitsvis.tokens import colored_tokens_multi

from culnig_tl.errors import CulnigError
from culnig_tl.local_html import LocalHTML
from culnig_tl.measure.taylor import position_shares
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.instances import Instance


def token_attribution(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    answer_format: AnswerFormat = "auto",
) -> LocalHTML:
    """Each token coloured by the set's score there: the sum of n dP/dn over its neurons, over P.

    So 0.1 at a token says, by first order, that a tenth of P(y|x) hangs on the set there.

    The layer is chosen from a list that begins with all layers together and has those in which
    the set has neurons. Drawn by circuitsvis from its own bundled script: about 1.3 MB.

    Raises:
        CulnigError: an empty set, or one of another model.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> page = token_attribution(model, instances[0], few)  # a notebook shows it
        >>> "lunch" in page
        True
    """
    if not len(neurons):
        raise CulnigError(f"the set {neurons.name!r} is empty: there is nothing to colour")
    tokenizer = tokenizer_of(model)
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    shares, _ = position_shares(model, prompt, neurons)
    scores = torch.from_numpy(shares)
    layers = torch.tensor(neurons.frame()["layer"].to_list())
    found = sorted(set(layers.tolist()))
    columns = [scores.sum(dim=0)] + [scores[layers == layer].sum(dim=0) for layer in found]
    view = colored_tokens_multi(
        prompt.texts(tokenizer),
        torch.stack(columns, dim=1).float(),
        labels=["all layers", *(f"layer {layer}" for layer in found)],
    )
    return LocalHTML(_closed(view.local_src))


def _closed(html: str) -> str:
    """circuitsvis's HTML, in which a token may be anything, `</script>` too."""
    # Its <div .../> is no closed element in HTML: what follows would be drawn into it.
    html = html.replace('0;"/>', '0;"></div>', 1)
    # The second place of the random name is behind the bundled script, before the tokens (JSON).
    found = re.match(r'<div id="(circuits-vis-[^"]+)"', html)
    assert found is not None
    before, name, after = html.rpartition(found[1])
    data, end, rest = after.rpartition("</script>")
    return before + name + data.replace("<", r"\u003c") + end + rest
