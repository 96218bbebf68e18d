"""Imports go down only, each heavy library has one door, and options are read in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = ["models", "backends", "stream", "run"]
"""Lowest first: a file imports its own layer and those before it."""

DOORS = {
    "ai_edge_litert": "backends/tflite.py",
    "tflite_runtime": "backends/tflite.py",
    "tensorflow": "backends/tensorflow.py",
    "keras": "backends/tensorflow.py",
    "jetson*": "backends/jetson_inference.py",
    "tensorrt": "backends/tensorrt.py",
    "cuda": "backends/tensorrt.py",
    "tritonclient": "backends/remote.py",
    "grpc": "backends/remote.py",
    "gi": "stream/gstreamer.py",
    "linuxpy": "stream/devices.py",
    "flask": "stream/server*.py",
    "werkzeug": "stream/server*.py",
    "waitress": "stream/server*.py",
    "prometheus_client": "stream/server*.py",
    "paho": "stream/mqtt.py",
    "argparse": "stream/cli.py",
    "pooch": "models/files.py",
    "matplotlib": "stream/compare_plots.py",
}
"""A library, and the only file that imports it."""

OPTIONS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "sys.argv", "sys.orig_argv"}
READS_OPTIONS = {"run.py", "stream/cli.py"}

SCRIPTS = ["models/*/export.py", "models/*/train.py"]
"""How a built-in model was made: commands with requirements of their own, imported by nobody."""


def is_script(name: str) -> bool:
    return any(fnmatch(name, script) for script in SCRIPTS)


def sources() -> dict[str, str]:
    paths = [ROOT / "run.py", *(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths if path.exists()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported, also inside functions and by `import_module("name")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if function in {"import_module", "__import__"}:
                yield str(node.args[0].value)


def options_read(tree: ast.AST) -> Iterator[str]:
    """`os.environ`, `sys.argv` and the like wherever they are read. Setting a variable is not reading."""
    modules = {"os": "os", "sys": "sys"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname: alias.name for alias in node.names if alias.asname}
    written: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            written.add(id(node.value))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func
            if isinstance(function, ast.Attribute) and function.attr == "setdefault":
                written.add(id(function.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in written:
            yield f"{modules.get(node.value.id, '')}.{node.attr}"
    yield from imports(tree)


def layer(name: str) -> int | None:
    """Of a path or of a dotted name; None if it is not ours."""
    first = name.removesuffix(".py").replace("/", ".").split(".")[0]
    return LAYERS.index(first) if first in LAYERS else None


def broken_rules(name: str, source: str) -> list[str]:
    """What this file may not do and does, in words."""
    tree = ast.parse(source)
    found = []
    own = layer(name)
    for imported in imports(tree):
        other = layer(imported)
        if own is not None and other is not None and other > own:
            found.append(f"{name} imports {imported}, a layer above its own")
        if is_script(name):
            continue
        parts = imported.split(".")
        for library, door in DOORS.items():
            if fnmatch(parts[0], library) and not fnmatch(name, door):
                found.append(f"{name} imports {imported}, which only {door} may")
        if any(is_script("/".join(parts[:count]) + ".py") for count in range(len(parts) + 1)):
            found.append(f"{name} imports {imported}, which is a command")
    if name not in READS_OPTIONS and not is_script(name):
        found += [f"{name} reads {option}" for option in options_read(tree) if option in OPTIONS]
    return found


def test_the_rules_look_at_every_layer() -> None:
    assert {layer(name) for name in sources()} == set(range(len(LAYERS)))


def test_no_file_breaks_a_rule() -> None:
    assert [rule for name, source in sources().items() for rule in broken_rules(name, source)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("models/scores.py", "import backends"),
        ("models/scores.py", "from stream.frames import Frame"),
        ("models/efficientnet_lite0/export.py", "from backends.tflite import TFLiteBackend"),
        ("backends/base.py", "def late():\n    from stream import frames"),
        ("backends/base.py", "import_module('stream.frames')"),
        ("stream/cli.py", "import run"),
        ("stream/doctor.py", "try:\n    import tensorflow as tf\nexcept ImportError: ..."),
        ("stream/doctor.py", "import importlib\nimportlib.import_module('tensorflow')"),
        ("backends/base.py", "from ai_edge_litert.interpreter import Interpreter"),
        ("backends/tflite.py", "import tensorflow.lite"),
        ("backends/tensorflow.py", "import tflite_runtime.interpreter"),
        ("backends/tensorflow.py", "import jetson_inference"),
        ("models/recipe.py", "from jetson_utils import cudaImage"),
        ("stream/loading.py", "import tritonclient.grpc as grpc"),
        ("stream/hub.py", "import flask"),
        ("stream/cli.py", "from waitress import serve"),
        ("stream/vitals.py", "from prometheus_client import Counter"),
        ("stream/live.py", "from paho.mqtt.client import Client"),
        ("backends/tflite.py", "import argparse"),
        ("run.py", "import argparse"),
        ("models/report.py", "import pooch"),
        ("stream/compare_html.py", "from matplotlib.figure import Figure"),
        ("models/files.py", "from models.efficientnet_lite0.export import main"),
        ("stream/server.py", "import os\nos.environ.get('HOME')"),
        ("stream/server.py", "import os\nprint(os.environ['HOME'])"),
        ("stream/server.py", "import os as system\nsystem.getenv('HOME')"),
        ("stream/server.py", "import os\nhome = os.environ.setdefault('HOME', '/')"),
        ("backends/tflite.py", "from os import environ"),
        ("models/files.py", "import sys\nsys.argv[1:]"),
        ("models/files.py", "from sys import argv"),
    ],
)
def test_each_rule_can_be_broken(name: str, source: str) -> None:
    assert len(broken_rules(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("run.py", "import sys\nfrom stream.cli import main\nsys.exit(main(sys.argv[1:]))"),
        ("stream/cli.py", "import argparse, os\nfrom backends import table\nos.environ.get('LABELCAM_PORT')"),
        ("stream/pipeline.py", "from models.scores import Reading\nfrom stream.latest import Latest"),
        ("stream/server_pages.py", "import flask, waitress"),
        ("stream/doctor.py", "import importlib.util\nimportlib.util.find_spec('tensorflow')"),
        ("backends/tensorflow.py", "import os\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'\nimport tensorflow"),
        ("backends/tensorflow.py", "import os\nos.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')"),
        ("models/fashion/train.py", "import argparse, os, tensorflow\nos.environ['X']"),
    ],
)
def test_what_the_design_allows_breaks_no_rule(name: str, source: str) -> None:
    assert broken_rules(name, source) == []
