"""A short soak: each fault once, and everything is as it was before."""

from __future__ import annotations

import pytest

from tests.soak import soak


@pytest.mark.slow
def test_forty_seconds_of_faults_leave_no_trace() -> None:
    report = soak(seconds=40, every_s=3, sample_s=1)
    assert report.flat, report.markdown() + report.said
    assert set(report.soak.done) == set(report.soak.faults())
