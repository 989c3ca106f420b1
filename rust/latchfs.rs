// SPDX-License-Identifier: GPL-2.0

//! latchfs: a journaling file system.

use kernel::prelude::*;

mod bindings;

module! {
    type: Latchfs,
    name: "latchfs",
    authors: ["The latchfs authors"],
    description: "latchfs: a journaling file system",
    license: "GPL",
    alias: ["fs-latchfs"],
}

/// The loaded module.
struct Latchfs;

impl kernel::Module for Latchfs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: test.
        unsafe { bindings::memalloc_nofs_restore(bindings::memalloc_nofs_save()) };
        Ok(Self)
    }
}
