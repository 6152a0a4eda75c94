# Everything here makes .venv and installs into it by itself; a fresh clone needs Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
# Those that share zoo's environment; zoo-image-reward cannot (zoo env create plugins/zoo-image-reward).
PLUGINS := $(patsubst %,--editable plugins/%,zoo-example zoo-geneval zoo-human zoo-ocr zoo-torchdiffeq zoo-unified-reward)

.PHONY: demo test test-slow test-gpu check format lint type layers docs bench wheels install clean

demo: .venv/installed
	$(BIN)/zoo train recipes/nft_digits.yaml

# Numbers are compared, and runs have more processes than a machine cards: on the CPU, also where there are any.
test: .venv/installed-dev
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-slow: .venv/installed-dev
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not gpu" || test $$? -eq 5

test-gpu: .venv/installed-dev
	$(BIN)/pytest -m "gpu" || test $$? -eq 5

check: lint type layers docs

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: .venv/installed-dev
	$(BIN)/mypy

layers: .venv/installed-dev
	$(BIN)/lint-imports

# The site, in site/; a link that leads nowhere fails. Anew each time: its cache does not see that docstrings changed.
docs: .venv/installed-dev
	$(BIN)/zensical build --strict --clean

bench: .venv/installed
	$(BIN)/zoo compare benchmarks/digits.yaml

# Of zoo and all plugins, in dist/: pip install dist/diffusion_rl_zoo-*.whl dist/zoo_reward_worker-*.whl
wheels: .venv/installed-dev
	rm -rf build dist
	for package in . $(wildcard plugins/*); do \
		$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $$package || exit 1; \
		rm -rf $$package/build; \
	done

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zoo needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable plugins/zoo-reward-worker --editable '.[serve]'
	touch $@

.venv/installed-dev: .venv/installed $(wildcard plugins/*/pyproject.toml)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]' $(PLUGINS)
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache
