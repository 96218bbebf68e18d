"""What the server tells of itself under /metrics. A file of its own, as MLServer loads the runtime's twice.

Not MLServer's own `register`: without parallel workers its metrics are in a registry that nobody is shown.
"""

from __future__ import annotations

from prometheus_client import Summary

PICTURES_IN_BATCH = Summary("pictures_in_batch", "Pictures that the model was given at once")
