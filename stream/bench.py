"""The bench command: models on still pictures, each in processes of its own, in turn, into one log.

A model is not measured once for long but in rounds: a fresh process of each combination, then the next
round. What drifts on the machine then falls on all of them alike, and what differs from process to process
(where its memory came to lie) is seen instead of being taken for the model's.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from tqdm import tqdm

from backends.table import MODES
from models.errors import ModelError
from stream.bench_report import Tops, last_tops
from stream.cameras import pictures_in, read_picture
from stream.host import condition, doubts, host_facts
from stream.loading import ModelWish, resolve
from stream.log import JsonLog, LogError, Record
from stream.process import EXPECTED, set_up_process
from stream.series import Log, read_series
from stream.stills import Task, measure

log = logging.getLogger(__name__)

END_S = 5.0
"""What a process is given to end by itself: TensorFlow takes its time."""

FEW_RUNS, ENOUGH_RUNS = 100, 700
"""Of each picture, and in all, where nothing else is asked for: a p99 takes 662."""

WRITE_S = 600.0
"""What the log's last lines are given: figures are not to be lost as a camera's may be."""


@dataclass(frozen=True)
class BenchWish:
    """What was asked for."""

    model: ModelWish  # all but its model, backend and mode
    models: Sequence[str]
    backends: Sequence[str]  # none: the first that can run the model
    modes: Sequence[str]
    images: Sequence[Path]
    runs: int | None  # of each picture, in all rounds together; None: enough for every percentile
    rounds: int
    rate: float | None
    log: Path | None


def bench(wish: BenchWish) -> tuple[Log, Tops]:
    """Measure everything and write the log, then read it: the figures shown are those that were written.

    Raises what looking up, loading, reading and logging raise; what was measured before is in the log.
    """
    pictures = named_pictures(wish.images)
    for _, path in pictures:
        read_picture(path)  # an hour later would be late to hear of a broken one
    runs = wish.runs or max(FEW_RUNS, -(-ENOUGH_RUNS // len(pictures)))
    rounds = min(wish.rounds, runs)
    tasks = [
        Task(one, pictures, -(-runs // rounds), rate=wish.rate)
        for one in combinations(wish.model, wish.models, wish.backends, wish.modes)
    ]
    batches = len(pictures) if wish.rate is None else 1
    steps = rounds * len(tasks) * (batches + 2)  # loading counts for one, ending, too
    before = host_facts()
    warn(doubts(before, before))
    with log_file(wish.log) as path:
        # Rotation would part a run from its beginning.
        sink = JsonLog(path, None, max_bytes=1 << 62, queue_size=1 << 62, drain_s=WRITE_S)
        with sink, tqdm(total=steps, unit="picture", ncols=79, leave=False, disable=None) as bar:
            for number in range(rounds):
                for task in tasks:
                    bar.set_description(task.name[:24])
                    run_task(replace(task, round=number), sink, bar)
        warn(doubt for doubt in doubts(before, condition()) if doubt not in doubts(before, before))
        if sink.lost_lines:
            lost = f"lacks {sink.lost_lines} lines, the disk did not take them"
            raise LogError(f"{path} {lost} - make room on it")
        return read_series(path), last_tops(path)


def warn(doubts: Iterable[str]) -> None:
    for doubt in doubts:
        log.warning("%s", doubt)


def run_task(task: Task, sink: JsonLog, bar: tqdm[None]) -> None:
    """One process. Its records are written when it has ended: until then the machine is its own."""
    records: list[Record] = []
    try:
        for batch in in_own_process(task):
            records += batch
            bar.update()
    except BaseException as error:
        records.append({"rec": "event", "event": "failed", "reason": str(error) or type(error).__name__})
        raise
    finally:
        if records and records[0]["rec"] == "run":  # else it failed before it began
            for record in records:
                sink(record)


@contextmanager
def log_file(asked: Path | None) -> Iterator[Path]:
    """The file asked for, or one that is gone afterwards."""
    if asked is not None:
        yield asked
        return
    with tempfile.TemporaryDirectory(prefix="labelcam-") as folder:
        yield Path(folder) / "bench.jsonl"


def combinations(
    wish: ModelWish, models: Sequence[str], backends: Sequence[str], modes: Sequence[str]
) -> list[ModelWish]:
    """Every model on every backend that can run it, in every mode where there are modes.

    What a backend has no file for is left out and said; a model that is left out everywhere is an error.
    """
    known = {mode for names in MODES.values() for mode in names}
    if unknown := [mode for mode in modes if mode not in known]:
        raise ModelError(f"no backend has a mode {unknown[0]} - known: {', '.join(sorted(known))}")
    wishes: dict[ModelWish, Path] = {}
    for model in models:
        found: list[ModelWish] = []
        reasons: list[ModelError] = []
        for backend in backends or (None,):
            one = replace(wish, model=model, backend=backend)
            try:
                resolved = resolve(one)
            except ModelError as error:
                reasons.append(error)
                continue
            ways = modes if resolved.backend in MODES else ()
            for mode in ways or (None,):
                found.append(replace(one, mode=mode))
                wishes[found[-1]] = resolved.model.path
        if not found:
            raise reasons[0]
        for reason in reasons:
            log.warning("left out: %s", reason)
    if modes and not any(one.mode for one in wishes):
        raise ModelError(
            f"nothing here has modes, and --mode {modes[0]} was given - add --backend tensorflow"
        )
    files: dict[str, Path] = {}
    for path in wishes.values():
        if files.setdefault(path.name, path) != path:
            raise ModelError(f"{files[path.name]} and {path} have one name - rename one, tables go by it")
    return list(wishes)


def named_pictures(images: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
    """Files as given, folders as the pictures in them. A name that is there twice is told by its folder."""
    paths = [path for image in images for path in (pictures_in(image) if image.is_dir() else [image])]
    paths = list(dict.fromkeys(paths))
    names = [path.name for path in paths]
    return tuple((str(path) if names.count(path.name) > 1 else path.name, path) for path in paths)


def in_own_process(task: Task) -> Iterator[list[Record]]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit this process's libraries and memory
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, task, logging.getLogger().level), daemon=True)
    interrupt = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # inherited: Ctrl-C is for this process to handle
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, interrupt)
    theirs.close()
    try:
        while True:
            try:
                message = ours.recv()
            except (EOFError, OSError):  # the latter in the middle of a message
                break
            if isinstance(message, Exception):
                raise message
            yield message
        process.join(END_S)
        if process.exitcode is not None and process.exitcode < 0:
            end = signal.Signals(-process.exitcode)
            advice = "is its file whole? Try another --backend or --runtime"
            if end == signal.SIGKILL:
                advice = "by want of memory? See dmesg"
            raise ModelError(f"{task.wish.model}: the process that ran it was ended by {end.name} - {advice}")
        if process.exitcode:
            raise RuntimeError("a measuring process failed, see above")
    finally:
        ours.close()
        process.terminate()
        process.join(END_S)
        process.kill()


def work(connection: Connection, task: Task, verbosity: int) -> None:
    """All that the measuring process does."""
    set_up_process(verbosity)
    with suppress(BrokenPipeError):  # the parent is gone
        try:
            for records in measure(task):
                connection.send(records)
        except EXPECTED as error:
            connection.send(error)
