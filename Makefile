# `make demo` and `make test` set up what they need: only Python 3.11, make and git must be there.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check benchmark experiment clean

demo: $(READY)
	$(BIN)/python pipelines/run_all.py --config pipelines/configs/demo.yaml

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Speed beside bare products, memory, recall; QUICK=1 takes small sizes.
benchmark: $(READY)
	$(BIN)/python benchmarks/run_all.py $(if $(QUICK),--quick)

# Models tuned, trained and compared on a tiny world, with a report: minutes.
experiment: $(READY)
	$(BIN)/python pipelines/experiment.py --config pipelines/configs/paper_demo.yaml --quick

clean:
	rm -rf .venv build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(READY): requirements.txt setup.py
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "m3csr_tf needs Python 3.11, got %d.%d; pass PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(READY)
