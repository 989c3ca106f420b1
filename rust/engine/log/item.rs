// SPDX-License-Identifier: GPL-2.0

//! What the log keeps in everything that can be logged.
//!
//! A [`LogItem`] is part of every metadata buffer and every inode in memory. It says whether the
//! newest committed state of the object is in the log already ([`LogItem::pins`]), what of the
//! object the newest record has to carry ([`LogItem::logged`]), in which slot of the open
//! checkpoint it is, and where in the AIL. It has no lock of its own; each word says who writes it.
//!
//! Compare XFS's `xfs_log_item` and `xfs_buf_log_item`.

use crate::engine::{
    buf::BufRef,
    inode::Inode, //
};
use crate::sys::{
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    Arc, //
};

/// The core of an inode was changed: a bit of [`LogItem::logged`] of an inode. It is in every
/// record of an inode.
pub const CORE: u32 = 1 << 0;
/// The literal area of an inode (the root of its data fork, or inline data) was changed.
pub const LITERAL: u32 = 1 << 1;

/// No slot, in [`LogItem::ail`].
pub const NO_ENTRY: u32 = u32::MAX;

/// Not in any context, in `LogItem::cil`.
const NO_SLOT: u64 = u64::MAX;

/// What the log keeps in a loggable object.
pub struct LogItem {
    /// Open transactions that have changed the object, and checkpoints that carry it and are not
    /// durable. Written through [`Self::pin`] and [`Self::unpin`].
    pins: AtomicU32,
    /// Chunks (buffer) or fields (inode) that were logged since the last write of the object that
    /// completed (rules M5). Grows in commit, under the lock that keeps the object from changing;
    /// emptied by the completion of a write, during which nobody changes the object.
    logged: AtomicU32,
    /// Context and slot, see [`Self::slot`]. Written under the lock of the open context.
    cil: AtomicU64,
    /// Index in the AIL's arena, or [`NO_ENTRY`]. Written under the AIL's lock.
    ail: AtomicU32,
    /// Number of the last checkpoint the object was committed in; 0 if none. Written in commit.
    commit_seq: AtomicU64,
    /// The same for changes that fdatasync cares for.
    data_seq: AtomicU64,
    /// Such a change was logged by a transaction that is not committed yet. Written under the lock
    /// that keeps the object from changing.
    data: AtomicBool,
}

/// A loggable object, and what keeps it in memory: a counted reference to a buffer; an inode whose
/// state says that it is dirty.
#[derive(Clone)]
pub enum ItemRef {
    /// A metadata buffer.
    Buf(BufRef),
    /// An inode.
    Inode(Arc<Inode>),
}

impl Default for LogItem {
    fn default() -> Self {
        Self::new()
    }
}

impl LogItem {
    /// The item of an object that was never logged.
    pub fn new() -> Self {
        Self {
            pins: AtomicU32::new(0),
            logged: AtomicU32::new(0),
            cil: AtomicU64::new(NO_SLOT),
            ail: AtomicU32::new(NO_ENTRY),
            commit_seq: AtomicU64::new(0),
            data_seq: AtomicU64::new(0),
            data: AtomicBool::new(false),
        }
    }

    /// One more reason not to write the object to its place. For a buffer under its content lock,
    /// so that a writer that holds the lock and sees no pin can go on.
    pub fn pin(&self) {
        self.pins.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of a [`Self::pin`]. Returns whether it was the last one.
    pub fn unpin(&self) -> bool {
        let old = self.pins.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(old != 0, "item unpinned twice");
        old == 1
    }

    /// Whether the object has changes that are not durable in the log.
    pub fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) != 0
    }

    /// What the next record has to carry beside what is changed.
    pub fn logged(&self) -> u32 {
        self.logged.load(Ordering::Acquire)
    }

    /// Commit: adds what was changed, and returns everything the record has to carry.
    pub fn log(&self, bits: u32) -> u32 {
        self.logged.fetch_or(bits, Ordering::AcqRel) | bits
    }

    /// A write of the object has completed, and nobody could change it meanwhile.
    pub fn written(&self) {
        self.logged.store(0, Ordering::Release);
    }

    /// [`Self::written`] for an inode, which may have been committed again since it was copied into
    /// its slot: takes `bits` away. The caller knows that what is taken away was not logged again.
    pub fn unlog(&self, bits: u32) {
        self.logged.fetch_and(!bits, Ordering::AcqRel);
    }

    /// Slot in the context with the number `seq`, if it is in that one. Under the context's lock.
    pub(super) fn slot(&self, seq: u64) -> Option<u32> {
        let word = self.cil.load(Ordering::Relaxed);
        (word != NO_SLOT && (word >> 32) as u32 == seq as u32).then_some(word as u32)
    }

    /// Remembers the slot. Under the context's lock.
    pub(super) fn set_slot(&self, seq: u64, slot: u32) {
        self.cil
            .store((seq << 32) | u64::from(slot), Ordering::Relaxed);
    }

    /// Index of the object's entry in the AIL. Under the AIL's lock.
    pub fn entry(&self) -> Option<u32> {
        let at = self.ail.load(Ordering::Relaxed);
        (at != NO_ENTRY).then_some(at)
    }

    /// Remembers the entry in the AIL. Under the AIL's lock.
    pub fn set_entry(&self, at: Option<u32>) {
        self.ail.store(at.unwrap_or(NO_ENTRY), Ordering::Relaxed);
    }

    /// Number of the last checkpoint the object was committed in: when that is durable, so is the
    /// object. 0 if it was never committed.
    pub fn commit_seq(&self) -> u64 {
        self.commit_seq.load(Ordering::Acquire)
    }

    /// [`Self::commit_seq`] of changes without which data cannot be found after a crash: all but
    /// those of times alone.
    pub fn data_seq(&self) -> u64 {
        self.data_seq.load(Ordering::Acquire)
    }

    /// A transaction logs such a change. Under the lock of the object.
    pub fn note_data(&self) {
        self.data.store(true, Ordering::Relaxed);
    }

    /// Commit: the object is in the context `seq`.
    pub(super) fn set_commit_seq(&self, seq: u64) {
        self.commit_seq.store(seq, Ordering::Release);
        if self.data.swap(false, Ordering::Relaxed) {
            self.data_seq.store(seq, Ordering::Release);
        }
    }
}

impl ItemRef {
    /// The item of the object.
    pub fn item(&self) -> &LogItem {
        match self {
            ItemRef::Buf(buf) => buf.item(),
            ItemRef::Inode(inode) => &inode.log,
        }
    }
}
