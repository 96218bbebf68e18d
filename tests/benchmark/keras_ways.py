"""The built-in model in TensorFlow, by our default and by the ways that are usual, in turn in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backends.base import ModelToRun
from backends.table import load_backend
from models.catalogue import BUILT_IN, find_spec
from models.files import find
from stream.cameras import read_picture
from tests.benchmark.table import Row

ROUNDS = 10
RUNS = 10  # of each, in each round
THREADS = 1
TARGETS = {
    "Keras predict()": 0.3,
    "Keras model(x), eager": 0.3,
    "tf.function(model)": 1.0,
    "bare Session.run": 1.1,
}


def rows(photo: Path) -> list[Row]:
    spec = find_spec(BUILT_IN)
    path = find(spec.name, spec.files["tensorflow"])
    backend = load_backend("tensorflow", ModelToRun(path, spec.recipe, threads=THREADS))
    tensor = backend.prepare(read_picture(photo))
    ways = {"ours": lambda: backend.infer(tensor), **usual_ways(path, tensor)}
    answers = {name: int(np.argmax(np.asarray(run()))) for name, run in ways.items()}
    assert len(set(answers.values())) == 1, answers
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            run()  # the caches are another's
            times[name] += [milliseconds(run) for _ in range(RUNS)]
    ours, n = median(times["ours"]), ROUNDS * RUNS
    figure = f"{BUILT_IN}, tensorflow {backend.facts().mode}, {THREADS} thread"
    return [
        Row(figure, ours, "ms", peer, median(times[peer]), target, n=n) for peer, target in TARGETS.items()
    ]


def usual_ways(path: Path, tensor: Any) -> dict[str, Callable[[], Any]]:
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = keras.saving.load_model(path, compile=False)
    traced = tf.function(lambda picture: model(picture, training=False))
    picture = tf.constant(tensor)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(picture))
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
    session = tf.compat.v1.Session(graph=graph)
    scores, entry = frozen.outputs[0].name, frozen.inputs[0].name
    return {
        "Keras predict()": lambda: model.predict(tensor, verbose=0),
        "Keras model(x), eager": lambda: model(picture, training=False).numpy(),
        "tf.function(model)": lambda: traced(picture).numpy(),
        "bare Session.run": lambda: session.run(scores, {entry: tensor}),
    }


def milliseconds(run: Callable[[], Any]) -> float:
    started_ns = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started_ns) / 1e6
