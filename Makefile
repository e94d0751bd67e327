# Two commands matter to a newcomer: `make demo` and `make test`. Both do all set-up themselves.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Debian's own kernel is unpacked here, not installed: nothing of the machine's boot is touched.
KERNEL := $(VENV)/.debian-kernel
# Three workers on two cores: half of their time tests wait, most of it for the kernel to take links away.
WORKERS ?= $(shell expr $$(nproc) \* 3 / 2)
# Hundreds of engines start in the tests: each would compile itself anew where the environment says to keep no bytecode.
unexport PYTHONDONTWRITEBYTECODE

# What the engine itself needs, and what only the tests and examples run.
SYSTEM_PACKAGES := libnftables1 libseccomp2 iproute2 python3-venv
TEST_PACKAGES   := nginx-light redis-server curl iputils-ping docker-registry skopeo podman zstd busybox-static dnsmasq-base openssl e2fsprogs xfsprogs btrfs-progs

# Docker's own clients, from Debian only where nobody else's are: installing one may remove the other.
TEST_PACKAGES   += $(shell command -v docker >/dev/null || echo docker.io)
TEST_PACKAGES   += $(shell command -v docker-compose >/dev/null || echo docker-compose)

# What guests with kernels of their own need beside that.
KERNEL_PACKAGES := user-mode-linux qemu-system-x86 kmod apparmor nftables e2fsprogs xfsprogs btrfs-progs

.DEFAULT_GOAL := help
.PHONY: help install demo test test-kernels check bench clean

help:  ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(VENV)/.installed  ## System packages, .venv and the editable install; .venv/bin/netmodel is the CLI

demo: install  ## A topology stands up, packets prove it, all is removed again
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh topologies/demo.sh

test: install $(VENV)/.test-packages  ## All tests: real namespaces, real packets (root)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-kernels: install $(VENV)/.test-packages $(KERNEL)/.unpacked  ## What this kernel lacks, on two others of Debian's
	$(BIN)/python -m tests.kernels $(KERNEL) $(KERNEL_ARGS)

check: install  ## ruff, strict mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## Ours beside dockerd, podman, Mininet and the bare kernel, in one run
	$(BIN)/python -m bench $(BENCH_ARGS)

clean:  ## Remove .venv and caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.system-packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.system-packages: Makefile
	$(call apt_install,$(SYSTEM_PACKAGES))
	mkdir -p $(VENV) && touch $@

$(VENV)/.test-packages: Makefile
	$(call apt_install,$(TEST_PACKAGES))
	touch $@

$(KERNEL)/.unpacked: Makefile
	$(call apt_install,$(KERNEL_PACKAGES))
	rm -rf $(KERNEL) && mkdir -p $(KERNEL)
	apt-get update -qq
	cd $(KERNEL) && apt-get -qq -o APT::Sandbox::User=root download \
	  $$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p')
	dpkg -x $(KERNEL)/linux-image-*.deb $(KERNEL) && rm $(KERNEL)/linux-image-*.deb
	touch $@

# Installs only what is missing. policy-rc.d (Debian policy 9.11.3) keeps a package's own service from
# starting: we run these programs in containers, and a web server on the host's port 80 is not ours to start.
define apt_install
	@missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	test -z "$$missing" || { \
	  echo "installing: $$missing"; \
	  guard=/usr/sbin/policy-rc.d; made=; \
	  test -e $$guard || { printf '#!/bin/sh\nexit 101\n' > $$guard; chmod +x $$guard; made=1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  code=$$?; test -z "$$made" || rm -f $$guard; exit $$code; }
endef
