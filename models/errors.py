"""The one error of this package."""


class ModelError(Exception):
    """A model, its file or its labels cannot be used. One line: what happened, what to type now."""
