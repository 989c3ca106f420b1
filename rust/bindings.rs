// SPDX-License-Identifier: GPL-2.0

//! C items that `kernel::bindings` lacks, on top of those it has.
//!
//! `bindings_allowlist` says which; `Kbuild` runs bindgen without recursion, so
//! that every type the kernel crate knows comes from there and there is one
//! `struct inode` only. Helpers of `helpers.c` appear without their prefix.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unreachable_pub,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

use kernel::ffi;
use pin_init::MaybeZeroable;

pub use kernel::bindings::*;

include!(concat!(env!("LATCHFS_OBJ"), "/rust/bindings_generated.rs"));
