// SPDX-License-Identifier: GPL-2.0

//! Extents of the hidden files: the extent code of ordinary files over a root in the AG header.

use crate::{
    engine::{
        error::{Error, Result},
        extents::disk::{self, ExtentCtx},
        fork::Fork,
        mount::Mount,
        txn::{FreeKind, Txn},
    },
    format::{
        extent::Extent,
        header::Owner,
        units::{DiskBlock, FileBlock},
    },
    sys::Errno,
};

fn ctx(owner: Owner, near: DiskBlock) -> ExtentCtx {
    ExtentCtx {
        owner,
        near,
        kind: FreeKind::Meta,
    }
}

/// The block on the device of block `file`, `None` for a hole. The caller holds the AG inode lock.
/// May sleep.
pub(super) fn lookup(
    m: &Mount,
    owner: Owner,
    fork: &Fork,
    file: FileBlock,
) -> Result<Option<DiskBlock>> {
    Ok(disk::lookup(m, &ctx(owner, DiskBlock(0)), fork, file)?.map(file))
}

/// Maps blocks. Needs what [`disk::change_res`] says. Under the AG inode lock, exclusive.
pub(super) fn insert(
    m: &Mount,
    txn: &mut Txn<'_>,
    owner: Owner,
    fork: &mut Fork,
    extent: Extent,
) -> Result {
    disk::insert(m, txn, &ctx(owner, extent.disk), fork, extent)
}

/// Unmaps `len` blocks that are contiguous on the device; the caller frees them. Needs what
/// [`disk::change_res`] says. Under the AG inode lock, exclusive.
pub(super) fn remove(
    m: &Mount,
    txn: &mut Txn<'_>,
    owner: Owner,
    fork: &mut Fork,
    file: FileBlock,
    len: u32,
) -> Result<Extent> {
    let end = file.saturating_add(u64::from(len));
    let ctx = ctx(owner, DiskBlock(0));
    if disk::lookup(m, &ctx, fork, file)?.end() < end {
        // Half of it must not go.
        return Err(Error::new(Errno::UCLEAN));
    }
    disk::unmap(m, txn, &ctx, fork, file..end)
}
