"""What files of earlier versions call by another name: groups were countries there."""

from collections.abc import Mapping
from typing import Any

# Columns of a frame.
COLUMNS = {"country": "group"}
# Arguments of a study.
ARGUMENTS = {"countries": "groups", "countryrc": "name_filter"}
# What a study scores.
PARTS = {"countryrc": "names"}
# What a file of scores says of itself.
SCORES = {"countries": "groups"}


def named_now(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The content with today's names for its keys."""
    return {names.get(key, key): value for key, value in content.items()}
