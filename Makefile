# milepost: make help
EXP ?= ag_news
SET ?=
# What bench-card is about is a card.
ifneq ($(filter bench-card,$(MAKECMDGOALS)),)
DEVICE ?= tch:cuda:0
endif
DEVICE ?= flex
PYTHON ?= python3
PORT ?= 6006
SEEDS ?= 1,2,3
KILLS ?= 300
STUDIES ?= 20
MAIN ?= mini:main
ASSISTANT ?= mini:assistant
CARGO_DENY := 0.20.2

# burn is built once, in this profile, for run, test and bench. A device of DEVICE, also in main=...,assistant=..., is the feature of its name.
FEATURES := $(strip $(foreach feature,tch wgpu vulkan metal,$(if $(findstring $(feature),$(DEVICE)),$(feature))))
comma := ,
CARGO_FLAGS := --release $(if $(FEATURES),--features '$(FEATURES)')

# libtorch 2.9: the folder LIBTORCH, or the torch of PYTHON, or else tch downloads it while it is built.
ifneq ($(filter tch,$(FEATURES)),)
ifneq ($(LIBTORCH),)
TORCH_LIB := $(LIBTORCH)/lib
else
TORCH_LIB := $(shell $(PYTHON) -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib") if torch.__version__.startswith("2.9.") else "")' 2>/dev/null)
endif
ifneq ($(TORCH_LIB),)
ifeq ($(LIBTORCH),)
export LIBTORCH_USE_PYTORCH := 1
# The build asks `python3` for torch.
export PATH := $(dir $(shell command -v $(PYTHON))):$(PATH)
endif
# The program carries no path to it.
export LD_LIBRARY_PATH := $(TORCH_LIB):$(LD_LIBRARY_PATH)
endif
endif
MILEPOST := cargo run -q $(CARGO_FLAGS) --
BY := $(if $(ENGINE),--engine $(ENGINE)) $(SLURM)
SELECTION := $(EXP) $(if $(SET),--set '$(SET)') $(if $(filter-out flex,$(DEVICE)),--device $(DEVICE))

.DEFAULT_GOAL := help
.PHONY: help finetune sweep study report compare export calibrate prove-why measure replay influence fetch plan data hooks hook pretrain tensorboard test torture check-slurm deny bench bench-decode bench-train bench-devices bench-card device

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  EXP=ag_news names the experiment, SET="train.max_steps=50 seed=7" overrides its settings'

finetune: build ## fine-tune the pair of experiments/$(EXP).toml; UNTIL="step 60" ends there, with HOLD=1 it asks there what next
	@$(MILEPOST) finetune $(SELECTION) $(if $(UNTIL),--until '$(UNTIL)') $(if $(HOLD),--hold)

plan: build ## show what the experiment would do, without doing it
	@$(MILEPOST) plan $(SELECTION)

data: build ## show the text of the experiment: files, counts, topics, and the first documents as tokens
	@$(MILEPOST) data $(SELECTION)

device: build ## look at the devices of this machine, how fast they are and which to use: make device [DEVICE=tch:cuda:0 QUICK=1 OUT=device.json]
	@$(MILEPOST) device $(if $(filter-out flex,$(DEVICE)),--device '$(DEVICE)') $(if $(QUICK),--quick) $(if $(OUT),--json '$(OUT)')

hooks: build ## list the kinds of hooks and interventions and their options
	@$(MILEPOST) hooks

hook: build ## scaffold a hook: make hook NAME=my_hook
	@test -n '$(NAME)' || { echo 'usage: make hook NAME=my_hook [EXP=ag_news]' >&2; exit 2; }
	@$(MILEPOST) hooks --new '$(NAME)' --experiment '$(EXP)'

pretrain: build ## train the built-in mini pair anew (about 10 minutes)
	@$(MILEPOST) pretrain

tensorboard: .venv/ready ## open the runs in TensorBoard
	@.venv/bin/tensorboard --logdir runs --port $(PORT)

test: ## everything that CI checks: format, lints, tests
	cargo fmt --all -- --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	@if command -v $(PYTHON) >/dev/null; then $(MAKE) -s .venv/ready; \
	else echo 'no $(PYTHON): the tests that read with the real TensorBoard will say that they skip'; fi
	@$(MAKE) -s deny
	cargo test $(CARGO_FLAGS) -- --include-ignored

torture: ## kill and resume runs KILLS times (300), half an hour, and compare them with runs never killed
	MILEPOST_TORTURE_KILLS=$(KILLS) cargo test $(CARGO_FLAGS) --test suite torture -- --nocapture

check-slurm: ## run the tests of --engine slurm with a real Slurm on this machine, which apt-get installs first (needs root)
	@tests/slurm/one-machine.sh check >/dev/null || tests/slurm/one-machine.sh install
	@tests/slurm/one-machine.sh check
	cargo test $(CARGO_FLAGS) --test suite slurm:: -- --include-ignored --nocapture

prove-why: ## plant a cause and find it; then STUDIES placebo studies (20), an hour, that must find nothing more often than 5%
	MILEPOST_PLACEBO_STUDIES=$(STUDIES) cargo test $(CARGO_FLAGS) --test suite prove_why -- --include-ignored --nocapture --test-threads 1

deny: ## check licences, bans and sources of all crates by deny.toml, and advisories where their database can be had
	@test -x .tools/bin/cargo-deny || { echo 'building cargo-deny into .tools (some minutes)' && \
		cargo install -q cargo-deny --version $(CARGO_DENY) --locked --root .tools; }
	@.tools/bin/cargo-deny check licenses bans sources
	@if .tools/bin/cargo-deny fetch db 2>/dev/null; then .tools/bin/cargo-deny check advisories; \
	else echo 'NOT CHECKED: advisories; their database cannot be had from here'; fi

measure: build ## measure a pair without training: make measure MAIN=DIR ASSISTANT=DIR
	@$(MILEPOST) measure --main '$(MAIN)' --assistant '$(ASSISTANT)' $(if $(SET),--set '$(SET)') $(if $(filter-out flex,$(DEVICE)),--device $(DEVICE))

replay: build ## measure a run's checkpoints with other hooks: make replay RUN=runs/... [HOOKS=FILE]
	@test -n '$(RUN)' || { echo 'usage: make replay RUN=runs/ag_news/NAME [HOOKS=FILE]' >&2; exit 2; }
	@$(MILEPOST) replay '$(RUN)' $(if $(HOOKS),--hooks '$(HOOKS)')

influence: build ## estimate which documents moved the pair: make influence RUN=runs/... [CHECK=32 JOBS=2]
	@test -n '$(RUN)' || { echo 'usage: make influence RUN=runs/ag_news/NAME [CHECK=32 JOBS=2]' >&2; exit 2; }
	@$(MILEPOST) influence '$(RUN)' $(if $(CHECK),--check $(CHECK)) $(if $(JOBS),--jobs $(JOBS))

study: build ## run arms that each change one thing, and compare them: make study EXP=why [JOBS=2] [ENGINE=slurm SLURM="--time=60"]
	@$(MILEPOST) study $(EXP) $(if $(JOBS),--jobs $(JOBS)) $(BY)

sweep: build ## run an experiment with several seeds and pool them: make sweep EXP=ag_news SEEDS=1,2,3 [NAME=lr] [JOBS=2] [ENGINE=slurm SLURM="..."]
	@$(MILEPOST) sweep $(SELECTION) --seeds '$(SEEDS)' $(if $(NAME),--name '$(NAME)') $(if $(JOBS),--jobs $(JOBS)) $(BY)

report: build ## write the page on a run, or on several pooled: make report [RUN="runs/ag_news/NAME ..."] [OUT=page.html]
	@$(MILEPOST) report $(RUN) $(if $(OUT),--out '$(OUT)')

compare: build ## show two runs side by side: make compare RUN="runs/ag_news/ONE runs/ag_news/OTHER"
	@test $(words $(RUN)) = 2 || { echo 'usage: make compare RUN="runs/ag_news/ONE runs/ag_news/OTHER"' >&2; exit 2; }
	@$(MILEPOST) compare $(RUN)

export: build ## write a run's records as CSV: make export [RUN="runs/ag_news/NAME ..."] [OUT=FOLDER] [TABLE=prompts]
	@$(MILEPOST) export $(RUN) $(if $(TABLE),--table '$(TABLE)') $(if $(OUT),--out '$(OUT)')

calibrate: build ## check the statistics on a run's own values: make calibrate [RUN=runs/ag_news/NAME]
	@$(MILEPOST) calibrate $(RUN)

fetch: build ## get everything an experiment needs while there is a network
	@$(MILEPOST) fetch $(SELECTION)

bench: ## the loop against a bare one, the TensorBoard writer, the statistics
	cargo bench --bench overhead
	cargo bench --bench tensorboard
	cargo bench --bench statistics

bench-decode: ## a milestone at gpt2's size beside transformers (PYTHON), some minutes: make bench-decode [TOKENIZER=DIR PROFILE=1]
	@$(PYTHON) -c 'import torch, transformers' 2>/dev/null || echo 'no torch and transformers in $(PYTHON): milepost alone'
	cargo bench --bench decode -- $(if $(PROFILE),--profile) $(if $(TOKENIZER),--tokenizer '$(TOKENIZER)') $$($(PYTHON) -c 'import torch, transformers' 2>/dev/null && echo --python $(PYTHON))

bench-train: ## a training step at three sizes in turns with PyTorch (PYTHON), ten minutes: make bench-train [PROFILE=1]
	@$(PYTHON) -c 'import torch, transformers' 2>/dev/null || echo 'no torch and transformers in $(PYTHON): milepost alone'
	cargo bench --bench training -- $(if $(PROFILE),--profile) $$($(PYTHON) -c 'import torch, transformers' 2>/dev/null && echo --python $(PYTHON))

bench-devices: ## a training step on DEVICE against flex, in turns with PyTorch where PYTHON has it: make bench-devices DEVICE=tch [SIZE=gpt2 PRECISION=bf16]
	cargo bench $(if $(FEATURES),--features '$(FEATURES)') --bench training -- --size $(or $(SIZE),medium) $(if $(PRECISION),--precision $(PRECISION)) $$($(PYTHON) -c 'import torch, transformers' 2>/dev/null && echo --eager-only --python $(PYTHON)) $(filter-out flex,$(subst $(comma), ,$(DEVICE)))

bench-card: build ## training, a milestone and hooks on a card beside PyTorch: make bench-card PYTHON=... [DEVICE=tch:cuda:0 SIZE=small STEPS=100 OUT=card]
	@DEVICE='$(DEVICE)' PYTHON='$(PYTHON)' $(if $(SIZE),SIZE='$(SIZE)') $(if $(STEPS),STEPS='$(STEPS)') $(if $(OUT),OUT='$(OUT)') benches/card.sh target/release/milepost

.PHONY: build
build:
ifneq ($(filter tch,$(FEATURES)),)
	@test -n '$(TORCH_LIB)' || echo 'no libtorch: LIBTORCH is not set and $(PYTHON) has no torch 2.9; tch tries to download it' >&2
	@test -z '$(LIBTORCH)' || test -d '$(LIBTORCH)/lib' || { echo 'LIBTORCH=$(LIBTORCH) has no lib/' >&2; exit 2; }
	@cargo build $(CARGO_FLAGS) || { echo 'with DEVICE=tch the build needs libtorch 2.9: set LIBTORCH to its folder, or PYTHON to a Python with torch 2.9.0' >&2; exit 1; }
else
	@cargo build $(CARGO_FLAGS)
endif

# TensorBoard needs setuptools below 81, which still has pkg_resources.
.venv/ready:
	@echo 'installing TensorBoard into .venv'
	@$(PYTHON) -m venv .venv || { echo 'no venv: install python3-venv, or go without by PYTHON=none' >&2; exit 1; }
	@.venv/bin/pip install -q --disable-pip-version-check 'tensorboard>=2.20,<3' 'setuptools<81' || \
		{ echo 'TensorBoard cannot be installed here; go without by PYTHON=none' >&2; exit 1; }
	@touch $@
