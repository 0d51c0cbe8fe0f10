# milepost: make help
EXP ?= ag_news
SET ?=
DEVICE ?= flex
PYTHON ?= python3
PORT ?= 6006

# burn is built once, in this profile, for run, test and bench.
CARGO_FLAGS := --release $(if $(filter tch%,$(DEVICE)),--features tch)
MILEPOST := cargo run -q $(CARGO_FLAGS) --
SELECTION := $(EXP) $(if $(SET),--set '$(SET)') $(if $(filter-out flex,$(DEVICE)),--device $(DEVICE))

.DEFAULT_GOAL := help
.PHONY: help finetune plan hooks hook pretrain tensorboard test bench

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  EXP=ag_news names the experiment, SET="train.max_steps=50 seed=7" overrides its settings'

finetune: build ## fine-tune the pair of experiments/$(EXP).toml
	@$(MILEPOST) finetune $(SELECTION)

plan: build ## show what the experiment would do, without doing it
	@$(MILEPOST) plan $(SELECTION)

hooks: build ## list the kinds of hooks and their options
	@$(MILEPOST) hooks

hook: build ## scaffold a hook: make hook NAME=my_hook
	@test -n '$(NAME)' || { echo 'usage: make hook NAME=my_hook [EXP=ag_news]' >&2; exit 2; }
	@$(MILEPOST) hooks --new '$(NAME)' --experiment '$(EXP)'

pretrain: build ## train the built-in mini pair anew (about 10 minutes)
	@$(MILEPOST) pretrain

tensorboard: .venv/ready ## open the runs in TensorBoard
	@# The fast loader does not drop the points that a resumed run writes again.
	@.venv/bin/tensorboard --load_fast=false --logdir runs --port $(PORT)

test: ## everything that CI checks: format, lints, tests
	cargo fmt --all -- --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	@if command -v $(PYTHON) >/dev/null; then $(MAKE) -s .venv/ready; \
	else echo 'no $(PYTHON): the tests that read with the real TensorBoard will say that they skip'; fi
	cargo test $(CARGO_FLAGS) -- --include-ignored

bench: ## the loop against a bare one, and the TensorBoard writer
	cargo bench

.PHONY: build
build:
	@cargo build $(CARGO_FLAGS)

# TensorBoard needs setuptools below 81, which still has pkg_resources.
.venv/ready:
	@echo 'installing TensorBoard into .venv'
	@$(PYTHON) -m venv .venv || { echo 'no venv: install python3-venv, or go without by PYTHON=none' >&2; exit 1; }
	@.venv/bin/pip install -q --disable-pip-version-check 'tensorboard>=2.20,<3' 'setuptools<81' || \
		{ echo 'TensorBoard cannot be installed here; go without by PYTHON=none' >&2; exit 1; }
	@touch $@
