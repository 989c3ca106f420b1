// SPDX-License-Identifier: GPL-2.0

//! From the object to its slot.
//!
//! A transaction that changes an inode attaches the inode's block first ([`attach`], rules S3): a
//! read error is met while nothing has changed. The commit puts the inode on its group's dirty list
//! ([`mark_dirty`]). A checkpoint copies core and inline data of each dirty inode into its slot
//! ([`flush_dirty`]), sealed with the log position of the inode's last commit: positions are per
//! slot, because the other slots of the block may be newer or older (rules M2).

use super::{Inode, InodeRef};
use crate::{
    engine::{
        buf::BufRef,
        error::{Error, Result},
        ialloc,
        mount::Mount,
    },
    format::{header::BlockKind, inode::InodeSlot, units::Lsn},
    sys::{Arc, Errno},
};

/// Where an inode's changes go.
#[derive(Default)]
pub(crate) struct Item {
    /// The block with the slot, from the first change after a flush to that change's flush.
    buf: Option<BufRef>,
    /// Position of the last commit that changed the inode.
    lsn: Lsn,
}

/// Reads the block of the inode's slot and keeps it until the next flush, if that was not done
/// since the last one. Before the first change of a transaction. The caller holds the ILOCK
/// exclusively. Takes the AG inode lock shared; may sleep. EIO, ENOMEM, EUCLEAN.
pub fn attach(m: &Mount, inode: &InodeRef) -> Result {
    if inode.item.lock().buf.is_some() {
        return Ok(());
    }
    let buf = ialloc::read_inode_block(m, inode.ino)?;
    // Under the exclusive ILOCK nobody attaches at the same time.
    inode.item.lock().buf = Some(buf);
    Ok(())
}

/// Remembers that the inode was changed by the commit at `lsn`. The caller holds the ILOCK
/// exclusively and has attached the inode. May sleep for memory, cannot fail.
pub fn mark_dirty(m: &Mount, inode: &InodeRef, lsn: Lsn) {
    inode.item.lock().lsn = lsn;
    if inode.state.set_dirty() {
        m.inodes.dirty(inode.object());
    }
}

/// Copies all dirty inodes into their slots. Called by a checkpoint while no transaction is open.
/// Takes each ILOCK shared. May sleep.
///
/// Errors are those of a bug or of memory; the inode concerned stays dirty.
pub fn flush_dirty(m: &Mount) -> Result {
    for group in m.inodes.groups() {
        let mut failed = Ok(());
        for inode in group.dirty.take() {
            if let Err(e) = flush_one(m, &inode) {
                group.dirty.add(inode);
                failed = Err(e);
            }
        }
        failed?;
    }
    Ok(())
}

fn flush_one(m: &Mount, inode: &Arc<Inode>) -> Result {
    let inner = inode.ilock.read();
    let (buf, lsn) = {
        let mut item = inode.item.lock();
        (item.buf.take(), item.lsn)
    };
    let Some(buf) = buf else {
        // Dirty means attached.
        return Err(Error::new(Errno::UCLEAN));
    };
    let done = buf.modify_for_flush(|block| {
        let slot = InodeSlot::of_mut(block, inode.ino).ok_or_else(|| Error::new(Errno::UCLEAN))?;
        inner
            .core
            .encode(slot, m.context(), inode.ino, &inner.data, lsn)
    });
    match done {
        Ok(()) => {
            inode.state.clear_dirty();
            Ok(())
        }
        Err(e) => {
            inode.item.lock().buf = Some(buf);
            Err(e)
        }
    }
}

/// The kind of an inode block, in one place.
pub(crate) const INODE_BLOCK: BlockKind = BlockKind::Inodes;
