// SPDX-License-Identifier: GPL-2.0

//! Names: every operation on directories, links and attributes.
//!
//! Each operation is one transaction with a constant reservation. Its order is always the same:
//!
//! 1. what needs its own transactions first: an inode number is claimed in memory, for which a
//!    chunk of inodes may have to be allocated ([`ialloc::claim`]);
//! 2. `m.begin(RES)`: all waiting for space is here, nothing is locked;
//! 3. the ILOCKs, ascending by number, the new inode's last;
//! 4. checks: here the operation can still fail without a trace;
//! 5. every block that step 6 changes beside the directory's is read and attached
//!    (rules S3);
//! 6. changes: directory entries, inode cores;
//! 7. [`MapDelta::apply`]: inode map bits under the AG inode locks, ascending;
//! 8. commit, then everything is unlocked.
//!
//! An error from step 6 on shuts the file system down (the transaction sees to that): memory would
//! no longer be what the disk becomes.
//!
//! The caller (the VFS) has checked permissions and name lengths, holds i_rwsem of the directories,
//! and refuses renames that make loops. The engine does not rely on i_rwsem: everything it needs to
//! know is checked again under the ILOCKs.
//!
//! [`ialloc::claim`]: crate::engine::ialloc::claim
//! [`MapDelta::apply`]: crate::engine::ialloc::MapDelta::apply

mod attr;
mod create;
mod entry;
mod inodegc;
mod link;
mod lookup;
mod orphan;
mod remove;
mod rename;
mod symlink;

#[cfg(test)]
mod tests;

pub use self::{
    attr::{set_flags, setattr},
    create::{create, create_with_attrs, tmpfile, tmpfile_with_attrs},
    inodegc::{inactivate_later, inodegc_flush, inodegc_kick, start_inodegc, stop_inodegc},
    link::link,
    lookup::{lookup, lookup_ino, parent, readdir},
    orphan::recover_orphans,
    remove::{rmdir, unlink},
    rename::rename,
    symlink::{readlink, symlink, symlink_with_attrs},
};

pub(crate) use self::inodegc::GcWorkers;

use crate::{engine::inode::InodeRef, format::units::Ino, sys::Time};

/// What a new inode is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewInode {
    /// Kind and permissions, after umask and setgid rules.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project, inherited from the directory by the caller.
    pub projid: u32,
    /// Device number in Linux's new encoding, for devices.
    pub rdev: u32,
    /// `FLAG_*`, inherited from the directory by the caller.
    pub flags: u64,
    /// All four times of the inode, and mtime and ctime of the directory.
    pub now: Time,
}

/// What [`setattr`] changes; `None` leaves a field alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permissions; the kind in it is ignored.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Project.
    pub projid: Option<u32>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of content.
    pub mtime: Option<Time>,
    /// Last change of the inode.
    pub ctime: Option<Time>,
    /// Change counter; never moves back. Without it any other change counts as one.
    pub version: Option<u64>,
}

impl Change {
    /// Whether it is one of times, and of the change counter with them.
    pub(super) fn is_times_only(&self) -> bool {
        self.mode.is_none() && self.uid.is_none() && self.gid.is_none() && self.projid.is_none()
    }
}

/// Flags of rename(2), checked by the caller for legal combinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags {
    /// Fail with EEXIST if the new name exists.
    pub no_replace: bool,
    /// Both names exist and change places.
    pub exchange: bool,
    /// Leave a character device 0:0 at the old name, with these attributes of [`RenameArgs`].
    pub whiteout: bool,
}

/// A rename: `old_dir/old_name`, which is `inode`, becomes `new_dir/new_name`.
#[derive(Clone, Copy)]
pub struct RenameArgs<'a> {
    /// Directory of the old name.
    pub old_dir: &'a InodeRef,
    /// The old name.
    pub old_name: &'a [u8],
    /// What the old name is expected to be; ENOENT if it is not.
    pub inode: &'a InodeRef,
    /// Directory of the new name, may be the same.
    pub new_dir: &'a InodeRef,
    /// The new name.
    pub new_name: &'a [u8],
    /// What the new name is expected to be, `None` if it does not exist.
    pub target: Option<&'a InodeRef>,
    /// How.
    pub flags: RenameFlags,
    /// Owner of the whiteout.
    pub uid: u32,
    /// Group of the whiteout.
    pub gid: u32,
    /// mtime and ctime of the directories, ctime of the inodes.
    pub now: Time,
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The inode.
    pub ino: Ino,
    /// Its type as in the entry: [`FileType`](crate::format::dirent::FileType) numbers.
    pub ftype: u8,
}
