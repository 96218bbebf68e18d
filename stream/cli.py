"""The command line: reads the options once, builds the parts, and turns expected errors into one line."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from models.errors import ModelError
from stream.hosts import read_host
from stream.loading import ModelWish, is_remote
from stream.mqtt import AddressError, Broker, read_broker
from stream.outputs import check_outputs, write_whole
from stream.process import EXPECTED, interrupt, on_signals, set_up_process
from stream.service import take_service
from stream.sources import KINDS, SourceError, Wish, addresses_without_credentials, check_name, with_names
from stream.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the process's exit status."""
    service = take_service(os.environ)
    failed = "<3>labelcam" if service.journal else "labelcam"  # 3: the journal's level for an error
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(arguments)
    except SystemExit as end:
        files = [argument[1:] for argument in arguments if argument.startswith("@")]
        if end.code == 2 and files:
            print(f"{failed}: see the line above, and {', '.join(files)}", file=sys.stderr)
        raise
    options.service = service
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # it prints, too; this one is read when it starts
    set_up_process(options.verbosity, service.journal)
    command: Callable[[argparse.Namespace], int] = options.command
    if command is not run_live:  # which has a better way
        on_signals(interrupt)
    try:
        return command(options)
    except EXPECTED as error:
        print(f"{failed}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line. What was mistyped may hold a camera's password, and may go to a journal."""
        self.exit(2, f"{self.prog}: {addresses_without_credentials(message)} (see {self.prog} --help)\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="run.py",
        description="Labelcam: a live camera, classified, in a browser. @FILE is the options in FILE.",
        add_help=False,
    )
    common = Parser(add_help=False)
    common.add_argument("-h", "--help", action="help", help="show this and exit")
    common.add_argument("--version", action="version", version=f"labelcam {__version__}")
    common.add_argument(
        "--verbose", dest="verbosity", action="store_const", const=logging.DEBUG, default=logging.WARNING
    )
    common.add_argument("--models-dir", type=Path, metavar="DIR", help="where pulled models lie")
    model, models = Parser(add_help=False), Parser(add_help=False)
    add_model_options(model)
    add_model_options(models, several=True)

    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    live = commands.add_parser("live", parents=[common, model], add_help=False, help="the default")
    add_live_options(live)
    live.set_defaults(command=run_live)
    bench = commands.add_parser(
        "bench", parents=[common, models], add_help=False, help="time models on still pictures"
    )
    add_bench_options(bench)
    bench.set_defaults(command=run_bench)
    compare = commands.add_parser(
        "compare",
        parents=[common],
        add_help=False,
        help="hold logs, live or still, against the first of them",
    )
    add_compare_options(compare)
    compare.set_defaults(command=run_compare)
    study = commands.add_parser(
        "study", parents=[common], add_help=False, help="the tables of the study of 2020, from our logs"
    )
    add_study_options(study)
    study.set_defaults(command=run_study)
    doctor = commands.add_parser(
        "doctor", parents=[common], add_help=False, help="what works here, and what to type for what does not"
    )
    doctor.add_argument("--json", action="store_true", help="for machines")
    doctor.add_argument("--port", type=port, default=8000, help="is it free? [8000]")
    doctor.set_defaults(command=run_doctor)
    add_models_commands(
        commands.add_parser("models", parents=[common], add_help=False, help="list, pull, verify")
    )

    words = []
    for argument in arguments:
        try:
            words += in_file(argument)
        except OSError as error:
            parser.error(f"cannot read {argument[1:]}: {error.strerror}")
        except ValueError as error:  # shlex's: No closing quotation
            parser.error(f"{argument[1:]}: {error}")
    arguments = words
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
    if getattr(options, "labels_csv", None) and (
        getattr(options, "top_k", 5) < 5 or getattr(options, "threshold", 0)
    ):
        bench.error("--labels-csv counts the first five answers: leave --top-k and --threshold as they are")
    if "sources" in options:
        try:
            options.sources = with_names(options.sources)
            if options.wait_for_camera:  # for ever, if it can never come
                for source in options.sources.values():
                    check_name(source)
        except SourceError as error:
            live.error(f"--source: {error}")
        if options.fallback is not None and (
            not is_remote(options.model, options.backend) or "://" in options.fallback
        ):
            live.error(
                "--fallback is a model of this machine, for when --model is one on a server: grpc://..."
            )
        if options.every_frame and len(options.sources) > 1:
            live.error(
                "--every-frame is for one --source: several take turns, and each skips frames meanwhile"
            )
    return options


def in_file(argument: str) -> list[str]:
    """`@FILE` stands for the words in that file, quoted as in a shell; # begins a comment."""
    return shlex.split(Path(argument[1:]).read_text(), comments=True) if argument[:1] == "@" else [argument]


def add_model_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    from backends.table import BACKENDS, MODES
    from models.catalogue import BUILT_IN

    many = "; may be given several times" if several else ""
    default: Any = [BUILT_IN] if several else BUILT_IN
    chosen: Any = {"action": Chosen} if several else {}
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=default,
        metavar="NAME|FILE|ADDRESS",
        help=f"a name of `models list`, your own file, or one on a server: grpc://HOST:PORT/NAME [{BUILT_IN}]"
        f"{many}",
        **chosen,
    )
    group.add_argument(
        "--backend", choices=list(BACKENDS), help=f"who runs it [the first that can]{many}", **chosen
    )
    modes = "; ".join(f"of {backend}: {', '.join(names)}" for backend, names in MODES.items())
    group.add_argument("--mode", metavar="MODE", help=f"how the backend runs it, {modes}{many}", **chosen)
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of your own model's classes, one a line"
    )
    group.add_argument(
        "--runtime",
        metavar="NAME",
        help="force one: litert, tflite_runtime, tensorflow (of tflite); tensorrt, jetson-inference",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="for inference [half the cores]")
    group.add_argument(
        "--fit", choices=("crop", "stretch", "letterbox"), help="how a picture becomes square [crop]"
    )
    group.add_argument(
        "--mean",
        type=float,
        help="of your own float model's input: (pixel - mean) / std [127.5; ImageNet's for .onnx]",
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
    parser.add_argument(
        "--fallback",
        metavar="NAME|FILE",
        help="a model of this machine, while one on a server does not answer",
    )
    camera = parser.add_argument_group("camera")
    kinds = "; ".join(f"{name} {meaning}" for name, meaning in KINDS.items())
    camera.add_argument(
        "--source",
        dest="sources",
        action=Chosen,
        default=["auto"],
        metavar="[NAME=]SOURCE",
        help=f"{kinds} [auto]; may be given several times, and then with a name for each",
    )
    camera.add_argument("--width", type=pixels, help="asked of the camera [640]")
    camera.add_argument("--height", type=pixels, help="asked of the camera [480]")
    camera.add_argument("--fps", type=above_zero, help="asked of the camera; the pace of files and folders")
    camera.add_argument(
        "--wait-for-camera",
        action="store_true",
        help="do not fail if it is not there yet; auto is then the first that comes, never the demo",
    )

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
    server.add_argument(
        "--token", type=token, help="what viewers must know; made if the host is not loopback"
    )
    server.add_argument(
        "--max-streams", type=positive, default=128, metavar="N", help="viewers at once [128]"
    )
    server.add_argument(
        "--allow-host",
        dest="hosts",
        action="append",
        type=host,
        default=[],
        metavar="NAME",
        help="a name answered besides this machine's own, such as a proxy's; may be given several times",
    )
    parser.add_argument(
        "--mqtt",
        type=broker,
        metavar="URL",
        help="publish what is seen: mqtt[s]://[USER:PASSWORD@]HOST[:PORT]/TOPIC; Home Assistant finds it",
    )


class Chosen(argparse.Action):
    """An option that is given several times: a list, which replaces the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(given if given is not self.default and given else []), values])


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture or a folder of them")
    group = parser.add_argument_group("measuring")
    group.add_argument(
        "--runs", type=positive, metavar="N", help="warm runs per picture [100, and 700 or more in all]"
    )
    group.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="fresh processes they are shared among [5]"
    )
    group.add_argument(
        "--rate", type=above_zero, metavar="FPS", help="start so many a second, whether it keeps up or not"
    )
    group.add_argument(
        "--labels-csv",
        type=Path,
        metavar="FILE",
        help="what they show: columns file, class_index (no background)",
    )
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, comma-separated")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, in Markdown")


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs", nargs="+", type=Path, metavar="LOG", help="what --log wrote; the first is the base"
    )
    parser.add_argument(
        "--published", type=Path, metavar="FILE", help="the study's published_results.csv, as a reference"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, in Markdown")


def add_study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="of bench and of live runs")
    parser.add_argument(
        "--published", type=Path, metavar="FILE", required=True, help="the study's published_results.csv"
    )
    parser.add_argument(
        "--labels-csv", type=Path, metavar="FILE", required=True, help="what the pictures show, as for bench"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it there")


def add_models_commands(parser: argparse.ArgumentParser) -> None:
    # Before or after the action's name; without a default here, which would replace what was given before it.
    place = Parser(add_help=False)
    place.add_argument("--models-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="action", metavar="list|pull|verify")
    commands.add_parser("list", parents=[place], help="the catalogue, and what is here (the default)")
    pull = commands.add_parser("pull", parents=[place], help="download")
    names = pull.add_mutually_exclusive_group(required=True)
    names.add_argument("names", nargs="*", default=[], metavar="NAME")
    names.add_argument("--all", action="store_true", help="everything that can be downloaded")
    commands.add_parser("verify", parents=[place], help="compare what is here with its digests")
    parser.set_defaults(command=run_models, action="list")


def run_live(options: argparse.Namespace) -> int:
    from stream.live import LiveWish, live
    from stream.pipeline import Policy

    size = (options.width, options.height) if options.width else None
    live(
        LiveWish(
            model=model_wish(options),
            sources=options.sources,
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
            hosts=tuple(options.hosts),
            log=options.log,
            mqtt=options.mqtt,
            service=options.service,
        )
    )
    return 0


def run_bench(options: argparse.Namespace) -> int:
    from stream import bench_report
    from stream.bench import BenchWish, bench, named_pictures

    check_outputs((options.csv, options.markdown, options.log), options.images)
    classes = bench_report.read_classes(options.labels_csv) if options.labels_csv else {}
    if options.labels_csv and not classes.keys() & {name for name, _ in named_pictures(options.images)}:
        raise ModelError(f"none of the pictures is in {options.labels_csv} - its column file has other names")
    measured, tops = bench(
        BenchWish(
            model=model_wish(options, model="", backend=None, mode=None),
            models=options.model,
            backends=options.backend or [],
            modes=options.mode or [],
            images=options.images,
            runs=options.runs,
            rounds=options.rounds,
            rate=options.rate,
            log=options.log,
        )
    )
    rows = bench_report.rows_of(measured, classes)
    print(bench_report.text(measured, rows, tops))
    if options.csv:
        write_whole(options.csv, bench_report.as_csv(rows))
    if options.markdown:
        write_whole(options.markdown, bench_report.markdown(rows))
    return 0


def run_compare(options: argparse.Namespace) -> int:
    from stream import compare_html, compare_report
    from stream.compare import compare

    check_outputs((options.html, options.markdown), options.logs)
    if options.html:
        compare_html.load_drawing()  # before minutes are spent on reading
    comparison = compare(options.logs, options.published, study_names())
    if options.html:
        write_whole(options.html, compare_html.html(comparison))
    if options.markdown:
        write_whole(options.markdown, compare_report.as_markdown(comparison))
    print(compare_report.text(comparison))
    return 0


def run_study(options: argparse.Namespace) -> int:
    from stream import study
    from stream.bench_report import read_classes

    check_outputs((options.markdown,), options.logs)
    classes = read_classes(options.labels_csv)
    text = study.as_markdown(study.read_study(options.logs, options.published, classes, study_names()))
    if options.markdown:
        write_whole(options.markdown, text)
    else:
        print(text)
    return 0


def study_names() -> dict[str, str]:
    """By the study's name of a model, ours."""
    from models.catalogue import CATALOGUE

    return {spec.study: spec.name for spec in CATALOGUE.values() if spec.study}


def run_doctor(options: argparse.Namespace) -> int:
    from stream import doctor

    examined = doctor.examine(options.port, options.models_dir)
    if not options.json:
        return 0 if doctor.tell(examined) else 1
    findings = list(examined)
    print(doctor.as_json(findings))
    return 0 if doctor.works(findings) else 1


def run_models(options: argparse.Namespace) -> int:
    from models import report

    if options.action == "pull":
        names = report.pullable() if options.all else options.names
        for line in report.pull_models(names, options.models_dir):
            print(line, flush=True)
        return 0
    if options.action == "verify":
        rows = report.verify_rows(options.models_dir)
        print(report.verify_table(rows))
        return int(any(row.state == "wrong" for row in rows))
    print(report.list_table(report.list_rows(options.models_dir)))
    return 0


def model_wish(options: argparse.Namespace, **others: str | None) -> ModelWish:
    names = [field.name for field in fields(ModelWish) if field.name in options]
    asked = {name: getattr(options, name) for name in names}
    return ModelWish(**asked | others)


# Values of options. What they raise is told behind "argument --port: ".


def positive(text: str) -> int:
    return in_range(int, text, 1, 1_000_000_000)


def pixels(text: str) -> int:
    return in_range(int, text, 32, 8192)


def port(text: str) -> int:
    return in_range(int, text, 0, 65535)


def host(text: str) -> str:
    if read_host(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no name - write camera.example or camera.example:8443")
    return text


def broker(text: str) -> Broker:
    try:
        return read_broker(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"that is no broker and topic: {error}") from None


def token(text: str) -> str:
    """What fits into a header, an address and a cookie. Not nothing: a variable that is not set would let
    everybody in."""
    if not text or not text.isascii() or not text.isprintable() or set(text) & set(' ";,\\'):
        raise argparse.ArgumentTypeError("... is no token - take letters, digits, dots and dashes")
    return text


def quality(text: str) -> int:
    return in_range(int, text, 1, 100)


def above_zero(text: str) -> float:
    return in_range(float, text, 1e-6, 1e9)


def share(text: str) -> float:
    return in_range(float, text, 0.0, 1.0)


def weight(text: str) -> float:
    return in_range(float, text, 0.0, 0.99)


Number = TypeVar("Number", int, float)


def in_range(kind: Callable[[str], Number], text: str, low: Number, high: Number) -> Number:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        whole = "whole " if kind is int else ""
        raise argparse.ArgumentTypeError(f"{text!r} is no {whole}number from {low:g} to {high:g}")
    return value
