"""Gradients at hook points: what one backward pass hands over, for each layer and site."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.hooks import hooked
from culnig_tl.neurons.layout import ATTENTION_SITES, Key, hook_name


@contextlib.contextmanager
def gradient_hooks(
    model: HookedModel,
    points: Mapping[Key, str],
    use: Callable[[Key, Tensor, Tensor], None],
) -> Iterator[None]:
    """Within the `with`, a backward pass hands `use` each (layer, site)'s activation and gradient.

    `points` are the hook points to take them from (`estimate_points`). Both are [batch, pos, ...]
    as the hook point has them; nothing is kept of them afterwards. The weights may be frozen: the
    gradient's path begins at the first block's q, k and v, before which no neuron lies.

    Raises:
        CulnigError: a hook did not fire exactly once by the end of the `with`.
    """
    activations: dict[Key, Tensor] = {}
    fired = dict.fromkeys(points, 0)

    def begin_path(activation: Tensor, hook: Any) -> Tensor:
        return activation.detach().requires_grad_()

    def capture(key: Key) -> Any:
        def forward_hook(activation: Tensor, hook: Any) -> None:
            activations[key] = activation.detach()

        return forward_hook

    def hand_over(key: Key) -> Any:
        def backward_hook(gradient: Any, hook: Any) -> None:
            gradient = gradient[0] if isinstance(gradient, tuple) else gradient
            use(key, activations.pop(key), gradient)
            fired[key] += 1

        return backward_hook

    forward = [(hook_name(0, site), begin_path) for site in ATTENTION_SITES]
    with (
        warnings.catch_warnings(),
        hooked(
            model,
            forward + [(name, capture(key)) for key, name in points.items()],
            bwd_hooks=[(name, hand_over(key)) for key, name in points.items()],
        ),
    ):
        # As intended at the first block, whose inputs need no gradient.
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        yield
    silent = [points[key] for key, times in fired.items() if times != 1]
    if silent:
        raise CulnigError(
            f"hook {silent[0]} did not fire once in a backward pass: this model class and "
            "version of transformer-lens cannot be attributed"
        )
