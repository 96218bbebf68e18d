"""`run.py doctor`: what is said to work was run, and for what does not work there is one command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stream.doctor import (
    Finding,
    as_json,
    examine,
    examine_disk,
    examine_packages,
    examine_port,
    required,
    tell,
)
from tests.viewer import ROOT


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "run.py", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_a_taken_port_is_found_and_another_one_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = examine_port(port)
    assert (found.state, found.name) == ("broken", f"port {port}")
    assert found.text == f"port {port} on 127.0.0.1 is taken"
    assert found.cure == f"choose another: --port {port + 1}"
    assert examine_port(port).state == "works"


def test_a_package_that_is_missing_is_found_with_the_file_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("# what it needs\nnumpy>=1\nno-such-package>=2,<3\n")
    (tmp_path / "requirements-report.txt").write_text("no-such-plots\n")
    (tmp_path / "requirements-dev.txt").write_text("no-such-tests\n")
    monkeypatch.setattr("stream.doctor.ROOT", tmp_path)
    found = {finding.name: finding for finding in examine_packages()}
    assert list(found) == ["numpy", "no-such-package", "no-such-plots"]
    assert [finding.state for finding in found.values()] == ["works", "broken", "absent"]
    assert found["no-such-package"].cure == f"{sys.executable} -m pip install -r requirements.txt"
    assert found["no-such-plots"].text == "not installed, optional: report"


def test_what_other_machines_need_is_not_missed_here() -> None:
    here = os.uname().machine
    text = (
        f"a>=1; platform_machine == '{here}'\nb[x]; platform_machine != '{here}'\nc ; python_version > '3'\n"
    )
    assert list(required(text.replace("'", '"'))) == ["a", "c"]


def test_a_full_disk_is_found(small_disk: Path) -> None:
    found = examine_disk(small_disk / "not" / "made" / "yet")
    assert found.state == "broken"
    assert found.text == "0 MB free"


def test_what_does_not_work_comes_with_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        Finding("python", "Python", "works", "3.11"),
        Finding("cameras", "/dev/video0", "broken", "it is in use", "end that first"),
    ]
    assert not tell(findings)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "python",
        "  ok  Python                      3.11",
        "",
        "cameras",
        "  NO  /dev/video0                 it is in use",
        "      -> end that first",
    ]
    assert tell(findings[:1])
    assert json.loads(as_json(findings))["works"] is False
    assert json.loads(as_json(findings[:1]))["works"] is True


def test_the_command_finds_what_is_here_and_fails_for_what_is_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = doctor("--json", "--port", str(taken.getsockname()[1]))
    assert (said.returncode, said.stderr) == (1, "")
    report = json.loads(said.stdout)
    assert report["works"] is False
    findings = report["findings"]
    areas = list(dict.fromkeys(finding["area"] for finding in findings))
    assert areas == ["python", "packages", "backends", "cameras", "gstreamer", "machine", "server"]
    assert [finding["area"] for finding in findings if finding["state"] == "broken"] == ["server"]
    for finding in findings:
        fine = finding["state"] in ("works", "is") or "only a Jetson" in finding["text"]
        assert fine or finding["cure"], finding
    backends = {finding["name"]: finding for finding in findings if finding["area"] == "backends"}
    assert backends["tflite"]["state"] == "works"
    assert backends["tflite"]["text"].startswith("litert ")


def test_it_examines_one_thing_after_the_other() -> None:
    """Somebody who waits for TensorFlow sees what is known already."""
    findings = examine(0, None)
    assert next(findings).name == "Python"
    findings.close()  # type: ignore[attr-defined]
