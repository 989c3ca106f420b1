// SPDX-License-Identifier: GPL-2.0

//! The end of an inode's attributes.
//!
//! A large tree goes in several transactions, like the data of a file. Each leaves a smaller tree
//! that is whole, so a crash in between leaves an orphan that is continued at the next mount.

use super::{tree, value::Runs};
use crate::{
    engine::{
        btree::{self, Progress},
        error::Result,
        fork::{Fork, ForkFormat},
        inode::InodeRef,
        mount::Mount,
        txn::{FreeKind, TxnRes},
    },
    format::{units::BlockRange, xattr::value::MAX_VALUE_BLOCKS},
    sys::{Arc, Vec},
};

/// Tree blocks that one step frees at most.
const NODES: u32 = 32;
/// Runs of value blocks that one step frees at most.
const RUNS: u32 = 4 * MAX_VALUE_BLOCKS;

/// One step of freeing the tree of an inode that is deleted.
pub(crate) const FREE_STEP: TxnRes = TxnRes::new(0, btree::REMOVE_BUFS + NODES)
    .frees(NODES + btree::REMOVE_FREES + RUNS)
    .joins(1)
    .from_pool()
    .checked();

/// Frees all attributes of an inode that nobody uses any more. No locks, no transaction may be
/// held. May sleep.
#[inline(never)]
pub(crate) fn free_all(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    if inode.ilock.read().attrs.format != ForkFormat::AttrTree {
        // What is in the slot goes with it.
        return Ok(());
    }
    let mut runs = Vec::new();
    runs.try_reserve(RUNS as usize)?;
    while step(m, inode, &mut runs)? == Progress::More {}
    Ok(())
}

/// One transaction of [`free_all`].
#[inline(never)]
fn step(m: &Arc<Mount>, inode: &InodeRef, runs: &mut Vec<BlockRange>) -> Result<Progress> {
    runs.clear();
    let mut txn = m.begin(FREE_STEP)?;
    let mut inner = inode.ilock.write();
    txn.join_inode(inode)?;
    let fork = &mut inner.attrs;
    let progress = tree(inode.ino).destroy_step(m, &mut txn, &mut fork.root, NODES, |attr| {
        let of_value = Runs::of(&attr);
        if runs.len().saturating_add(of_value.iter().count()) > RUNS as usize {
            return false;
        }
        for run in of_value.iter() {
            runs.must_push(run);
        }
        true
    })?;
    for run in runs.iter() {
        txn.free(*run, FreeKind::Meta)?;
        fork.root.blocks = fork.root.blocks.saturating_sub(u64::from(run.len));
    }
    if progress == Progress::Done {
        inner.attrs = Fork::default();
        inner.share_literal();
    }
    txn.log_inode(inode, &inner)?;
    txn.commit()?;
    Ok(progress)
}
