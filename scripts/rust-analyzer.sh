#!/bin/bash
# Write rust-project.json for the module: the kernel's own generator, which
# knows this tree as an external one.  The tools in tools/ are an ordinary cargo
# workspace and need nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$LATCHFS_TOP/qemu/kernel-env.sh"

kdir=${KDIR:-$("$LATCHFS_TOP/qemu/build-kernel.sh" base)}
out=$LATCHFS_CACHE/module/rust-analyzer
mkdir -p "$out"
quietly "$LATCHFS_CACHE/rust-analyzer.log" \
	make -C "$kdir" M="$LATCHFS_TOP" MO="$out" rust-analyzer

# The generator only finds crates whose .rs file lies beside the Kbuild file;
# ours is in rust/.
python3 - "$out/rust-project.json" "$LATCHFS_TOP" "$LATCHFS_CACHE/module/$(basename "$kdir")" <<-'END'
	import json, os, sys
	path, top, objects = sys.argv[1:]
	with open(path, encoding="utf-8") as f:
	    project = json.load(f)
	crates = project["crates"]
	index = {c["display_name"]: i for i, c in enumerate(crates)}
	kernel = crates[index["kernel"]]
	names = ("core", "macros", "build_error", "pin_init", "ffi", "bindings", "uapi",
	         "zerocopy", "zerocopy_derive", "kernel")
	crates.append({
	    "display_name": "latchfs",
	    "root_module": os.path.join(top, "rust/latchfs.rs"),
	    "is_workspace_member": True,
	    "deps": [{"crate": index[n], "name": n} for n in names if n in index],
	    "cfg": kernel["cfg"] + ["MODULE"],
	    "edition": kernel["edition"],
	    "env": dict(kernel["env"], RUST_MODFILE="latchfs", LATCHFS_OBJ=objects),
	    "source": {"include_dirs": [os.path.join(top, "rust"), objects], "exclude_dirs": []},
	})
	with open(os.path.join(top, "rust-project.json"), "w", encoding="utf-8") as f:
	    json.dump(project, f, indent=1)
END
echo "$LATCHFS_TOP/rust-project.json"
