# The two commands that matter: `make train` and `make test`. Each sets up .venv when it has to.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Real processes, sockets and clusters are at the machine's mercy: what fails is tried once more, and named in the end.
AGAIN := --reruns 1 --rerun-show-tracebacks -raR

.PHONY: train test test-slow lint docs ui bench clean

train: $(READY)  ## train the default run
	$(BIN)/python scripts/train.py $(ARGS)

# a third process on two cores, since a test often waits for a disk, a socket or a process that it has started
test: $(READY)  ## the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 3 --dist worksteal $(AGAIN) $(ARGS)

# a third process also here: a test often waits for a cluster, a server, or a run that it is going to kill
test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 3 --dist loadgroup --timeout 600 $(AGAIN) $(ARGS)

lint: $(READY)  ## ruff, mypy, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## the documentation site, into site/
	$(BIN)/mkdocs build --strict --quiet

ui: $(READY)  ## the MLflow UI over ./mlruns, on loopback
	$(BIN)/lantu ui

bench: $(READY)  ## every benchmark
	for each in scripts/bench/*.py; do $(BIN)/python $$each || exit 1; done

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Lantu needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[all,dev,docs]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # on all cores, pip uses one; templates do not compile
	touch $@

clean:  ## remove the virtual environment and caches; results in mlruns/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
