# Everything is done in .venv; PYTHON chooses the interpreter (3.10 to 3.13).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test check docs bench nano clean

quickstart: .venv/installed ## install, and adapt the bundled nano to handwritten digits
	$(BIN)/cliptune fit --config digits

test: .venv/dev ## install with the dev extras, and run the tests
	$(BIN)/python -m pytest -n auto --dist loadfile

check: .venv/dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy cliptune benchmarks

docs: .venv/dev ## the documentation as a site: site/index.html
	$(BIN)/mkdocs build --strict

bench: .venv/bench ## the measurements of benchmarks/, with the flags that the pages' figures were made with
	$(BIN)/python benchmarks/commands.py

bench-%: .venv/bench ## one part: make bench-train_peers writes benchmarks/results/train_peers.json
	$(BIN)/python benchmarks/commands.py $*

nano: .venv/dev ## pretrain the bundled nano anew, from ../shared/data
	$(BIN)/cliptune fit --config pretrain/nano
	$(BIN)/python configs/pretrain/ship_nano.py runs/nano

clean:
	rm -rf .venv build dist site

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ .venv/installed

.venv/bench: .venv/dev
	$(BIN)/pip install --quiet --editable '.[dev,bench]'
	touch $@
