# SPDX-License-Identifier: GPL-2.0
#
# latchfs: everything a developer types.  `make help` lists it.  The work is in
# scripts/ and qemu/; products are in the cache, never in this tree.  The module
# itself is described in Kbuild.
#
#   KDIR=DIR	a built kernel tree with CONFIG_RUST=y in place of the base kernel
#   KSRC=DIR	an unpacked kernel source in place of the Debian package

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help doctor run test test-host test-vm test-long sim module tools kernel-base \
	kernel-debug shell gdb lint fmt rust-analyzer crash races fstests \
	shuttle-long bench bench-host clean \
	distclean

export KDIR KSRC FS
# What make was called with (-C, -j) is not for the makes inside of the scripts.
unexport MAKEFLAGS MFLAGS

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

doctor: ## what is missing on this machine and how to get it (FIX=1: get it)
	@scripts/doctor.sh $(if $(FIX),--install)

run: ## boot a VM, fill a latchfs with a kernel tree, check it, print a summary
	@scripts/run.sh

test: ## everything that must pass before a commit: host tests, lints, VM tests
	@scripts/test.sh all

test-host: ## tests that need no VM
	@scripts/test.sh host

test-vm: ## tests in the debug VM (KASAN, lockdep)
	@scripts/test.sh vm

test-long: ## the VM tests again, longer, with kmemleak and SLUB debugging
	@scripts/test.sh long

module: ## build latchfs.ko (KDIR=DIR: for that kernel)
	@scripts/module.sh $(if $(KDIR),kdir,base)

tools: ## build mkfs.latchfs, fsck.latchfs and the other programs
	@scripts/tools.sh

kernel-base kernel-debug: kernel-%: ## build one of the test kernels
	@qemu/build-kernel.sh $*

shell: ## a shell in a VM with latchfs loaded and mounted
	@scripts/shell.sh

gdb: ## a debug VM that waits for gdb, and the command to start gdb with
	@scripts/shell.sh --gdb

lint: ## rules of the project, rustfmt, clippy
	@scripts/lint.sh

fmt: ## format the Rust code
	@scripts/fmt.sh

rust-analyzer: ## write rust-project.json for an editor
	@scripts/rust-analyzer.sh

crash: ## power failures in the VM: recorded, simulated and real ones (SHORT=1: a few minutes)
	@scripts/crash.sh $(if $(SHORT),short,full)

races: ## every race forced on the real build and on its mutant, one table (HOST=1: no VM)
	@scripts/races.sh $(if $(HOST),host,all)

fstests: ## fstests in the VM (FSTESTS=DIR TIER=smoke|core|quick, or TESTS="generic/001 ...")
	@scripts/fstests.sh

shuttle-long: ## the models of the concurrency, many more schedules (SCHEDULES=n, 2000000; PAIRS=n, 100000; SEED=n, random)
	@LATCHFS_SCHEDULES=$(or $(SCHEDULES),2000000) LATCHFS_PAIRS=$(or $(PAIRS),100000) \
		LATCHFS_SEED=$(or $(SEED),random) \
		tools/testing/host/models.sh

sim: ## the crash simulator (SEEDS=n, FIRST_SEED=k, ACE=full, TELL=1)
	@scripts/sim.sh

bench: ## beside ext4, XFS and btrfs in one VM, at most 45 minutes (FULL=1: all of it)
	@scripts/bench.sh $(if $(FULL),--full)

bench-host: ## benchmarks of the engine in userspace
	@scripts/bench-host.sh

clean: ## remove module and tools builds (kernels stay)
	@scripts/clean.sh

distclean: ## remove the whole cache, kernels included
	@scripts/clean.sh --all
