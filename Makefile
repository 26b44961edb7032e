# A bare machine needs Python ≥ 3.11 and make; everything else is set up inside this folder.
SHELL := bash
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/moesimvae/__init__.py)
IMAGE = ghcr.io/moesimvae/moesimvae:$(VERSION)
SNAKEMAKE := $(BIN)/python -m moesimvae.surroundings && $(BIN)/snakemake --cores $(CORES)
# MIRROR as one word of the shell, whatever is in it
QUOTE := '
MIRRORED = $(if $(MIRROR),--config mirror='$(subst $(QUOTE),'\'',$(MIRROR))')

.PHONY: help setup demo table1 ablation table2 table2_semisynthetic figure2 figure3 figure4 table3 \
	table3_subsets supplement synthetic scale verdict index archive test test-fast test-against test-wheel \
	test-sdist lint hooks format lock links env-clustpy docs docs-site dist release-notes image push-image \
	clean

help: ## List these targets
	@grep -E '^[a-z0-9_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

setup: $(VENV)/installed ## Make the virtual environment .venv from requirements.lock

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; give a newer one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## Run the benchmark on embedded and simulated data (no network, minutes)
	$(SNAKEMAKE) demo index
	@echo "Open results/demo/report.html in a browser."

table1: ## Regenerate Table 1 on MNIST; MIRROR=folder uses local copies of the data
ablation: ## MoE-Sim-VAE on MNIST with one part removed at a time
table2: ## Regenerate Table 2 and S1 Table on organs of Tabula Muris, 10 seeds and the screening
table2_semisynthetic: ## The same on semi-synthetic organs and sorted PBMC, from MIRROR=folder
figure3: ## Figure 3: latent spaces of these organs, a part of table2
table3: ## Regenerate Table 3 on mass cytometry, 30 seeds
table3_subsets: ## The same on subsets of three of its data sets, from MIRROR=folder
figure4: ## Figure 4, S2 Table and S8 Figure on wells of Bodenmiller et al.
figure2: ## Figure 2: digits that each expert generates
supplement: ## S2 to S6 Figures: studies of similarity and generation
synthetic: ## S1 Figure: Gaussian mixtures of 1 to 100 components
scale: ## Time and memory on 10,000 to 1,000,000 simulated cells
index: ## One page that leads to every report in results/
verdict: ## Every number of the paper beside those in results/

table1 ablation table2 table2_semisynthetic figure3 table3 table3_subsets figure4 \
		scale: setup
	$(SNAKEMAKE) $@ $(MIRRORED)
	@echo "Open results/$(@:figure3=table2)/report.html in a browser."

figure2 supplement synthetic verdict index: setup
	$(SNAKEMAKE) $@ $(MIRRORED)
	@echo "Look into results/$@$(if $(filter index,$@),.html)."

# an experiment of your own in config.yaml: make NAME
.DEFAULT:
	@$(MAKE) --no-print-directory setup
	$(SNAKEMAKE) $@ $(MIRRORED)

test: setup ## Run the tests, one file per core at a time
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

test-fast: setup ## The same without tests that take more than a few seconds each
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile -m "not slow" $(PYTEST_ARGS)

RESOLUTION ?= highest
test-against: ## The fast tests with PYTHON and the newest packages; RESOLUTION=lowest-direct: the oldest allowed
	rm -rf $(VENV)-against && $(PYTHON) -m venv $(VENV)-against
	$(VENV)-against/bin/pip install --quiet --disable-pip-version-check uv
	$(VENV)-against/bin/uv pip install --quiet --python $(VENV)-against/bin/python \
		--resolution $(RESOLUTION) -e ".[dev]"
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(VENV)-against/bin/pytest --numprocesses auto --dist loadfile -m "not slow" $(PYTEST_ARGS)

dist: setup ## Build the wheel and the source distribution into dist/
	rm -rf dist build
	$(BIN)/python -m build --outdir dist .

test-wheel: dist ## Install the wheel into an environment of its own and check what it promises
	rm -rf $(VENV)-wheel && $(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd $(VENV)-wheel && bin/python ../tests/bare.py

test-sdist: dist ## Unpack the source distribution and run its own fast tests
	rm -rf $(VENV)-sdist && mkdir $(VENV)-sdist && tar -xzf dist/*.tar.gz -C $(VENV)-sdist --strip-components 1
	cd $(VENV)-sdist && make test-fast PYTHON=$(PYTHON)

release-notes: ## Write release-notes.md: the tag, then the changelog's entry for this version
	@{ echo v$(VERSION); \
		sed -n '/^## /,$$p' CHANGELOG.md | sed '1d;/^## /,$$d'; } > release-notes.md
	@head -n 1 release-notes.md

image: ## Build the container image from requirements.lock, and plan the demo in it
	docker build --tag $(IMAGE) .
	docker run --rm $(IMAGE) demo --dry-run --quiet

push-image: ## Put the image where `--sdm apptainer` finds it
	docker push $(IMAGE)

hooks: setup ## What pre-commit runs before a commit, on all files
	$(BIN)/pre-commit run --all-files

lint: setup ## ruff, mypy, snakefmt and Snakemake's own linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: setup ## Format Python and Snakemake files; write ARCHITECTURE.md from the imports
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow
	$(BIN)/python docs/architecture.py
	$(BIN)/python docs/reference.py
	$(BIN)/python -m moesimvae.nouns workflow/schemas

lock: ## Rewrite requirements.lock and envs/ from pyproject.toml, in a clean environment
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 ".[dev]"
	{ sed '/^[^#]/d' requirements.lock; $(VENV)-lock/bin/pip freeze --quiet --exclude moesimvae \
		| sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	$(VENV)-lock/bin/python envs/write.py
	rm -rf $(VENV)-lock

archive: setup ## One folder and zip of EXPERIMENT=NAME to publish; runs what is missing
	@test -n "$(EXPERIMENT)" || { echo "error: say which experiment: make archive EXPERIMENT=table1"; exit 1; }
	$(SNAKEMAKE) $(EXPERIMENT) $(MIRRORED)
	$(BIN)/moesimvae archive $(EXPERIMENT)

links: setup ## Check every download link of the registry; HASHES=1 downloads them all
	$(BIN)/python bench/links.py $(if $(HASHES),--hashes)

env-clustpy: $(VENV)-clustpy/installed ## Make ClustPy's own environment, for the cross-check

$(VENV)-clustpy/installed: envs/clustpy.lock
	$(PYTHON) -m venv $(VENV)-clustpy
	$(VENV)-clustpy/bin/pip install --quiet --disable-pip-version-check -r envs/clustpy.lock
	@touch $@

docs: ## Copy the results that the README shows from results/ into docs/
	for name in demo table1 ablation table2_semisynthetic table3_subsets figure4; do \
		mkdir -p docs/$$name && rm -f docs/$$name/*; \
		cp results/$$name/table.{csv,md,tex} docs/$$name/; \
		$(BIN)/python docs/fingerprint.py results/$$name docs/$$name; \
	done
	cp results/demo/figures/{overview,scores_simulated_cytof}.png docs/demo/
	cp results/table1/scores/mnist.runs.csv docs/table1/runs.csv
	cp results/table1/figures/{scores,latent}_mnist*.png docs/table1/
	cp results/table2_semisynthetic/{selection.csv,signature.md,figures/figure3_*.png} docs/table2_semisynthetic/
	cp results/figure4/figures/violins_f_flowcap.png docs/figure4/
	mkdir -p docs/generation && cp results/supplement/{summary.md,generation.csv,mmd.csv,quality.csv} \
		results/figure2/figures/figure2_mnist.png results/supplement/figures/s4_accuracy_mnist.png docs/generation/
	mkdir -p docs/synthetic && cp results/synthetic/by_dataset.csv results/synthetic/s1/s1_synthetic.png docs/synthetic/
	cp results/table3_subsets/figures/{markers_levine_13dim*,populations_levine_13dim*,spread}.png docs/table3_subsets/

docs-site: setup ## Build the docs as a site, every warning an error: docs/_build/html/index.html
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html

clean: ## Remove results (downloads in resources/ stay)
	rm -rf results/[!R]* .snakemake
