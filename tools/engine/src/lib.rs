// SPDX-License-Identifier: GPL-2.0

//! Rings 0 and 1 of latchfs in userspace.
//!
//! The sources are those of the kernel module (`rust/format`, `rust/engine`); only `crate::sys`
//! differs: here it is [`latchfs_host`]. mkfs, fsck, the inspector and all host tests use the file
//! system through this crate.

#![cfg_attr(
    all(test, not(unit_tests)),
    allow(dead_code, reason = "what only unit tests use")
)]

/// The facade, userspace implementation.
pub mod sys {
    pub use latchfs_host::*;
}

#[path = "../../../rust"]
mod rings {
    pub mod engine;
    pub mod format;
}

pub use rings::engine;
pub use rings::format;

#[cfg(all(test, unit_tests))]
#[path = "../../../rust/sys_conformance.rs"]
mod sys_conformance;

#[cfg(all(test, unit_tests))]
mod tests {
    #[test]
    fn facade_conformance() {
        for (name, case) in crate::sys_conformance::CASES {
            if let Err(why) = case() {
                panic!("{name}: {why}");
            }
        }
    }
}
