"""The way in: `python run.py` shows a camera, or the demo, classified, in a browser."""

import sys

from stream.cli import main

if __name__ == "__main__":
    sys.exit(main())
