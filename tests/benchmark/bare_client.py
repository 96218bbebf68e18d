"""A bare tritonclient, asking as fast as it is answered: python -m tests.benchmark.bare_client HOST:PORT S

Prints each round trip in microseconds, a line each.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import tritonclient.grpc as triton

MODEL, SHAPE = "efficientnet_lite0", (1, 224, 224, 3)


def main(address: str, seconds: str) -> None:
    client = triton.InferenceServerClient(address)
    asked = triton.InferInput("image", SHAPE, "UINT8")
    asked.set_data_from_numpy(np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8))
    wanted = [triton.InferRequestedOutput("scores")]
    until_s = time.monotonic() + float(seconds)
    trips_us = []
    while time.monotonic() < until_s:
        started_ns = time.monotonic_ns()
        client.infer(MODEL, [asked], outputs=wanted).as_numpy("scores")
        trips_us.append((time.monotonic_ns() - started_ns) // 1000)
    print("\n".join(map(str, trips_us)))


if __name__ == "__main__":
    main(*sys.argv[1:])
