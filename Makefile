# Two commands are enough: `make run` and `make test`. The work is done in scripts/ and by the CMake presets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build test check image lint format asan tsan fuzz bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## set up, build, start a server, ask a real model one question; with a terminal, open its prompt
	@scripts/run

build: ## set up and build everything (build/)
	@scripts/setup-debian run && scripts/fetch-llama >/dev/null && source scripts/lib/common.sh && build dev build

test: ## set up, build and run all tests
	@scripts/test dev

check: ## the quick tests only (unit and cases)
	@scripts/test dev -L 'unit|cases'

image: ## build the container image corral:cpu and show its size by layer (needs Docker)
	@scripts/image

lint: ## formatting, shell scripts, structure, clang-tidy with thread-safety analysis
	@scripts/lint

format: ## clang-format the C++ sources
	@git ls-files 'src/*.h' 'src/*.cc' 'tests/*.h' 'tests/*.cc' 'fuzz/*.h' 'fuzz/*.cc' | xargs -r clang-format-14 -i

asan: ## unit, case and component tests under AddressSanitizer and UBSan (build-asan/)
	@scripts/test asan

tsan: ## the same under ThreadSanitizer (build-tsan/)
	@scripts/test tsan

fuzz: ## build the fuzzers with libFuzzer and run each for a minute (build-fuzz/)
	@scripts/fuzz

bench: ## measure against llama-bench and llama-server of the same llama.cpp
	@scripts/bench

clean: ## remove the build folders (the caches outside the tree stay)
	rm -rf build build-*/
