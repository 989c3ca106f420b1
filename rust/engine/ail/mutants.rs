// SPDX-License-Identifier: GPL-2.0

//! The AIL without its protections: what XFS was before each fix.
//!
//! In safe Rust what was freed cannot be touched, so a mutant keeps a *handle*, a name without a
//! reference, where C had a pointer, and looks it up where C followed the pointer. If the handle
//! leads to nothing, or to another life, C would have used freed memory: that is noted as damage.
//! Only in builds with `--cfg latchfs_races`.

use super::{
    plan::{PushPlan, PLUG},
    Ail, Entry,
};
use crate::engine::buf::{BufHandle, LockedBuf};
use crate::format::{Lsn, BLOCK_SIZE};
use crate::sys::{self, Vec};

/// Where the items of a checkpoint at `lsn` enter: the mutant takes the tail past its first block.
pub(super) fn position(lsn: Lsn) -> Lsn {
    sys::mutant!(AilLate => return Lsn(lsn.get().saturating_add(BLOCK_SIZE as u64)););
    lsn
}

/// Names one life of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial(u64);

impl Serial {
    /// A new one.
    pub(super) fn new() -> Self {
        Self(sys::sync_point::table::serial())
    }
}

/// What is kept in an entry for the mutants.
pub(super) struct Marks {
    pub(super) serial: Serial,
    /// Its last finished write failed. Unlike the state it stays while the image is written again.
    failed: bool,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self {
            serial: Serial::new(),
            failed: false,
        }
    }

    /// Says what became of the last write.
    pub(super) fn set_failed(&mut self, failed: bool) {
        self.failed = failed;
    }
}

/// Seed 000: the push finds that the item has failed, and reads which buffer it has; but the mark
/// does not own the buffer, and is not under the lock that those hold who give the buffer up.
/// [`None`] if the item has not failed: then the real plan is made.
pub(super) fn plan_failed(entry: &Entry) -> Option<PushPlan> {
    let buf = entry.flush.buf()?;
    (entry.marks.failed && !buf.item().is_pinned()).then(|| PushPlan::Unowned(buf.handle()))
}

/// What follows [`plan_failed`], with the AIL's lock released.
pub(super) fn follow(handle: &BufHandle) -> Option<LockedBuf> {
    sys::sync_point!("ail.push.read_buf", handle.block().get());
    let Some(buf) = handle.follow() else {
        sys::damage!(Generation, handle.block().get());
        return None;
    };
    LockedBuf::try_lock(buf).ok()
}

/// Items that a round has pushed, by name.
pub(super) struct Touched(Vec<(u32, Serial)>);

impl Touched {
    /// Of none.
    pub(super) fn new() -> Self {
        let mut items = Vec::new();
        items.must_reserve(PLUG);
        Self(items)
    }

    /// The items of these plans are about to be pushed.
    pub(super) fn remember(&mut self, ail: &Ail, plans: &[PushPlan]) {
        self.0.clear();
        let guard = ail.lock();
        for plan in plans {
            let (PushPlan::Flush(locked) | PushPlan::Resubmit(locked)) = plan else {
                continue;
            };
            let list = &guard.inner.list;
            let mut from = 0;
            while let Some(at) = list.any_from(from) {
                from = at.saturating_add(1);
                if let Some(entry) = list.get(at) {
                    if entry.flush.buf().is_some_and(|buf| buf.same(locked.buf())) {
                        let _ = self.0.push_within_capacity((at, entry.marks.serial));
                    }
                }
            }
        }
    }

    /// The sibling of seed 000: behind the push, when nothing keeps the items any more, it looks at
    /// each of them once again (in XFS for a tracepoint, or for the pointer to the AIL).
    pub(super) fn touch(&mut self, ail: &Ail) {
        while let Some((at, serial)) = self.0.pop() {
            let guard = ail.lock();
            let alive = guard
                .inner
                .list
                .get(at)
                .is_some_and(|entry| entry.marks.serial == serial);
            drop(guard);
            if !alive {
                sys::damage!(ItemGeneration, at.into());
            }
        }
    }
}
