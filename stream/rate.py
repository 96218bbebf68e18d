"""How many a second, right from the second one on."""

from __future__ import annotations

import threading
from collections import deque

WINDOW_NS = 2_000_000_000


class Rate:
    """Counts marks in a sliding window of two seconds. Marked by one thread, read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: deque[int] = deque()

    def mark(self, now_ns: int) -> None:
        with self._lock:
            self._marks.append(now_ns)
            # Two are kept whatever their age: a source of one frame in ten seconds has a rate too.
            while len(self._marks) > 2 and now_ns - self._marks[0] > WINDOW_NS:
                self._marks.popleft()

    def per_second(self, now_ns: int) -> float | None:
        """Intervals a second over the window; sinks when the next mark is overdue. None before two marks."""
        with self._lock:
            if len(self._marks) < 2:
                return None
            marks = tuple(self._marks)
        intervals, span_ns, silent_ns = len(marks) - 1, marks[-1] - marks[0], now_ns - marks[-1]
        if silent_ns > 2 * span_ns / intervals:  # overdue: what is left in a window that ends now
            start_ns = max(marks[0], now_ns - WINDOW_NS)
            left = sum(mark > start_ns for mark in marks)
            return max(left * 1e9 / (now_ns - start_ns), 1e9 / silent_ns)
        return intervals * 1e9 / span_ns if span_ns else None
