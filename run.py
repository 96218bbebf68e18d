"""The way in: `python run.py` shows a camera, or the demo, classified, in a browser."""

import os
import sys

from stream.cli import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own end stops daemon threads where they next want its lock. In a driver's C++ that is an abort.
    os._exit(status)
