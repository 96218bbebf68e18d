"""The one error of this package."""


class ModelError(Exception):
    """A model, its file or its labels cannot be used. The message is one line: what happened, what to do now."""
