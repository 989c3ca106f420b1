// SPDX-License-Identifier: GPL-2.0

//! The feature `races` is `--cfg latchfs_races` in the sources, as in the kernel's build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(latchfs_races)");
    if std::env::var_os("CARGO_FEATURE_RACES").is_some() {
        println!("cargo::rustc-cfg=latchfs_races");
    }
}
