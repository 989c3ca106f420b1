// SPDX-License-Identifier: GPL-2.0

//! Features as the sources name them. `races` is `--cfg latchfs_races`, as in the kernel's build.
//! `unit_tests` is set if none is: the tests of the engine as it is. The builds for shuttle, loom
//! and the races run their own tests only and need not compile the others.

use std::env::var_os;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(latchfs_races, unit_tests)");
    let races = var_os("CARGO_FEATURE_RACES").is_some();
    if races {
        println!("cargo::rustc-cfg=latchfs_races");
    }
    let models = ["CARGO_FEATURE_SHUTTLE", "CARGO_FEATURE_LOOM"];
    if !races && models.into_iter().all(|m| var_os(m).is_none()) {
        println!("cargo::rustc-cfg=unit_tests");
    }
}
