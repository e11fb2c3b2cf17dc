# The two commands of the README, and what contributors need. Each sets up what it needs first.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: demo test test-kueue test-nodes check cluster-up cluster-down images clean

demo: $(VENV)/runner.stamp
	$(BIN)/perfbench run examples/quickstart.yaml --no-fail

test: $(VENV)/dev.stamp
	scripts/test

# Runs in a queue of Kueue, which is built from source once, for minutes.
test-kueue: $(VENV)/dev.stamp
	PERFBENCH_KUEUE=1 scripts/test tests/cluster/test_kueue.py

# A run on two nodes, of which the second is made for it.
test-nodes: $(VENV)/dev.stamp
	PERFBENCH_NODES=1 scripts/test tests/cluster/test_nodes.py

check: $(VENV)/dev.stamp
	scripts/check

# Images for a cluster: make images, make images LOAD=kind, make images PUSH=registry.example/team.
images:
	scripts/images $(if $(PUSH),push $(PUSH),$(if $(LOAD),load $(LOAD)))

# The tests' own cluster with the project's images; what it prints sets up kubectl and helm.
cluster-up: $(VENV)/dev.stamp
	$(PYTHON) tests/cluster/cluster.py up
	$(PYTHON) tests/cluster/cluster.py image
	@$(PYTHON) tests/cluster/cluster.py env

cluster-down:
	$(PYTHON) tests/cluster/cluster.py down

clean:
	rm -rf $(VENV) outputs dist build

$(VENV)/runner.stamp: pyproject.toml
	PYTHON=$(PYTHON) scripts/setup $(VENV) runner
	touch $@

$(VENV)/dev.stamp: pyproject.toml
	PYTHON=$(PYTHON) scripts/setup $(VENV) dev
	touch $@ $(VENV)/runner.stamp
