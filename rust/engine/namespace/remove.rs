// SPDX-License-Identifier: GPL-2.0

//! Removing names.

use super::entry;
use crate::{
    engine::{
        dir,
        error::{Error, Result},
        ialloc::{MapDelta, MapOp},
        inode::{lock_two, InodeRef},
        mount::Mount,
        txn::res,
    },
    sys::{Arc, Errno, Time},
};

/// Removes the name `name`, which is `inode` and no directory, from `dir`. An inode that loses its
/// last name becomes an orphan and lives until its last user calls
/// [`inactivate_later`](super::inactivate_later).
///
/// One transaction under both ILOCKs. Nothing may be held but i_rwsem. May sleep. ENOENT if the
/// name is not there or another inode, EISDIR, ENOTDIR, EROFS, EIO, ENOMEM, EUCLEAN, EBADMSG. Never
/// ENOSPC: it may use the hidden reserve.
pub fn unlink(m: &Arc<Mount>, dir: &InodeRef, name: &[u8], inode: &InodeRef, now: Time) -> Result {
    remove(m, dir, name, inode, now, false)
}

/// Removes the empty directory `inode`, which is `name`, from `dir`. It becomes an orphan like a
/// file in [`unlink`]. Locks as there; also ENOTEMPTY; ENOTDIR if `inode` is none.
pub fn rmdir(m: &Arc<Mount>, dir: &InodeRef, name: &[u8], inode: &InodeRef, now: Time) -> Result {
    remove(m, dir, name, inode, now, true)
}

fn remove(
    m: &Arc<Mount>,
    dir: &InodeRef,
    name: &[u8],
    inode: &InodeRef,
    now: Time,
    want_dir: bool,
) -> Result {
    let mut txn = entry::begin(m, res::REMOVE, dir)?;
    let (mut d, i) = lock_two(dir, inode);
    // A directory is never in itself.
    let mut i = i.ok_or_else(|| Error::new(Errno::INVAL))?;
    d.check_dir()?;
    entry::find_inode(m, dir.ino, &d, name, inode)?;
    if i.core.is_dir() != want_dir {
        let wrong = if want_dir {
            Errno::NOTDIR
        } else {
            Errno::ISDIR
        };
        return Err(Error::new(wrong));
    }
    if want_dir && !dir::is_empty(&i.data) {
        return Err(Error::new(Errno::NOTEMPTY));
    }
    let links = if want_dir {
        0
    } else {
        entry::fewer_links(inode, i.core.nlink)?
    };
    let dir_links = if want_dir {
        entry::fewer_links(dir, d.core.nlink)?
    } else {
        d.core.nlink
    };

    let mut delta = MapDelta::new(m);
    if links == 0 {
        delta.add(inode.ino, MapOp::Orphan)?;
    }
    txn.join_inode(dir)?;
    txn.join_inode(inode)?;

    let ctx = entry::ctx(m, dir.ino);
    dir::remove(m, &mut txn, &mut d.data, &ctx, name)?;
    d.core.disk_size = d.core.disk_size.saturating_sub(entry::record_len(name));
    d.core.nlink = dir_links;
    d.core.touch(now, true);
    i.core.nlink = links;
    inode.set_links(links);
    i.core.touch(now, false);
    txn.log_inode(dir, &d)?;
    txn.log_core(inode, &i)?;
    let locks = delta.apply(&mut txn)?;
    txn.commit()?;
    drop(locks);
    Ok(())
}
