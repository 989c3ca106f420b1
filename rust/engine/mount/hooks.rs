// SPDX-License-Identifier: GPL-2.0

//! Where the inode part takes part in sync and unmount.

use super::*;
use crate::engine::{ialloc, inode, namespace};

/// Files that were deleted give their blocks back. May sleep; nothing is held.
pub(super) fn drain_inodes(m: &Arc<Mount>) -> Result {
    crate::sys::sync_point!("inodegc.drain", 0);
    crate::sys::mutant!(UnmountOrder => return Ok(()));
    namespace::inodegc_flush(m)
}

/// After a checkpoint: chunks of inodes that became empty give their blocks back. Returns whether
/// there is something for one more checkpoint. May sleep; nothing is held.
pub(super) fn reap_inodes(m: &Arc<Mount>) -> Result<bool> {
    Ok(ialloc::reap_empty_chunks(m)? != 0)
}

/// Unmount: no inode is left.
pub(super) fn drop_inodes(m: &Arc<Mount>) {
    inode::cache_empty(m);
}
