// SPDX-License-Identifier: GPL-2.0

//! Orphans found at mount.
//!
//! An inode with its orphan bit set was unlinked while open, or was being truncated in several
//! transactions, when the file system stopped. They are found by counts, never by a scan: the
//! file system's total first, then the count of each group's header, then that of each map block
//! (rules M4). A read-only mount leaves them alone.

use super::inodegc_flush;
use crate::{
    engine::{
        error::Result,
        file,
        ialloc::{orphans_of, MapDelta, MapOp},
        inode::{self, InodeRef},
        mount::Mount,
        txn::res,
    },
    sys::{self, atomic::Ordering, Arc, Vec},
};

/// Finishes what the last mount left: frees unlinked inodes, ends interrupted truncates. At a
/// writable mount, before anyone uses the file system. May sleep. EIO, ENOMEM, EUCLEAN.
pub fn recover_orphans(m: &Arc<Mount>) -> Result {
    if m.read_only() || m.counts().orphans.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let mut freed = 0_u64;
    let mut found = Vec::new();
    for group in m.inodes.groups() {
        found.clear();
        orphans_of(m, group, &mut found)?;
        for ino in &found {
            let inode = inode::iget(m, *ino)?;
            if inode.links() == 0 {
                if inode.state.set_queued() {
                    group.doomed.add(inode);
                }
                freed = freed.saturating_add(1);
            } else {
                finish_truncate(m, &inode)?;
            }
        }
        // Group by group, so that the list stays short.
        inodegc_flush(m)?;
    }
    if freed != 0 {
        sys::pr_info!("{} unlinked inodes of the last mount freed\n", freed);
    }
    Ok(())
}

/// Frees what is beyond the size of a file whose truncate was interrupted.
#[inline(never)]
fn finish_truncate(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    file::free_beyond_size(m, inode)?;
    adopt(m, inode)
}

/// The inode is no orphan any more.
#[inline(never)]
fn adopt(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    let mut txn = m.begin(res::SETATTR)?;
    let inner = inode.ilock.write();
    let mut delta = MapDelta::new(m);
    delta.add(inode.ino, MapOp::Adopt)?;
    txn.join_inode(inode)?;
    let locks = delta.apply(&mut txn)?;
    txn.commit()?;
    drop(locks);
    drop(inner);
    Ok(())
}
