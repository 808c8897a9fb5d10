# Two commands matter: `make demo` and `make test`. Both set up everything they need; a second run reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Streaming is tested on a real Kafka and a real Redis; `make test SERVICES=none` passes without, and its last line says what was not run.
SERVICES ?= build/services/.ready
USED := $(filter-out none,$(SERVICES))
# Three workers for two cores, since tests on a broker mostly wait.
PYTEST := pytest -n 3 --dist worksteal
# Where it is set, each of a thousand processes would compile all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test suite services lint soak bench oldest clean help

help:  ## What can be made.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(READY)  ## From nothing to a certified policy and decisions on pictures, with a report to open.
	@$(BIN)/moderation demo --out build/demo $(if $(MODERATION_TEST_KAFKA),--kafka $(MODERATION_TEST_KAFKA))

test: $(READY) $(USED)  ## From nothing to a passed test suite.
	@$(MAKE) --no-print-directory --jobs=2 lint suite

suite: $(READY) $(USED)
	@$(BIN)/$(PYTEST)

services: $(READY) build/services/.ready  ## A real Kafka broker and a real Redis server until Ctrl-C, and how tests find them.
	@$(BIN)/python -m tests.services

lint: $(READY)  ## Format, lint, types, import contract.
	@mkdir -p build
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > build/imports.log || { cat build/imports.log; exit 1; }

soak: $(READY) $(USED)  ## The long forms of the tests: larger simulations, more fuzzing.
	@$(BIN)/pytest -n 2 -m soak
	@HYPOTHESIS_PROFILE=soak $(BIN)/pytest -n 2 tests/property

bench: $(READY) $(USED) build/peers/.ready build/serve-peers/.ready  ## Every speed figure of the documents, measured side by side on this machine.
	@$(BIN)/pip install --quiet --constraint constraints.txt --group bench
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done
	@echo "== benchmarks/encode.py --clock cpu"; $(BIN)/python benchmarks/encode.py --clock cpu

build/peers/.ready: pyproject.toml
	@$(PYTHON) -m venv --clear build/peers
	@build/peers/bin/pip install --quiet --disable-pip-version-check "pip>=25.1"
	@build/peers/bin/pip install --quiet --group peers
	@touch $@

# One by one, so that what failed half-way goes on where it was; by .venv's own Python, whose torch they borrow.
build/serve-peers/.ready: $(patsubst %,build/serve-peers/%/.ready,bentoml infinity litserve open-clip ray)
	@touch $@

build/serve-peers/%/.ready: pyproject.toml | build/serve-peers/torch
	@$(BIN)/python -m venv --clear --without-pip build/serve-peers/$*
	@echo $(CURDIR)/build/serve-peers/torch > "$$(echo build/serve-peers/$*/lib/python*/site-packages)/torch.pth"
	@$(BIN)/pip --python build/serve-peers/$*/bin/python install --disable-pip-version-check --quiet --group peer-$*
	@touch $@

build/serve-peers/torch: | $(READY)
	@mkdir -p $@
	@cd $(VENV)/lib/python*/site-packages && for one in torch torch-* torchgen functorch triton* nvidia* cuda*; do \
	    if [ -e "$$one" ]; then ln -sfn "$$(pwd -P)/$$one" $(CURDIR)/$@/; fi; \
	done

oldest:  ## The suite on the oldest versions that pyproject.toml allows.
	@PYTHON=$(PYTHON) .ci/setup build/oldest constraints-oldest.txt
	@build/oldest/bin/$(PYTEST) -W "ignore:Deprecated in 0.9.0:DeprecationWarning"

clean:  ## Forget everything that was set up or built.
	rm -rf $(VENV) build

$(READY): pyproject.toml constraints.txt .ci/setup .ci/need $(wildcard plugins/*/pyproject.toml)
	@PYTHON=$(PYTHON) .ci/setup $(VENV) constraints.txt
	@touch $@

build/services/.ready: tests/services/pom.xml .ci/services .ci/need
	@.ci/services build/services
	@touch $@
