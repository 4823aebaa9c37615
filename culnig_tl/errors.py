"""The exception that a user's input can cause."""


class CulnigError(ValueError):
    """A mistake in what the user gave; the message is one line: what, where, and what to do.

    The command line prints the message alone, without a traceback.

    Example:
        >>> try:
        ...     load_task("dishes", "test")
        ... except CulnigError as error:
        ...     print(error)
        unknown task 'dishes': choose from everyday, blend, ...
    """


class EmptySelection(CulnigError):
    """A selection that keeps no neuron."""


class FlatRanking(EmptySelection):
    """A ranking in which all are equal, so that none can be selected."""
