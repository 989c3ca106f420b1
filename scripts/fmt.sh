#!/bin/bash
# Format the Rust code, or say what is not formatted with --check.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$LATCHFS_TOP"
mapfile -t files < <(git ls-files '*.rs'; git ls-files -o --exclude-standard '*.rs')
[ ${#files[@]} -gt 0 ] || exit 0
rustfmt --edition 2021 --config-path .rustfmt.toml --color never "$@" -- "${files[@]}"
