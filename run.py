"""The way in: `python run.py` shows a camera, or the demo, classified, in a browser."""

import os
import signal
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(f"labelcam: needs Python 3.10 or newer, and this is {sys.version.split()[0]}")

SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]


def leave(*_: object) -> None:
    """To be cut short is the end of a live run, and a failure of any other."""
    is_live = len(sys.argv) < 2 or sys.argv[1][:1] in "-@" or sys.argv[1] == "live"
    os._exit(0 if is_live else 130)


if __name__ == "__main__":
    # Until there is something to take down. An exception in the middle of an import may become any other one.
    for number in SIGNALS:
        signal.signal(number, leave)
    try:
        from stream.cli import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"labelcam: {error.name} is not installed - {sys.executable} -m pip install -r requirements.txt"
        )
    status = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: started with 2>&-
        stream.flush()
    # Python's own end stops daemon threads where they next want its lock. In a driver's C++ that is an abort.
    os._exit(status)
