# Two environments: .venv for the toolkit and its tests, .venv-device for what a device has.
# rnnedge-native is built where there is a C compiler; everything else works without it.
PYTHON ?= python3
BIN := .venv/bin
DEVICE := .venv-device/bin
NEWEST_TORCH := 2.15.0
PYTEST := -n 2 --dist loadfile --no-loadscope-reorder -q
# device-test runs tests/runtime, but for what needs onnx or the native engine.
TESTS := $(filter-out tests/runtime/ tests/helpers/,$(wildcard tests/*/)) \
	tests/runtime/test_tiny_onnx.py tests/runtime/decoding/test_decode.py
# What is never imported need not be compiled.
PIP := install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.PHONY: demo quick wasm native-wheels test newest test-all fuzz coverage versions lint types device-test toolkit-test test-javascript test-arm64 runtimes benchmarks docs wheels clean need-python

demo: .venv/native .venv-device/installed  ## install, export a trained layer, prove it, run it torch-free
	$(BIN)/python examples/04_train_to_device/train.py --out build/demo
	$(DEVICE)/python examples/04_train_to_device/run_on_device.py build/demo

quick: lint  ## for every save: lint, and the tests of tests/quick.txt
	$(BIN)/python -m pytest $(PYTEST) @tests/quick.txt

test: lint types device-test toolkit-test  ## everything that CI runs

newest: .venv-newest/installed  ## the tests of tests/quick.txt with the newest torch
	.venv-newest/bin/python -m pytest $(PYTEST) @tests/quick.txt

test-all: PYTEST += --full
test-all: test  ## the same with every case of the full matrices

fuzz: .venv/native  ## every reader of files for a minute; hours: python -m tests.fuzz --minutes 60
	$(BIN)/python -m tests.fuzz --minutes 1 --faults build/faults

coverage: .venv/native  ## the branches of the runtime that its tests run
	$(BIN)/pip $(PIP) coverage
	$(BIN)/python -m coverage run --branch --source rnnedge_runtime -m pytest -q tests/runtime
	$(BIN)/python -m coverage report --skip-covered --show-missing

versions:  ## the runtime with old and new Pythons, numpy and ONNX Runtime, into docs/versions.md
	$(PYTHON) tools/versions.py

lint: .venv/native
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/python tools/wording.py

types: .venv/native
	$(BIN)/mypy

device-test: .venv-device/installed  ## the runtime's own tests, from its wheel, without torch and onnx
	cd tests/runtime && ../../$(DEVICE)/python -m pytest -q -c pytest.ini .

toolkit-test: .venv/native  ## the other tests
	$(BIN)/python -m pytest $(PYTEST) $(TESTS)

test-javascript: .venv/native  ## the JavaScript package, with npm's packages, in Node and browsers
	cd javascript && npm ci --silent
	$(BIN)/python -m pytest -q tests/javascript

test-arm64: .venv/native  ## the runtime and the native engine on Arm64, emulated; says what it needs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/run_on_arm64.py

runtimes: .venv/native  ## the table of docs/runtimes.md anew, in every runtime that is installed
	$(BIN)/python -m benchmarks.runtimes

benchmarks: .venv/native
	$(BIN)/python -m benchmarks.export_time
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.quantized
	$(BIN)/python -m benchmarks.runtime
	$(BIN)/python -m benchmarks.streams
	$(BIN)/python -m benchmarks.scoring --memory
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.denormals
	$(BIN)/python -m benchmarks.native

docs: .venv/installed  ## the documentation, in build/site; opens without a server
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

wheels: .venv/installed  ## the wheels, in dist/; rnnedge-native where there is a C compiler
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist ./runtime .
	@if command -v cc >/dev/null; then $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist ./native; fi
	@ls dist/*.whl

native-wheels:  ## wheels of rnnedge-native for x86-64 and Arm64 Linux; needs ziglang, meson and ninja
	$(PYTHON) tools/build_native_wheels.py

wasm:  ## compile the engine of the JavaScript package, which is committed; needs clang and lld
	$(PYTHON) tools/build_wasm.py

.venv/installed: pyproject.toml runtime/pyproject.toml constraints.txt | need-python
	$(PYTHON) -m venv .venv
	$(BIN)/pip $(PIP) torch
	$(BIN)/pip $(PIP) --editable "./runtime[cpu]" --editable ".[dev,docs,examples]"
	touch $@

.venv/native: $(wildcard native/* native/src/* native/rnnedge_native/*.*) .venv/installed
	@if ! command -v cc >/dev/null; then \
		echo "make: no C compiler (cc): rnnedge-native is not built, and its tests are skipped" >&2; \
	elif ! $(BIN)/python -c 'import sysconfig, pathlib as p; assert (p.Path(sysconfig.get_path("include")) / "Python.h").exists()' 2>/dev/null; then \
		echo "make: no Python.h (Debian: apt-get install python3-dev): rnnedge-native is not built, and its tests are skipped" >&2; \
	else \
		$(BIN)/pip $(PIP) --force-reinstall --no-deps ./native; \
	fi
	touch $@

.venv-device/installed: $(shell find runtime -name '*.py') runtime/pyproject.toml constraints.txt | need-python
	$(PYTHON) -m venv .venv-device
	$(DEVICE)/pip $(PIP) --force-reinstall --no-deps ./runtime
	$(DEVICE)/pip $(PIP) "./runtime[cpu]" pytest
	touch $@

need-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "make: needs Python 3.10 or newer as $(PYTHON); set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
		|| { echo "make: needs the venv module of $(PYTHON) (Debian: apt-get install python3-venv)" >&2; exit 1; }

# constraints.txt with the newest torch that is known to pass.
.venv-newest/installed: pyproject.toml runtime/pyproject.toml constraints.txt | need-python
	$(PYTHON) -m venv .venv-newest
	sed 's/^torch==.*/torch==$(NEWEST_TORCH)/' constraints.txt > .venv-newest/constraints.txt
	.venv-newest/bin/pip install --quiet --no-compile -c .venv-newest/constraints.txt torch
	.venv-newest/bin/pip install --quiet --no-compile -c .venv-newest/constraints.txt \
		--editable "./runtime[cpu]" --editable ".[dev,examples]"
	touch $@

clean:
	rm -rf .venv .venv-device .venv-newest build dist
