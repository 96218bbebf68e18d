"""The requests of test_fuzz.py as figures."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.benchmark.table import Row
from tests.test_fuzz import COUNT, PARALLEL, is_documented, left, made_up, told
from tests.viewer import ask, labelcam, wait_for


def rows() -> list[Row]:
    with labelcam("--port", "0", "--source", "demo:") as running:
        address = running.address
        wait_for(lambda: ask(address, "/readyz").status == 200)

        def sent(numbers: range) -> list[int]:
            """How many answers were a 5xx, or had a traceback in them; and how many had no status."""
            with ThreadPoolExecutor(PARALLEL) as threads:
                answers = list(threads.map(lambda number: told(address, made_up(number)), numbers))
            bad = sum(
                (answer.status >= 500 and not is_documented(answer)) or b"Traceback" in answer.body
                for answer in answers
            )
            return [bad, sum(not answer.status for answer in answers)]

        sent(range(200))  # what is made once is no leak
        time.sleep(2)
        threads, descriptors = left(running)
        bad, unanswered = sent(range(COUNT))
        wait_for(lambda: ask(address, "/api/state").json["stream"]["viewers"] == 0)
        time.sleep(2)
        threads_now, descriptors_now = left(running)
        bad += running.errors.count("Traceback")
    return [
        Row("fuzzed requests: 5xx that are not documented, and tracebacks", bad, "", "", None, 0.0, n=COUNT),
        Row("the same: closed without an answer", unanswered, "", "", None, None, n=COUNT),
        Row("the same: threads more than before", threads_now - threads, "", "", None, 0.0),
        Row("the same: descriptors more than before", descriptors_now - descriptors, "", "", None, 0.0),
    ]
