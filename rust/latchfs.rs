// SPDX-License-Identifier: GPL-2.0

//! latchfs: a journaling file system.
//!
//! Four rings, dependencies point down only:
//!
//! * `fs` (3): mount, and the operations of inodes, files and mappings. No `unsafe`.
//! * `kapi` (2): safe wrappers over the C API of the VFS and iomap, one file per C header.
//! * `engine` (1): the file system proper. Also compiled for userspace. No `unsafe`.
//! * `format` (0): on-disk types and verifiers. Also compiled for userspace. No `unsafe`.
//!
//! Rings 0 and 1 see the kernel only through `sys`; in userspace `tools/host` is in its place.

// Rings 0 and 1 are a library in userspace.
#![allow(unreachable_pub)]
#![deny(unsafe_code)]

use kernel::prelude::*;

mod bindings;

#[allow(
    dead_code,
    unused_imports,
    reason = "tools and tests use more of it than the module does"
)]
mod engine;
#[allow(dead_code, unused_imports, reason = "as above")]
mod format;
#[allow(dead_code, unused_imports, reason = "as above")]
mod fs;
#[allow(
    dead_code,
    unused_imports,
    reason = "ring 3 need not use every part of a C interface"
)]
#[allow(
    clippy::missing_safety_doc,
    reason = "callbacks: the caller is C, and keeps what the C header says"
)]
#[expect(unsafe_code, reason = "ring 2 wraps C")]
mod kapi;

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the facade is complete; tools use more of it than the module does"
)]
#[expect(unsafe_code, reason = "the facade is made of C")]
mod sys;
#[cfg(CONFIG_KUNIT)]
mod sys_conformance;

module! {
    type: Latchfs,
    name: "latchfs",
    authors: ["The latchfs authors"],
    description: "latchfs: a journaling file system",
    license: "GPL",
    alias: ["fs-latchfs"],
}

/// The loaded module. The order of the fields is the order of their end.
struct Latchfs {
    #[cfg(latchfs_races)]
    _races: fs::races::Control,
    _fs: fs::Registration,
    _io: sys::device::IoEngine,
}

impl kernel::Module for Latchfs {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let io = sys::device::IoEngine::start().map_err(|_| ENOMEM)?;
        let fs = fs::Registration::new(module)?;
        Ok(Self {
            #[cfg(latchfs_races)]
            _races: fs::races::Control::new()?,
            _fs: fs,
            _io: io,
        })
    }
}
