// SPDX-License-Identifier: GPL-2.0

//! Changing attributes.

use super::Change;
use crate::{
    engine::{
        error::{Error, Result},
        inode::{fields::S_IALLUGO, Core, InodeRef, InodeWrite},
        mount::Mount,
        txn::{res, Txn},
    },
    format::inode::FLAG_ALL,
    sys::{Arc, Errno, Time},
};

/// Begins a transaction that changes the attributes of `inode`.
fn begin<'m, 'i>(m: &'m Arc<Mount>, inode: &'i InodeRef) -> Result<(Txn<'m>, InodeWrite<'i>)> {
    let mut txn = m.begin(res::SETATTR)?;
    let inner = inode.ilock.write();
    if inner.core.mode == 0 {
        return Err(Error::new(Errno::STALE));
    }
    txn.join_inode(inode)?;
    Ok((txn, inner))
}

impl Core {
    /// Becomes what `change` says.
    pub(crate) fn apply(&mut self, change: &Change) {
        if let Some(mode) = change.mode {
            self.mode = (self.mode & !S_IALLUGO) | (mode & S_IALLUGO);
        }
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.projid = change.projid.unwrap_or(self.projid);
        self.atime = change.atime.unwrap_or(self.atime);
        self.mtime = change.mtime.unwrap_or(self.mtime);
        self.ctime = change.ctime.unwrap_or(self.ctime);
        match change.version {
            Some(version) => self.version = self.version.max(version),
            None => self.bump(),
        }
    }
}

/// Changes attributes other than the size. One transaction under the ILOCK. Nothing may be held but
/// i_rwsem. May sleep. EROFS, EIO, ENOMEM, EUCLEAN.
pub fn setattr(m: &Arc<Mount>, inode: &InodeRef, change: &Change) -> Result {
    let (mut txn, mut inner) = begin(m, inode)?;
    if change.is_times_only() {
        txn.times_only();
    }
    inner.core.apply(change);
    txn.log_core(inode, &inner)?;
    txn.commit()
}

/// Sets the flags of fileattr (`FLAG_*`), and the project if one is given; ctime becomes `now`.
/// Locks and errors as [`setattr`]; EOPNOTSUPP for flags that do not exist.
pub fn set_flags(
    m: &Arc<Mount>,
    inode: &InodeRef,
    flags: u64,
    projid: Option<u32>,
    now: Time,
) -> Result {
    if flags & !FLAG_ALL != 0 {
        return Err(Error::new(Errno::OPNOTSUPP));
    }
    let (mut txn, mut inner) = begin(m, inode)?;
    inner.core.flags = flags;
    inner.core.projid = projid.unwrap_or(inner.core.projid);
    inner.core.touch(now, false);
    txn.log_core(inode, &inner)?;
    txn.commit()
}
