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

bench-%: .venv/bench ## one part: make bench-train_peers is benchmarks/train_peers.py
	$(BIN)/python benchmarks/$*.py
	$(BIN)/python benchmarks/page.py

bench: .venv/bench ## the measurements of benchmarks/, as ratios in one run; few_shot_peers, which takes many hours, by itself
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/decoded_cache.py
	$(BIN)/python benchmarks/transforms.py
	$(BIN)/python benchmarks/doctor.py
	$(BIN)/python benchmarks/million_rows.py
	$(BIN)/python benchmarks/full_step.py --memory
	$(BIN)/python benchmarks/adapter_step.py --memory
	$(BIN)/python benchmarks/adapter_step.py --memory --precision bf16-mixed
	$(BIN)/python benchmarks/probe_job.py
	$(BIN)/python benchmarks/attention_forms.py
	$(BIN)/python benchmarks/probe_features.py
	$(BIN)/python benchmarks/probe_penalty.py
	$(BIN)/python benchmarks/few_shot.py
	$(BIN)/python benchmarks/pooled_block.py
	$(BIN)/python benchmarks/loss_blocks.py
	$(BIN)/python benchmarks/chunked_step.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/train_peers.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/probe_peers.py
	$(BIN)/python benchmarks/zero_shot_peers.py
	$(BIN)/python benchmarks/coop_fit.py
	$(BIN)/python benchmarks/chunked_step.py --against open_clip_train
	$(BIN)/python benchmarks/onnx_speed.py
	$(BIN)/python benchmarks/page.py

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
