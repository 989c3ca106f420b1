// SPDX-License-Identifier: GPL-2.0

//! From the object to its slot.
//!
//! A transaction that changes an inode attaches the inode's block first ([`attach`], rules S3): a
//! read error is met while nothing has changed. The attachment is the entry in the AIL, which owns
//! the reference to the block's buffer until the inode is clean. When the pusher has locked that
//! buffer, all inodes of the block that can be flushed are ([`flush_cluster`]): each one's core and
//! inline data go into its slot, sealed with the log position of its own item. Positions are per
//! slot, because the other slots of the block may be newer or older (rules M2).
//!
//! Compare `xfs_iflush_cluster`.

use super::{cache::Cache, Inode, InodeRef};
use crate::{
    engine::{
        ail::{Ail, FlushToken},
        buf::LockedBuf,
        error::{Error, Result},
        ialloc,
        mount::Mount,
    },
    format::{
        header::{BlockKind, Context},
        inode::InodeSlot,
        units::{Ino, Lsn, INODES_PER_BLOCK},
    },
    sys::{Arc, Errno, Vec},
};

/// The kind of an inode block, in one place.
pub(crate) const INODE_BLOCK: BlockKind = BlockKind::Inodes;

/// A transaction is about to change the inode: pins it, and makes its entry in the AIL with the
/// block of its slot, if there is none. Once for each transaction and inode, before its first
/// change. The caller holds the ILOCK exclusively. Takes the AG inode lock shared; may sleep. EIO,
/// ENOMEM, EUCLEAN.
pub fn attach(m: &Mount, inode: &InodeRef) -> Result {
    if m.ail().join(inode.object()) {
        return Ok(());
    }
    let buf = ialloc::read_inode_block(m, inode.ino)?;
    // Under the exclusive ILOCK nobody attaches at the same time.
    m.ail().attach(inode.object(), buf);
    Ok(())
}

/// The end of [`attach`] without a commit: the inode was not changed. The caller still holds the
/// ILOCK. May sleep for memory.
pub fn detach(m: &Mount, inode: &InodeRef) {
    drop(m.ail().detach(inode.object()));
}

/// The inode was changed by a commit. The caller holds the ILOCK exclusively and has attached the
/// inode. Does not sleep.
pub fn mark_dirty(inode: &Inode) {
    inode.state.set_dirty();
}

/// Puts images of inodes into the slots of their block: of all whose newest state is durable in the
/// log, that are not clean, and whose ILOCK is to be had. Adds the flush token of each to `tokens`,
/// which has room. Waits for nothing. False if the image of an inode is one that must not be
/// written.
pub(crate) fn flush_cluster(
    ail: &Arc<Ail>,
    inodes: &Cache,
    locked: &mut LockedBuf,
    tokens: &mut Vec<FlushToken>,
) -> bool {
    let mut good = true;
    for n in 0..INODES_PER_BLOCK {
        let Some(inode) = of_slot(locked, n).and_then(|ino| inodes.peek(ino)) else {
            continue;
        };
        good &= flush_one(ail, &inode, locked, tokens);
    }
    good
}

/// Number of the inode of slot `n`. A free slot of a damaged image may have anything in it, so the
/// numbers follow from that of an inode that is known to be here; if none is (a new chunk, whose
/// slots were made here), from the slot.
fn of_slot(locked: &mut LockedBuf, n: u32) -> Option<Ino> {
    if let Some(known) = locked.inode() {
        let first = known.index() - known.index() % INODES_PER_BLOCK;
        return Some(Ino::new(known.ag(), first.saturating_add(n)));
    }
    let slot = Ino(u64::from(n));
    locked
        .with(|block| InodeSlot::of(block, slot).map(|slot| Ino(slot.ino.get())))
        .flatten()
        .filter(|ino| ino.slot_offset() == slot.slot_offset())
}

/// One inode. False as in [`flush_cluster`].
fn flush_one(
    ail: &Arc<Ail>,
    inode: &Arc<Inode>,
    locked: &mut LockedBuf,
    tokens: &mut Vec<FlushToken>,
) -> bool {
    // The buffer's content is held, which comes after the ILOCK: by try only. Who has it
    // exclusively is about to change the inode.
    let Some(inner) = inode.ilock.try_read() else {
        return true;
    };
    let context = *locked.buf().context();
    let Some((token, lsn)) = ail.begin(&inode.log, locked.buf()) else {
        return true;
    };
    let done = locked
        .with(|block| encode(&inner, block, &context, inode.ino, lsn))
        .unwrap_or(Err(Error::new(Errno::UCLEAN)));
    if let Err(error) = done {
        crate::sys::pr_err!("inode {} has no image: {}\n", inode.ino, error);
        let mut failed = Vec::new();
        failed.must_push(token);
        let (bag, _same) = ail.complete(failed, Err(error.errno()));
        drop(inner);
        drop(bag);
        return false;
    }
    tokens.must_push(token);
    true
}

fn encode(
    inner: &super::InodeInner,
    block: &mut crate::format::Block,
    context: &Context,
    ino: Ino,
    lsn: Lsn,
) -> Result {
    let slot = InodeSlot::of_mut(block, ino).ok_or_else(|| Error::new(Errno::UCLEAN))?;
    inner.encode(slot, context, ino, lsn)
}
