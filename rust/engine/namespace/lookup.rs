// SPDX-License-Identifier: GPL-2.0

//! Reading names.

use super::{entry, Named};
use crate::{
    engine::{
        dir::{self, EntryBuf},
        error::{Error, Result},
        ialloc,
        inode::{self, load::iget_entry, InodeRef},
        mount::Mount,
        sort::sort_by_key,
    },
    sys::{Arc, Errno, NofsScope, Vec},
};

/// The inode that `name` is in directory `dir`, `None` if there is no such name. "." and ".." are
/// not names here.
///
/// Takes the directory's ILOCK shared and gets the inode under it: the number cannot be freed and
/// used again in between, with or without i_rwsem. May sleep. ENOTDIR, ENOENT if the directory was
/// removed, EUCLEAN, EBADMSG, EIO, ENOMEM.
pub fn lookup(m: &Arc<Mount>, dir: &InodeRef, name: &[u8]) -> Result<Option<InodeRef>> {
    let _nofs = NofsScope::enter();
    let d = dir.ilock.read();
    d.check_dir()?;
    match entry::find(m, dir.ino, &d, name)? {
        Some(entry) => iget_entry(m, dir.ino, entry.ino).map(Some),
        None => Ok(None),
    }
}

/// What `name` is in directory `dir`, without getting the inode. Locks and errors as [`lookup`].
pub fn lookup_ino(m: &Arc<Mount>, dir: &InodeRef, name: &[u8]) -> Result<Option<Named>> {
    let _nofs = NofsScope::enter();
    let d = dir.ilock.read();
    d.check_dir()?;
    Ok(entry::find(m, dir.ino, &d, name)?.map(Named::from))
}

/// The parent of a directory; the root is its own. Takes the ILOCK shared. May sleep. ENOTDIR,
/// ENOENT if the directory was removed, otherwise as [`inode::iget`].
pub fn parent(m: &Arc<Mount>, dir: &InodeRef) -> Result<InodeRef> {
    let parent = {
        let d = dir.ilock.read();
        d.check_dir()?;
        d.core.parent
    };
    // A directory's parent has an entry, so it can be found unless it was moved just now.
    inode::iget(m, parent)
}

/// Fills `buf` with entries of `dir` whose cookie is `from` or greater, in order; an empty `buf`
/// afterwards means that there are no more. Entries are copied: nothing is held when this returns,
/// so the caller may touch user memory (rules S9). The position behind an entry is its cookie + 1.
///
/// Starts reading the inodes of these entries, in the order of their numbers: entries are in the
/// order of their hash, and whoever reads a directory mostly wants its inodes next (rules P6).
///
/// A removed directory has no entries. Takes the ILOCK shared. May sleep. ENOTDIR, EUCLEAN,
/// EBADMSG, EIO, ENOMEM.
pub fn readdir(m: &Arc<Mount>, dir: &InodeRef, from: u64, buf: &mut EntryBuf) -> Result {
    let _nofs = NofsScope::enter();
    {
        let d = dir.ilock.read();
        if !d.core.is_dir() {
            return Err(Error::new(Errno::NOTDIR));
        }
        dir::read(m, &d.data, &entry::ctx(m, dir.ino), from, buf)?;
    }
    let mut inos = Vec::new();
    for entry in buf.iter() {
        if !m.inodes.cache.knows(entry.ino) && inos.try_push(entry.ino).is_err() {
            break;
        }
    }
    sort_by_key(&mut inos, |ino| *ino);
    ialloc::readahead(m, &inos);
    Ok(())
}
