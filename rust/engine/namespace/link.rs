// SPDX-License-Identifier: GPL-2.0

//! One more name for an inode.

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

/// Gives `inode`, which is no directory, the name `name` in `dir`. An inode without a name
/// ([`tmpfile`](super::tmpfile)) stops being an orphan; whether one that had names and lost them
/// may get one again is the caller's decision.
///
/// One transaction under both ILOCKs. Nothing may be held but i_rwsem. May sleep. EEXIST, ENOENT
/// if the directory was removed, EPERM for a directory, EMLINK, ENAMETOOLONG, EINVAL, ENOTDIR,
/// ENOSPC, EROFS, EIO, ENOMEM, EUCLEAN, EBADMSG.
pub fn link(m: &Arc<Mount>, inode: &InodeRef, dir: &InodeRef, name: &[u8], now: Time) -> Result {
    dir::check_name(name)?;
    let mut txn = entry::begin(m, res::LINK, dir)?;
    let (mut d, i) = lock_two(dir, inode);
    // The same inode: a directory.
    let mut i = i.ok_or_else(|| Error::new(Errno::PERM))?;
    d.check_dir()?;
    if i.core.is_dir() {
        return Err(Error::new(Errno::PERM));
    }
    let ftype = entry::ftype_of(&i)?;
    let links = entry::more_links(i.core.nlink)?;

    let mut delta = MapDelta::new(m);
    if i.core.nlink == 0 {
        delta.add(inode.ino, MapOp::Adopt)?;
    }
    txn.join_inode(dir)?;
    txn.join_inode(inode)?;

    // EEXIST before anything changes.
    let ctx = entry::ctx(m, dir.ino);
    dir::insert(m, &mut txn, &mut d.data, &ctx, name, inode.ino, ftype)?;
    d.core.disk_size = d.core.disk_size.saturating_add(entry::record_len(name));
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
