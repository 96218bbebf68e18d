"""The command line: reads the options once, builds the parts, and turns expected errors into one line."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import cv2

from backends.base import BackendUnavailable
from models.errors import ModelError
from stream.listening import ListenError
from stream.loading import ModelWish
from stream.log import LogError
from stream.sources import KINDS, SourceError, Wish
from stream.version import __version__

EXPECTED = (SourceError, BackendUnavailable, ModelError, LogError, ListenError)
"""Mistakes and circumstances, not bugs: one line, exit status 1."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the process's exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd's way to say Ctrl-C
    options = parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=options.verbosity)
    # OpenCV and the ffmpeg inside it write to the terminal by themselves. OpenCV has read its variable
    # OPENCV_LOG_LEVEL by now: it was imported with the models.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # A busy Python thread keeps the interpreter's lock for so long when another wants it. With the default of
    # 5 ms an inference of 6.8 ms was measured to take 16, with 1 ms it takes 8.
    sys.setswitchinterval(0.001)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EXPECTED as error:
        print(f"labelcam: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if command is run_live else 130  # a camera has no end of its own; what was cut short has


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py", description="Labelcam: a live camera, classified, in a browser.", add_help=False
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-h", "--help", action="help", help="show this and exit")
    common.add_argument("--version", action="version", version=f"labelcam {__version__}")
    common.add_argument(
        "--verbose", dest="verbosity", action="store_const", const=logging.DEBUG, default=logging.WARNING
    )
    common.add_argument("--models-dir", type=Path, metavar="DIR", help="where pulled models lie")
    model = argparse.ArgumentParser(add_help=False)
    add_model_options(model)

    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    live = commands.add_parser("live", parents=[common, model], add_help=False, help="the default")
    add_live_options(live)
    live.set_defaults(command=run_live)
    bench = commands.add_parser(
        "bench", parents=[common, model], add_help=False, help="time still pictures, and say what they show"
    )
    bench.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture or a folder of them")
    bench.add_argument("--runs", type=positive, default=100, metavar="N", help="warm runs per picture [100]")
    bench.set_defaults(command=run_bench)
    add_models_commands(
        commands.add_parser("models", parents=[common], add_help=False, help="list, pull, verify")
    )

    # `run.py` alone, and `run.py --source ...`, mean `run.py live`.
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments = ["live", *arguments]
    elif arguments[0] in ("-h", "--help"):
        parser.epilog = live.format_help()
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.print_help()
        sys.exit(0)
    elif arguments[0] == "--version":
        arguments = ["live", "--version"]
    options = parser.parse_args(arguments)
    if (getattr(options, "width", None) is None) != (getattr(options, "height", None) is None):
        live.error("--width and --height are given together")
    if getattr(options, "wait_for_camera", False) and options.source == "auto":
        live.error("--wait-for-camera needs the camera's name: --source /dev/video0")
    return options


def add_model_options(parser: argparse.ArgumentParser) -> None:
    from backends.table import BACKENDS
    from models.catalogue import BUILT_IN, CATALOGUE

    group = parser.add_argument_group("model")
    group.add_argument("--backend", choices=list(BACKENDS), default="tflite")
    group.add_argument(
        "--model",
        default=BUILT_IN,
        metavar="NAME|FILE",
        help=f"{', '.join(CATALOGUE)}, or your own [{BUILT_IN}]",
    )
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of your own model's classes, one a line"
    )
    group.add_argument("--runtime", metavar="NAME", help="force one: litert, tflite_runtime or tensorflow")
    group.add_argument("--threads", type=positive, metavar="N", help="for inference [half the cores]")
    group.add_argument(
        "--fit", choices=("crop", "stretch", "letterbox"), help="how a picture becomes square [crop]"
    )
    group.add_argument(
        "--mean", type=float, help="of your own float model's input: (pixel - mean) / std [127.5]"
    )
    group.add_argument("--std", type=above_zero, help="see --mean [127.5]")
    group.add_argument(
        "--scores", choices=("probabilities", "logits"), help="what your own model's outputs are"
    )
    group.add_argument("--top-k", type=positive, default=5, metavar="K", help="how many labels [5]")
    group.add_argument(
        "--threshold", type=share, default=0.0, metavar="P", help="lowest score shown, 0 to 1 [0]"
    )
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="write every frame's times there, JSON Lines"
    )


def add_live_options(parser: argparse.ArgumentParser) -> None:
    camera = parser.add_argument_group("camera")
    kinds = "; ".join(f"{name} {meaning}" for name, meaning in KINDS.items())
    camera.add_argument("--source", default="auto", help=f"{kinds} [auto]")
    camera.add_argument("--width", type=pixels, help="asked of the camera [640]")
    camera.add_argument("--height", type=pixels, help="asked of the camera [480]")
    camera.add_argument("--fps", type=above_zero, help="asked of the camera; the pace of files and folders")
    camera.add_argument("--wait-for-camera", action="store_true", help="do not fail if it is not there yet")

    frames = parser.add_argument_group("frames")
    frames.add_argument(
        "--show",
        choices=("live", "classified"),
        default="live",
        help="every frame, or only classified ones [live]",
    )
    frames.add_argument(
        "--every-frame", action="store_true", help="classify all of a file's frames, as fast as it goes"
    )
    frames.add_argument(
        "--encode", choices=("watched", "always"), default="watched", help="paint unseen too [watched]"
    )
    frames.add_argument(
        "--smoothing", type=weight, default=0.0, metavar="W", help="of the scores, 0 to below 1 [0]"
    )
    frames.add_argument(
        "--max-frames", type=positive, metavar="N", help="end after so many classified frames"
    )
    frames.add_argument("--duration", type=above_zero, metavar="S", help="end after so many seconds")
    frames.add_argument("--quality", type=quality, default=80, help="of the JPEGs, 1 to 100 [80]")

    server = parser.add_argument_group("server")
    server.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than loopback need a token"
    )
    server.add_argument("--port", type=port, default=8000, help="0 is any free one [8000]")
    server.add_argument("--token", help="what viewers must know; made if the host is not loopback")
    server.add_argument(
        "--max-streams", type=positive, default=128, metavar="N", help="viewers at once [128]"
    )


def add_models_commands(parser: argparse.ArgumentParser) -> None:
    # Before or after the action's name; without a default here, which would replace what was given before it.
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--models-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="action", metavar="list|pull|verify")
    commands.add_parser("list", parents=[place], help="the catalogue, and what is here (the default)")
    pull = commands.add_parser("pull", parents=[place], help="download")
    pull.add_argument("names", nargs="+", metavar="NAME")
    commands.add_parser("verify", parents=[place], help="compare what is here with its digests")
    parser.set_defaults(command=run_models, action="list")


def run_live(options: argparse.Namespace) -> int:
    from stream.live import LiveWish, live
    from stream.pipeline import Policy

    size = (options.width, options.height) if options.width else None
    live(
        LiveWish(
            model=model_wish(options),
            source=options.source,
            camera=Wish(size, options.fps),
            wait_for_camera=options.wait_for_camera,
            policy=Policy(
                show=options.show,
                every_frame=options.every_frame,
                max_frames=options.max_frames,
                smoothing=options.smoothing,
                quality=options.quality,
            ),
            encode_always=options.encode == "always",
            duration_s=options.duration,
            host=options.host,
            port=options.port,
            token=options.token,
            max_streams=options.max_streams,
            log=options.log,
        )
    )
    return 0


def run_bench(options: argparse.Namespace) -> int:
    from stream.bench import bench, report

    print(report(bench(options.images, model_wish(options), options.runs, options.log)))
    return 0


def run_models(options: argparse.Namespace) -> int:
    from models import report

    if options.action == "pull":
        for line in report.pull_models(options.names, options.models_dir):
            print(line, flush=True)
        return 0
    if options.action == "verify":
        rows = report.verify_rows(options.models_dir)
        print(report.verify_table(rows))
        return int(any(row.state == "wrong" for row in rows))
    print(report.list_table(report.list_rows(options.models_dir)))
    return 0


def model_wish(options: argparse.Namespace) -> ModelWish:
    return ModelWish(**{field.name: getattr(options, field.name) for field in fields(ModelWish)})


# Values of options. argparse's own message names them: "argument --port: invalid port value: 'x'".


def positive(text: str) -> int:
    return in_range(int(text), 1, 1_000_000_000)


def pixels(text: str) -> int:
    return in_range(int(text), 32, 8192)


def port(text: str) -> int:
    return in_range(int(text), 0, 65535)


def quality(text: str) -> int:
    return in_range(int(text), 1, 100)


def above_zero(text: str) -> float:
    return in_range(float(text), 1e-6, 1e9)


def share(text: str) -> float:
    return in_range(float(text), 0.0, 1.0)


def weight(text: str) -> float:
    return in_range(float(text), 0.0, 0.999)


Number = TypeVar("Number", int, float)


def in_range(value: Number, low: Number, high: Number) -> Number:
    if not low <= value <= high:
        raise ValueError
    return value
