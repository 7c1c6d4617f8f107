# What a newcomer types: `make demo` and `make test`. Everything else is for those who stay.

CARGO  ?= cargo
PREFIX ?= /usr/local

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## three datacenters of real nodes: form, route, fail, recover; writes target/demo/report.html
	$(CARGO) build --release --locked --package shoal-cli
	target/release/shoal demo

.PHONY: test
test: test-rust test-python ## every test: Rust, C, Python

.PHONY: test-rust
test-rust: venv ## Rust and C tests; SHOAL_SEEDS=10000 for a long simulation
	$(CARGO) test --locked --workspace
	$(CARGO) test --locked --package shoal-tests --features planted-faults --test planted

.PHONY: lint
lint: ## formatting, lints and documentation, all with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps

.PHONY: deps
deps: ## Debian packages that some checks use
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	    build-essential pkg-config python3 python3-venv valgrind clang abigail-tools iproute2 iptables \
	    chromium serf cmake meson

.PHONY: bench
bench: ## Criterion benches and exchanges per second next to a bare echo
	$(CARGO) bench --locked --package shoal-benches

.PHONY: install-program
install: install-program
install-program:
	$(CARGO) build --release --locked --package shoal-cli
	install -d $(DESTDIR)$(abspath $(PREFIX))/bin
	install -m 755 target/release/shoal $(DESTDIR)$(abspath $(PREFIX))/bin/shoal

include ffi/Makefile.inc
include python/Makefile.inc
