# Every target works from a bare clone: the virtual environment is made first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools
# What pip is told of versions. CONSTRAINTS= installs the newest ones instead.
CONSTRAINTS ?= --constraint constraints.txt
# The interpreters of `make test-pythons`.
PYTHONS ?= python3.11 python3.12 python3.13
# Python compiles a module when it is first imported: most never are. Those that the commands
# import are compiled once, here, also where PYTHONDONTWRITEBYTECODE says not to.
COMPILE := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python
INSTALL := $(BIN)/python -m pip install --quiet --no-compile $(CONSTRAINTS) --editable

.DEFAULT_GOAL := help
.PHONY: help install verify quick verify-gpu test test-slow test-pythons test-lowest test-newest lint format types figures docs notebooks linkcheck bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

install: $(TOOLS)  ## make the virtual environment and install samflow in it

$(STAMP): pyproject.toml $(wildcard $(CONSTRAINTS))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "samflow needs Python 3.11 or newer; call make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) '.[all]'
	$(COMPILE) -m reporting.bytecode
	touch $(STAMP)

$(TOOLS): $(STAMP)
	$(INSTALL) '.[dev]'
	$(COMPILE) -m pytest --collect-only -q >/dev/null || true
	touch $(TOOLS)

verify: $(STAMP)  ## check the claims of the two papers; writes report/ (ARGS=-v: all of them)
	$(BIN)/python -m analysis --size small --output report $(ARGS)

quick: $(STAMP)  ## the same in a minute of work: three studies, one figure
	$(BIN)/python -m analysis --quick --output report

verify-gpu: $(STAMP)  ## measure networks and trainings on accelerators; writes docs/benchmarks/gpu.json
	$(BIN)/python benchmarks/gpu.py --size full -o docs/benchmarks/gpu.json

test: $(TOOLS)  ## run the quick tier of the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# Here programs are compiled as a user's are: the quick tier leaves most optimisations out.
test-slow: $(TOOLS)  ## run the slow tier: whole studies, long statistics, tutorials
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-pythons:  ## run the quick tier on Python 3.11, 3.12 and 3.13, each in an environment of its own
	for python in $(PYTHONS); do $(MAKE) test PYTHON=$$python VENV=.venv-$${python##*/} || exit 1; done

# Not every Python has wheels of versions that old.
test-lowest:  ## run it with the lowest versions of the dependencies that pyproject.toml allows
	$(MAKE) test PYTHON=python3.11 VENV=.venv-lowest CONSTRAINTS='--constraint constraints-lowest.txt'

test-newest:  ## run it with the newest ones, and with the PyTorch of constraints.txt
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=$$(grep '^torch==' constraints.txt)

lint: $(TOOLS)  ## check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: $(TOOLS)  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(TOOLS)  ## check the types
	$(BIN)/pyright

figures: $(STAMP)  ## draw every figure; writes report/figures/
	$(BIN)/python -m figures --output report/figures

docs: $(TOOLS)  ## build the documentation site; writes docs/_build/html/, to be read offline
	rm -rf docs/_build/html
	$(BIN)/python -m sphinx -b html -W --keep-going -q -d docs/_build/pages docs docs/_build/html
	$(BIN)/python docs/_ext/check.py docs/_build/html
	@echo docs/_build/html/index.html

notebooks: $(TOOLS)  ## make docs/notebooks/ from the tutorials, and execute them
	$(BIN)/python docs/_ext/notebooks.py

linkcheck: $(TOOLS)  ## list the links of the documentation to other hosts, and whether they answer
	$(BIN)/python -m sphinx -b linkcheck -q -d docs/_build/pages docs docs/_build/linkcheck

bench: $(STAMP)  ## measure speed against C compiled on this machine, and against other libraries
	$(BIN)/python benchmarks/ensembles.py
	$(BIN)/python benchmarks/orbits.py
	$(BIN)/python benchmarks/lyapunov.py
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python benchmarks/flows.py
	$(BIN)/python benchmarks/basin.py
	$(BIN)/python benchmarks/others.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/explorer.py

clean:  ## remove what the targets made
	rm -rf $(VENV) .venv-* report docs/_build docs/generated
