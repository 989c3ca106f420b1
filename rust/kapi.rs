// SPDX-License-Identifier: GPL-2.0

//! Ring 2: safe wrappers over the C API of the VFS, iomap and the page cache.
//!
//! One file for each C header, C names, RAII guards. It is private to latchfs: no abstraction for
//! other file systems is meant, only a place where all `unsafe` of the VFS side is. Ring 3
//! implements the traits ([`super_types::SuperOps`], [`namei::DirOps`], [`file::FileOps`], ...);
//! the `extern "C"` functions here are generic over it, turn C arguments into references with the
//! lifetime of the call, and an error into the errno C wants.
//!
//! # Safety of the callbacks
//!
//! An `unsafe extern "C"` function in this ring is called by C only, through the operations table
//! it is in: its pointers are valid for the call and its locks held as the C header and
//! `Documentation/filesystems` say of that operation, and the object is one of ours, because the
//! table is only ever set on those.
//!
//! # Ownership
//!
//! Who owns what, for all files:
//!
//! * A `&Inode`, `&Dentry`, `&SuperBlock` in a callback is borrowed from VFS for the call.
//! * [`inode::IRef`] is a counted reference (`ihold`/`iput`); its drop may evict, so it may sleep
//!   and must not happen under a lock of the file system.
//! * An inode under construction ([`inode::UnhashedInode`], [`inode::NewInode`],
//!   [`inode::ReadyInode`]) is torn down as C demands if it is dropped on the way.

pub mod acl;
pub mod assume;
pub mod dcache;
pub mod direct;
pub mod exportfs;
pub mod fallocate;
pub mod file;
pub mod fileattr;
pub mod fs;
pub mod fs_context;
pub mod idmap;
pub mod inode;
pub mod ioctl;
pub mod ioend;
pub mod iomap;
pub mod namei;
pub mod pagemap;
pub mod seq_file;
pub mod shrinker;
pub mod stat;
pub mod statfs;
pub mod super_types;
pub mod sysfs;
pub mod writeback;
pub mod xattr;
