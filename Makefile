# Targets for people and for .ci/run. Everything that is made lies under build/; `make clean` removes it.

PYTHON ?= python3
BUILD := build
VENV := $(BUILD)/venv
COLLECTION := $(BUILD)/collections/ansible_collections/gpuswarm/ollama
VERSION := $(shell sed -n 's/^version: *//p' galaxy.yml)
TARBALL := $(BUILD)/gpuswarm-ollama-$(VERSION).tar.gz
REQUIREMENTS := requirements-dev.txt requirements.txt roles/recovery/files/requirements.txt

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# Where Molecule looks; it would rather have extensions/molecule, which nobody finds.
export MOLECULE_GLOB := molecule/*/molecule.yml

# What each kind of checker looks at: every file that is, or will be, in git.
FILES := git ls-files --cached --others --exclude-standard
# What mypy checks. Under the collection's name: plugins, and what has a name of its own that means something else to mypy.
TYPED := $(wildcard tests demo) $(addprefix $(COLLECTION)/,$(wildcard plugins lab molecule))

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# ---------------------------------------------------------------- environment

.PHONY: venv
venv: $(VENV)/.complete $(COLLECTION) ## Python environment in build/venv, with the checkout as the collection

$(VENV)/.complete: $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { \
	        echo "$(PYTHON) cannot make virtual environments: install python3-venv (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv; }
	@# In place, one at a time: what runs from the environment goes on running when a pin changes.
	@mkdir -p $(BUILD); exec 9>$(BUILD)/venv.lock; flock 9; \
	    [ -x $(VENV)/bin/pip ] || env -u VIRTUAL_ENV $(PYTHON) -m venv --clear $(VENV); \
	    echo "Installing the Python environment into $(VENV) (the first time about a minute) ..."; \
	    $(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-dev.txt 2>&1 \
	        | { grep -v '^WARNING: Location' || true; }
	@$(VENV)/bin/python -m pip --disable-pip-version-check check
	@# Collections are never loaded from byte code: leaving out their thousands of files halves the wait.
	@$(VENV)/bin/python -m compileall -q -j 2 -x ansible_collections $(VENV)/lib || true
	@touch $@

# The name that Ansible, pytest and mypy find the checkout by.
$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

.PHONY: clean
clean: ## Remove everything that was built (the lab must be down: make demo-down)
	@if [ -d $(BUILD)/lab ]; then echo "The lab is up: run 'make demo-down' first" >&2; exit 1; fi
	rm -rf $(BUILD) .ansible

# ---------------------------------------------------------------- artefact

.PHONY: collection
collection: $(VENV)/.complete ## Build the collection's tarball into build/
	@$(VENV)/bin/ansible-galaxy collection build --force --output-path $(BUILD) .

# The tarball alone must do, by the tutorial's own steps, in an empty home and away from the checkout.
.PHONY: install-check
install-check: collection
	@.ci/install-check $(TARBALL)

# ---------------------------------------------------------------- checks

.PHONY: lint
lint: venv ## yamllint, ansible-lint, ruff, mypy, shellcheck, changelog fragments
	@yamllint --strict .
	@ruff check .
	@ruff format --check .
	@$(MAKE) --no-print-directory mypy
	@$(FILES) -z | xargs -0 grep -lsE '^#!.*[/ ](ba)?sh( |$$)' | xargs -r shellcheck
	@antsibull-changelog lint
	@$(MAKE) --no-print-directory ansible-lint

.PHONY: mypy
mypy: venv
	@mypy $(TYPED)

.PHONY: ansible-lint
ansible-lint: venv
	@ansible-lint --offline

.PHONY: docs
docs: venv ## Fill in what is generated in docs/
	@PYTHONPATH=$(BUILD)/collections python -m tests.kit.reference

.PHONY: sanity
sanity: collection ## ansible-test sanity on a copy of what the tarball holds
	@.ci/sanity $(TARBALL)

.PHONY: unit
unit: venv ## Unit tests, with a floor for the coverage of what decides (per cent; 97 are measured)
	@python -m pytest tests/unit --cov --cov-report= --cov-fail-under=94

.PHONY: unit-newest
unit-newest: ## Unit tests on Debian 13, with its Python and the newest ansible-core, in a container of the lab's image
	@.ci/unit-newest

.PHONY: integration
integration: integration-cloud integration-gateway ## Integration tests, of the cloud side and of the gateway

.PHONY: integration-cloud
integration-cloud: venv ## The cloud side against the lab's Nova with its in-memory driver, which the tests raise and end
	@env -u OS_CLIENT_CONFIG_FILE -u OS_CLOUD python -m pytest tests/cloud

.PHONY: integration-gateway
integration-gateway: venv ## The gateway: real nginx and Ollama in network namespaces
	@python -m pytest tests/bed

.PHONY: bench-cloud
bench-cloud: venv ## Benchmark of the cloud side against openstack.cloud and the bare SDK, on the lab (about ten minutes)
	@env -u OS_CLIENT_CONFIG_FILE -u OS_CLOUD python -W ignore -m tests.bench.cloud $(BENCH)

.PHONY: bench-cost
bench-cost: venv ## The bill beside an independent count, without a cloud: build/bench/cost.json (about four minutes)
	@PYTHONPATH=$(BUILD)/collections python -m tests.bench.cost $(BENCH)

.PHONY: simulate
simulate: venv ## Capacity policies and timing in a month of preemptions, without a cloud: build/simulation.json and the docs' tables
	@PYTHONPATH=$(BUILD)/collections python -m tests.bench.simulate $(SIMULATE)

.PHONY: molecule
molecule: lab-up ## Molecule scenarios: the cluster built, preempted, healed
	@COLUMNS=160 molecule test --all --no-command-borders

.PHONY: lab-up
lab-up: venv
	@lab/lab up

.PHONY: bench-gateway
bench-gateway: venv ## The gateway beside others while servers vanish: build/bench/gateway.json
	@python -m tests.bench.gateway $(BENCH)

# In lanes beside each other, every phase with a limit and timed: tests/kit/lanes.py. `make test` is the gate; what is repetition
# or too long for it is marked "thorough" (pyproject.toml) and runs in `make test-all`.
.PHONY: test
test: venv ## All checks of the gate: lint, sanity, unit, artefact, integration, Molecule
	@python -m tests.kit.lanes

.PHONY: test-all
test-all: venv ## The same, and what is repetition or too long for the gate
	@PYTEST_ADDOPTS='-m "thorough or not thorough"' python -m tests.kit.lanes

# ---------------------------------------------------------------- demonstration

.PHONY: demo
demo: venv ## The whole way in the lab: build the cluster, preempt a GPU server, watch it heal
	@python -m demo

# Against the cluster that `make demo` has built.
.PHONY: bench-recovery
bench-recovery: venv ## Benchmark in the lab: preemptions, how long until everything answers again (about 45 minutes)
	@python -m tests.bench.recovery $(BENCH)

.PHONY: demo-down
demo-down: ## Remove the cluster and the lab
	@if [ -x $(VENV)/bin/python ]; then $(VENV)/bin/python -m demo down; else lab/lab down; fi
