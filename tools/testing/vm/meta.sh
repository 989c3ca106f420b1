#!/bin/bash
# One line for everything below DIR, sorted: what a file system has to keep
# beside the content.  Sizes and link counts of directories are its own affair.
set -euo pipefail
cd "${1:?directory}"
find . -mindepth 1 -not -path ./lost+found \
	\( -type d -printf 'd mode=%m owner=%U:%G links=- size=- time=%T@ %p\n' \
	-o -printf '%y mode=%m owner=%U:%G links=%n size=%s time=%T@ %p %l\n' \) | LC_ALL=C sort -k 7
