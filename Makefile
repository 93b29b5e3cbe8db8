# demo        train word vectors on text that every Python carries, show neighbours, speed, a plot
# test        everything that is checked: lint, compile, all tests, CUDA sources, their PTX on the CPU
# quick       lint and the quick half of the tests, in under two minutes
# lint        style of Python and C++ (make format mends it)
# package     archive and wheel, built, and installed in an empty environment; an op built alone
# bench       the benchmarks of this machine, into benchmarks/results
# cuda-check  every CUDA source through nvcc, and the library linked and loaded, where there is one
# ptx         the tests of the CUDA kernels on nvcc's PTX, executed on the CPU, where there is nvcc
# gpu         on a machine with a GPU: tests, benchmarks, sanitizers, within minutes
# gpu-libraries  the libraries for it, built beforehand and elsewhere, into build/gpu-libraries
#
# PYTHON chooses the interpreter that .venv is made from; TORCH a build of torch other than the pin.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
DEV := $(VENV)/.dev-installed
TEST := $(VENV)/.test-installed
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
NATIVE := $(shell find csrc -type f) setup.py build_backend.py pyproject.toml
BUILT := $(VENV)/.built
# What `make quick` runs: folders whose files take seconds, but for tests that start processes,
# compile, or train for long.
QUICK := $(addprefix tests/,cooccurrence glove probe sampling text training transformer vectors \
  word2vec $(patsubst %,test_%.py,contributing display faces files imports plot rooms))
NOT_QUICK := --ignore tests/transformer/test_embedding_sum.py \
  -k "not (instruction_set or opcheck or compile or gradcheck or peak_memory or workspace \
  or killed or few_points_in_the_history)"

.PHONY: demo test quick lint format package bench gpu gpu-libraries cuda-check unit ptx clean

demo: $(BUILT)
	$(BIN)/lexforge demo --out demo-out

# Types are checked on one core: meanwhile the other compiles.
test: $(TEST)
	$(MAKE) -j 2 lint $(BUILT)
	$(MAKE) unit package cuda-check ptx

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

quick: lint $(BUILT)
	$(RUN) -m pytest -q -n 2 --dist=loadfile $(QUICK) $(NOT_QUICK)

unit: $(BUILT) $(TEST)
	$(RUN) -m pytest -q -n 2 --dist=loadfile tests --ignore tests/ptx

# What nvcc makes of the kernels, executed on the CPU instruction by instruction.
ptx: $(BUILT) $(TEST)
	$(RUN) tests/ptx/check.py

cuda-check: $(BUILT) $(TEST)
	$(RUN) tests/ptx/cuda_check.py

package: $(BUILT) $(TEST)
	PATH="$(abspath $(BIN)):$$PATH" $(RUN) -m pytest -q --slow -n 2 --dist=loadfile \
	  tests/test_packaging.py tests/test_contributing.py

bench: $(BUILT) $(TEST)
	$(RUN) benchmarks/run.py

# Uses the Python at hand, whose torch must have CUDA: it installs nothing. OUTPUT is the folder of
# the results, LIBRARIES one of prebuilt libraries, and GPU_OPTIONS what else there is to say.
gpu:
	$(PYTHON) benchmarks/gpu $(if $(OUTPUT),--output $(OUTPUT)) \
	  $(if $(LIBRARIES),--libraries $(LIBRARIES)) $(GPU_OPTIONS)

# Any Python loads them, beside any torch from 2.10 on.
gpu-libraries: $(DEV)
	PATH="$(abspath $(BIN)):$$PATH" LEXFORGE_CUDA=1 \
	  TORCH_CUDA_ARCH_LIST="$${TORCH_CUDA_ARCH_LIST:-9.0}" \
	  $(RUN) benchmarks/gpu/build.py build/gpu-libraries _ops_cpu _ops_cuda _text_native

clean:
	rm -rf build $(VENV) demo-out pyext/*.egg-info pyext/lexforge/*.so
