# make course: run every notebook and print the table of scores     make test: every check that CI runs
# make check: linter, types and fast tests, two minutes              make lint: linter and types only
# make lab: open the notebooks in JupyterLab
# make student: the notebooks with stubs in place of the solutions, in build/student    make student-check: executes them too
# make torture: kill processes, lose requests and read hostile files, half an hour at most; writes docs/reliability.md
# make study: every figure that README, recipe and notebooks show, many hours; goes on where it was stopped
# make performance: speed against the processor's limit and other libraries, ten minutes; writes docs/performance.md
# make gpu: tests and benchmarks on a GPU, eight minutes at most, with the Python of .venv or with $(PYTHON) and nothing installed
# make front: the pictures of README.md anew, after a network or the notebooks changed
# make site: the course as HTML pages in build/site                 make slides: slides of each lesson in build/slides
# make demo: the search page, on which a student runs in the browser; STUDENT=path takes your own (needs npm)
# make badges: the run times of the last `make test` into docs/run-times.md     make hooks: checks before each commit
# make clean: remove .venv and everything that was built or computed
PYTHON ?= python3
# Notebooks run one after another by default, so that the seconds in the JUnit file are their run times on the whole machine.
NOTEBOOK_JOBS ?= 1
TEST_JOBS ?= 2

BIN := .venv/bin
# A stamp, so that a used clone installs again only when the requirements changed.
READY := .venv/ready
GPU_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.PHONY: course test check lab lint student student-check site slides front demo badges hooks torture study performance gpu clean

course: $(READY)
	$(BIN)/python tools/run_course.py

# onnxruntime-web comes before the network is cut off; without npm the tests of the search page are skipped.
test: lint
	mkdir -p build
	$(BIN)/python tools/build_demo.py --only runtime
	OMP_NUM_THREADS=1 tools/offline.sh $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadscope --junitxml=build/tests.xml tests
	tools/offline.sh $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-kernel-startup-timeout=120 --nbval-sanitize-with=tests/nbval.cfg \
		--dist loadscope -n $(NOTEBOOK_JOBS) --junitxml=build/notebooks.xml notebooks

check: lint
	OMP_NUM_THREADS=1 tools/offline.sh $(BIN)/python -m pytest -q -n $(TEST_JOBS) -m "not slow" tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

student: $(READY)
	$(BIN)/python tools/student_edition.py

student-check: $(READY)
	$(BIN)/python tools/student_edition.py --check

torture: $(READY)
	OMP_NUM_THREADS=1 tools/offline.sh $(BIN)/python -m reliability

study: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m study search
	OMP_NUM_THREADS=1 $(BIN)/python -m study run
	$(BIN)/python -m study tables

performance: $(READY)
	$(BIN)/python -m benchmarks

# Nothing is installed: where a GPU is, its PyTorch is there already.
gpu:
	$(GPU_PYTHON) -m pytest -q tests/test_gpu.py
	$(GPU_PYTHON) -m benchmarks --device cuda

lab: $(READY)
	$(BIN)/jupyter lab notebooks

site: $(READY)
	$(BIN)/python tools/build_site.py

slides: $(READY)
	$(BIN)/python tools/build_slides.py

front: $(READY)
	$(BIN)/python tools/front_pictures.py

demo: $(READY)
	$(BIN)/python tools/build_demo.py $(if $(STUDENT),--student $(STUDENT))

badges: $(READY)
	$(BIN)/python tools/badges.py

hooks: $(READY)
	$(BIN)/pre-commit install
	$(BIN)/nbdime config-git --enable

clean:
	rm -rf .venv build runs

$(READY): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "$(PYTHON) is older than Python 3.11: name a newer one with 'make PYTHON=/path/to/python3.11 ...'."; exit 1; }
	@echo "Installing into .venv; the first time this takes some minutes, most of it for PyTorch."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,serve,ship,site,study,tensorboard]"
	@touch $@
