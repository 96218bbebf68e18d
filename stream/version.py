"""The version, as logs, pages and bug reports name it."""

__version__ = "0.1.0"
