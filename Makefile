# `make help` lists the targets; .ci/run has those that CI runs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
CONFIG ?= experiments/configs/mnist.py
WORKDIR ?= runs/mnist
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install install-dev train sample inception mnist test lint format format-check typecheck theory bench accelerator bench-plot results reproduce torture slurm build clean

help: ## list the targets
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "gan_jax needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

##@ Set up

install: $(VENV)/.installed ## create .venv with the package in it
install-dev: $(VENV)/.installed-dev ## create .venv with the package and the tools for its development

##@ Train and draw

train: install ## train a GAN on digits, or resume it (CONFIG=, WORKDIR=, ARGS=--config.num_steps=…)
	$(RUN) experiments/train.py --config="$(CONFIG)" --workdir="$(WORKDIR)" $(ARGS)

sample: install ## draw samples from the trained run (WORKDIR=, ARGS=--num=64 …)
	$(RUN) experiments/sample.py --workdir="$(WORKDIR)" $(ARGS)

##@ Fetch once

inception: install ## fetch the weights of Inception for FID, 81 MB, once
	$(RUN) experiments/inception.py

mnist: install ## fetch all 70,000 digits of MNIST, 20 MB, once
	$(RUN) experiments/fetch_mnist.py

##@ Develop

test: install-dev ## run the whole suite (ARGS=-k … for a part)
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install-dev ## check the code
	$(RUN) -m ruff check .

format: install-dev ## rewrite the code in the house format
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

format-check: install-dev ## fail where the format is off
	$(RUN) -m ruff format --check .

typecheck: install-dev ## check the types
	$(RUN) -m mypy

##@ Measure

bench: install ## time the training step beside Flax's own layers, or ARGS='--size=32,64 --baseline=torch …'
	$(RUN) experiments/benchmark.py --config="$(CONFIG)" $(or $(ARGS),--baseline=flax)

accelerator: install ## measure speed, precision, determinism and quality on the devices that JAX sees; resumable (PART=benchmark …, ARGS=--minutes=8)
	$(RUN) experiments/accelerator.py $(if $(PART),--part="$(PART)") $(ARGS)

bench-plot: install ## draw the committed rows of the benchmark
	$(RUN) experiments/benchmark.py --plot=experiments/results/benchmark.jsonl $(ARGS)

##@ Results

theory: install ## run the numerical checks of the theory, below runs/theory (FULL=1: the long forms, whose results are committed)
	$(RUN) experiments/theory/run_all.py $(if $(FULL),--full) $(ARGS)

results: install ## draw the pages and pictures of comparisons in experiments/results again, from the committed rows
	$(RUN) experiments/ten_years.py --redraw
	$(RUN) experiments/stacked_mnist.py --redraw
	for table in losses few_images digits labels; do \
	  [ ! -e experiments/results/*_$$table.jsonl ] || $(RUN) experiments/fashion_mnist.py --table=$$table --redraw || exit; done
	$(RUN) experiments/mnist_parzen.py
	$(RUN) experiments/benchmark.py --plot=experiments/results/benchmark.jsonl
	$(RUN) experiments/benchmark_layers.py --plot=experiments/results/benchmark_layers.jsonl
	for script in growth accelerator; do \
	  [ ! -e experiments/results/$$script.jsonl ] || $(RUN) experiments/$$script.py --redraw || exit; done
	$(RUN) experiments/theory/run_all.py --redraw

##@ Check

reproduce: install ## train a short run twice, and once with kill -9 in the middle: the bits must be equal
	$(RUN) experiments/reproduce.py --config="$(CONFIG)" $(ARGS)

torture: install ## inject faults into real runs and print which were tolerated (ARGS=--kills=3 for the short form)
	$(RUN) experiments/torture.py $(ARGS)

slurm: install-dev ## start a Slurm of three nodes here (Debian: slurm-wlm, munge) and train, requeue and kill on it, 4 minutes
	$(RUN) tests/launch/check_slurm.py

##@ Package

build: install-dev ## build the wheel into dist/
	$(RUN) -m build --wheel

clean: ## remove the environment and build products; runs stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
