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
deps: ## Debian packages that some checks use, and the source of Rust's library
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	    build-essential pkg-config python3 python3-venv valgrind clang abigail-tools iproute2 iptables \
	    chromium serf cmake meson
	@# ThreadSanitizer builds Rust's library anew, from its source.
	-command -v rustup >/dev/null && rustup component add rust-src

BENCH_PROFILE := $(if $(filter-out 0,$(QUICK)),quick,release)
BENCH_STARTED := $(shell date +%s)

# What cannot be installed for Python is named in the report; it does not keep the rest from being measured.
# All packages are named, here and in benches/report/steps.rs: each choice of them has features of its own,
# for which what they share would be built again.
.PHONY: bench
bench: ## every figure in one run; target/bench/report.md and report.html. QUICK=1: four minutes
	$(CARGO) build --locked --profile $(BENCH_PROFILE) --package shoal-benches --package shoal-cli \
	    --package shoal-python --lib --bins --benches
	cp target/$(BENCH_PROFILE)/lib_native.so python/pysrc/shoal/_native.abi3.so
	-$(MAKE) bench-python-environment
	target/$(BENCH_PROFILE)/report --started $(BENCH_STARTED)

.PHONY: bench-docs
bench-docs: ## make the last report the committed one: docs/benchmarks.md and the README's table
	$(CARGO) run --release --locked --package shoal-benches --bin report -- --docs

.PHONY: bench-check
bench-check: ## instructions of the hot paths against benches/instructions.json; INSTRUCTIONS=write: anew
	$(CARGO) build --release --locked --package shoal-benches --bin measure
	target/release/measure instructions $(if $(filter write,$(INSTRUCTIONS)),--write)

# Where perf may not count cycles, it falls back to its clock by itself.
.PHONY: bench-profile
bench-profile: ## where the time of a packet goes: target/bench/profile-engine.txt and profile-node.txt
	$(CARGO) build --release --locked --package shoal-benches --bin measure
	mkdir -p target/bench
	perf record --quiet --freq 2999 --call-graph fp --output target/bench/engine.perf \
	    target/release/measure path --seconds 5
	perf report --input target/bench/engine.perf --no-children --percent-limit 0.5 --stdio \
	    --call-graph none > target/bench/profile-engine.txt
	perf record --quiet --freq 2999 --call-graph fp --output target/bench/node.perf \
	    $(CARGO) bench --locked --package shoal-benches --bench exchange -- 2 1
	perf report --input target/bench/node.perf --no-children --comm shoal-node --percent-limit 0.5 --stdio \
	    --call-graph none > target/bench/profile-node.txt

.PHONY: install-program
install: install-program
install-program:
	$(CARGO) build --release --locked --package shoal-cli
	install -d $(DESTDIR)$(abspath $(PREFIX))/bin
	install -m 755 target/release/shoal $(DESTDIR)$(abspath $(PREFIX))/bin/shoal

include ffi/Makefile.inc
include python/Makefile.inc
