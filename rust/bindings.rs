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

/// Asserts that the kernel crate has the layout that clang says C has: `helpers/layout.h`.
macro_rules! assert_layout {
    ($($ty:ident $(.$field:ident)?;)*) => {
        $(assert_layout!(@ $ty $(.$field)?);)*
    };
    (@ $ty:ident) => {
        kernel::macros::paste! {
            const _: () = assert!(core::mem::size_of::<$ty>() == [<LATCHFS_SIZE_ $ty>]);
        }
    };
    (@ $ty:ident.$field:ident) => {
        kernel::macros::paste! {
            const _: () =
                assert!(core::mem::offset_of!($ty, $field) == [<LATCHFS_OFFSET_ $ty __ $field>]);
        }
    };
}

assert_layout! {
    address_space;
    address_space_operations;
    bio;
    block_device;
    dentry;
    file;
    file_operations;
    folio;
    inode;
    inode_operations;
    kiocb;
    kstat;
    kstatfs;
    mutex;
    rw_semaphore;
    super_block;
    super_operations;
    vm_area_struct;
    vm_fault;
    vm_operations_struct;
    work_struct;
    writeback_control;
    inode.i_mapping;
    inode.i_generation;
    super_block.s_bdev_file;
    super_block.s_fs_info;
    super_block.s_time_max;
}
