"""The reference server of docs/serving.md: a runtime for MLServer, and what is told to it."""
