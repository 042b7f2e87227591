# make demo: train, fine-tune, segment, evaluate and export on synthetic data. make test: the tests.
PYTHON ?= python3
VENV = .venv
RUN = $(VENV)/bin/python

.PHONY: install demo test clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: install
	$(RUN) tools/demo.py --output demo

test: install
	$(RUN) -m pytest

clean:
	rm -rf $(VENV) demo
