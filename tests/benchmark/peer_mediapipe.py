"""MediaPipe's ImageClassifier, in an environment of its own: it brings another build of cv2.

Reads "MODEL" once, then a number of runs a line; answers with a line of JSON, microseconds per run.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main() -> None:
    model, picture = sys.argv[1:]
    rgb = np.load(Path(picture))
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=model), max_results=5)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        print(json.dumps(mediapipe.__version__), flush=True)
        for line in sys.stdin:
            durations = []
            for _ in range(int(line)):
                started_ns = time.perf_counter_ns()
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
                classifier.classify(image)
                durations.append((time.perf_counter_ns() - started_ns) / 1000)
            print(json.dumps(durations), flush=True)


if __name__ == "__main__":
    main()
