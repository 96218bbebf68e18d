# `make run` and `make test` are all a newcomer needs. PYTHON=python3.12 make ... chooses the interpreter,
# VENV=.venv-3.12 where its environment goes, ARGS="..." what run.py is given, PYTEST="..." what pytest is.

PYTHON ?= python3
SHARED ?= ../shared
VENV ?= .venv
MINUTES ?= 60
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run venv extras gstreamer test test-all test-device check benchmark soak results clean

run: $(VENV)/.run
	@exec $(BIN)/python run.py $(ARGS)

venv: $(VENV)/.dev

# What is optional: TensorFlow, plots for `compare --html`, models on a server. Tests that need it are skipped without it.
extras: $(VENV)/.extras

# Optional, too: GStreamer's sources. PyGObject is compiled; the README says which of Debian's packages it needs.
gstreamer: $(VENV)/.gstreamer

# Most tests wait for a program that starts, or ends: three of them at a time are hardly slower than one.
test: check
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not slow and not device" $(PYTEST)

test-all: test
	$(BIN)/python -m pytest -m "slow and not device" $(PYTEST)

# On a machine with a camera, as root for systemd and for pulling the plug. DEVICE="--camera=/dev/video0" says which.
test-device: $(VENV)/.dev
	$(BIN)/python -m pytest -m device tests/test_device_*.py $(DEVICE) $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Figures of the web beside Motion's too, where Debian's motion is installed; the page's with Debian's chromium.
benchmark: $(VENV)/.extras $(VENV)/.dev .venv-peers/.mediapipe
	$(BIN)/python -m tests.benchmark --peers .venv-peers $(ARGS)

# A fault every 20 seconds, for MINUTES; as root the log's disk is filled, too.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

# The tables of docs/results.md: every model that is here, on every backend, still and live. A quarter of an hour.
results: $(VENV)/.extras
	tests/results.sh $(BIN)/python $(SHARED)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(PIP) install -r requirements-dev.txt
	@touch $@

$(VENV)/.extras: $(VENV)/.run requirements-tensorflow.txt requirements-report.txt requirements-remote.txt
	$(PIP) install -r requirements-tensorflow.txt -r requirements-report.txt -r requirements-remote.txt
	@touch $@

$(VENV)/.gstreamer: $(VENV)/.run requirements-gstreamer.txt
	$(PIP) install -r requirements-gstreamer.txt
	@touch $@

# The peer in an environment of its own: it brings another build of cv2.
.venv-peers/.mediapipe: requirements-benchmark.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip --disable-pip-version-check --quiet install -r requirements-benchmark.txt
	@touch $@
