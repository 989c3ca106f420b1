// SPDX-License-Identifier: GPL-2.0

//! What the operations share: a directory and one of its names.

use super::Named;
use crate::{
    engine::{
        dir::{self, DirEntry},
        error::{Error, Result},
        ialloc,
        inode::{Inode, InodeInner, InodeRef},
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{
        dirent::{FileType, DIRENT_HEAD},
        limits::MAX_LINKS,
        units::Ino,
    },
    sys::{Arc, Errno},
};

/// The context of directory `ino` for the directory code. New blocks go near the inode.
pub(super) fn ctx(m: &Mount, ino: Ino) -> dir::Ctx {
    dir::Ctx {
        owner: ino,
        seed: m.hash_seed(),
        near: ialloc::goal_of(m, ino),
    }
}

/// Begins an operation in directory `dir`. When there is no space, what is being deleted is finished
/// first (rules M23). Nothing may be held; may sleep. ENOSPC, EROFS, EIO, ENOMEM.
pub(super) fn begin<'m>(m: &'m Arc<Mount>, res: TxnRes, dir: &Inode) -> Result<Txn<'m>> {
    let goal = ialloc::goal_of(m, dir.ino);
    match m.begin_near(res, goal) {
        Err(e) if e.is(Errno::NOSPC) && ialloc::may_reclaim(m) => {
            m.sync()?;
            m.begin_near(res, goal)
        }
        other => other,
    }
}

/// Looks `name` up in a locked directory.
pub(super) fn find(
    m: &Mount,
    dir_ino: Ino,
    dir: &InodeInner,
    name: &[u8],
) -> Result<Option<DirEntry>> {
    dir::lookup(m, &dir.data, &ctx(m, dir_ino), name)
}

/// Looks `name` up in a locked directory, where it must be `inode`: ENOENT if it is not.
pub(super) fn find_inode(
    m: &Mount,
    dir_ino: Ino,
    dir: &InodeInner,
    name: &[u8],
    inode: &Inode,
) -> Result<DirEntry> {
    match find(m, dir_ino, dir, name)? {
        Some(entry) if entry.ino == inode.ino => Ok(entry),
        _ => Err(Error::new(Errno::NOENT)),
    }
}

/// Fails with EEXIST if a locked directory has `name`.
pub(super) fn find_nothing(m: &Mount, dir_ino: Ino, dir: &InodeInner, name: &[u8]) -> Result {
    match find(m, dir_ino, dir, name)? {
        Some(_) => Err(Error::new(Errno::EXIST)),
        None => Ok(()),
    }
}

/// Length of the record of an entry, which is what it adds to its directory's size.
pub(super) fn record_len(name: &[u8]) -> u64 {
    DIRENT_HEAD.saturating_add(name.len()) as u64
}

/// The type of a locked inode as it is in a directory entry. EUCLEAN if it has none.
pub(super) fn ftype_of(inner: &InodeInner) -> Result<FileType> {
    inner.core.ftype().ok_or_else(|| Error::new(Errno::UCLEAN))
}

/// The link count after one more. EMLINK.
pub(super) fn more_links(nlink: u32) -> Result<u32> {
    if nlink >= MAX_LINKS {
        return Err(Error::new(Errno::MLINK));
    }
    Ok(nlink.saturating_add(1))
}

/// The link count after one less. EUCLEAN at 0, on disk it can be anything.
pub(super) fn fewer_links(inode: &InodeRef, nlink: u32) -> Result<u32> {
    nlink.checked_sub(1).ok_or_else(|| {
        crate::sys::pr_err!(
            "corruption in inode {}: link count is too small\n",
            inode.ino
        );
        Error::new(Errno::UCLEAN)
    })
}

impl From<DirEntry> for Named {
    fn from(entry: DirEntry) -> Self {
        Self {
            ino: entry.ino,
            ftype: entry.ftype,
        }
    }
}
