# demo        train word vectors on text that every Python carries, show neighbours, speed, a plot
# test        everything that is checked: lint, compile, all tests, the emulated GPU, CUDA sources
# lint        style of Python and C++ (make format mends it)
# bench       the benchmarks of this machine, into benchmarks/results
# cuda-check  every CUDA source through nvcc, where there is one
# gpu         on a machine with a GPU: build, test, sanitizer, benchmarks
#
# PYTHON chooses the interpreter that .venv is made from; TORCH a build of torch other than the pin.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
DEV := $(VENV)/.dev-installed
TEST := $(VENV)/.test-installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
NATIVE := $(shell find csrc -type f) setup.py pyproject.toml
BUILT := $(VENV)/.built

.PHONY: demo test lint format bench gpu cuda-check unit emulated clean

demo: $(BUILT)
	$(BIN)/lexforge demo --out demo-out

test: lint unit emulated cuda-check

$(RUN):
	$(PYTHON) -m venv $(VENV)

$(DEV): requirements-dev.txt | $(RUN)
	$(if $(TORCH),$(PIP) $(TORCH))
	$(PIP) -r requirements-dev.txt
	touch $@

$(TEST): requirements-test.txt $(DEV)
	$(PIP) -r requirements-test.txt
	touch $@

# Editable: Python changes need no new build, and ninja compiles only what changed.
$(BUILT): $(NATIVE) $(DEV)
	LEXFORGE_WERROR=1 PATH="$(abspath $(BIN)):$$PATH" $(PIP) --no-build-isolation --no-deps -e .
	touch $@

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

format: $(TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format -i

unit: $(BUILT) $(TEST)
	$(RUN) -m pytest -q tests

# The CUDA kernels run on the CPU, block by block, under address and undefined-behaviour sanitizers.
emulated: $(BUILT) $(TEST)
	$(RUN) tests/cuda_emulation/run.py --sanitize -q -n 2

cuda-check: $(TEST)
	$(RUN) tests/cuda_emulation/cuda_check.py

bench: $(BUILT) $(TEST)
	$(RUN) benchmarks/run.py

# Uses the Python at hand, whose torch must have CUDA: it installs nothing.
gpu:
	$(PYTHON) benchmarks/gpu.py

clean:
	rm -rf build $(VENV) demo-out pyext/*.egg-info pyext/lexforge/*.so
