"""What a model gives is a number, or refused by the name of what it was asked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from culnig_tl.errors import CulnigError


def check_finite(values: Tensor | Sequence[Tensor], names: Sequence[str], what: str) -> None:
    """Refuse NaN and infinity, as a model gives that overflows.

    A probability may be 0 in floating point while its logarithm is a number: check the logarithm.

    Args:
        values: [name, ...], or a tensor for each name.
        names: of what was asked, such as `instance blend-3`.
        what: what the values are, in the plural.

    Raises:
        CulnigError: a value is none; the message has the first such name.
    """
    if not names:
        return
    if isinstance(values, Tensor):
        finite = torch.isfinite(values.detach()).reshape(len(names), -1).all(dim=1)
    else:
        device = values[0].device
        finite = torch.stack([torch.isfinite(v.detach()).all().to(device) for v in values])
    if not bool(finite.all()):
        bad = names[int((~finite).nonzero()[0])]
        raise CulnigError(
            f"{bad}: its {what} are NaN or infinite; drop it, or use dtype float32 (if it is "
            "float32, the model's weights are damaged)"
        )
