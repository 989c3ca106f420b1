// SPDX-License-Identifier: GPL-2.0

//! Ring 3: latchfs as the VFS sees it. No `unsafe`.
//!
//! Each callback is one call into the engine (ring 1) and what the VFS wants done around it:
//! attributes of the VFS inode, locks of the page cache, errors as errnos.
//!
//! * [`mount`]: mount, remount, unmount, sync, freeze, statfs;
//! * [`options`]: mount options;
//! * [`inode`]: from the engine's inode to the VFS inode and back;
//! * [`attr`]: stat, chmod, chown, utimes, truncate, chattr;
//! * [`namei`][]: names;
//! * [`file`]: read, write, fsync, readdir;
//! * [`data`]: iomap and writeback;
//! * [`direct`]: direct I/O;
//! * [`export`]: file handles;
//! * [`xattr`]: extended attributes, ACLs;
//! * [`ioctl`]: stopping the file system, trimming it, its label;
//! * [`sysfs`]: the policy for write errors;
//! * [`error`]: errors of the engine to errnos.
//!
//! Who owns what: mode, owner, link count, flags and what is on disk belong to the engine, and the
//! VFS inode is a copy. `i_size` of a regular file, and times and version between two changes that
//! the engine sees, belong to the VFS inode; [`inode::push_attrs`] hands them over.

pub mod attr;
pub mod data;
pub mod direct;
pub mod error;
pub mod export;
pub mod fallocate;
pub mod file;
pub mod inode;
pub mod ioctl;
pub mod mount;
pub mod namei;
pub mod options;
#[cfg(latchfs_races)]
pub mod races;
pub mod sysfs;
pub mod xattr;

use crate::engine::file::WbCtx;
use crate::engine::inode::InodeRef;
use crate::engine::mount::Mount;
use crate::kapi;
use crate::kapi::fs::FileSystem;
use crate::kapi::fs::Statics;
use crate::sys::Arc;
use kernel::str::CStr;

/// The file system type.
pub struct Latchfs;

/// A VFS inode of latchfs.
pub type Inode = kapi::inode::Inode<Latchfs>;
/// A counted reference to a VFS inode of latchfs.
pub type IRef = kapi::inode::IRef<Latchfs>;
/// A super block of latchfs.
pub type SuperBlock = kapi::super_types::SuperBlock<Latchfs>;
/// A dentry of latchfs.
pub type Dentry = kapi::dcache::Dentry<Latchfs>;

/// The registration of the type: exists as long as the module is loaded.
pub type Registration = kapi::fs::Registration<Latchfs>;

static STATICS: Statics = Statics::new();

impl FileSystem for Latchfs {
    const NAME: &'static CStr = c"latchfs";
    type Super = mount::Super;
    type Inode = InodeRef;
    type Options = options::Options;
    type Writeback = WbCtx;

    fn statics() -> &'static Statics {
        &STATICS
    }
}

/// The engine's side of a mount.
fn mount_of(inode: &Inode) -> &Arc<Mount> {
    &inode.sb().data().mount
}
