// SPDX-License-Identifier: GPL-2.0

//! Observables: what must be true when nothing is under way. Shown in debugfs, checked by tests,
//! and in debug builds at unmount.

use super::*;
use crate::engine::ail::verify::AilState;
use crate::sys;
use core::fmt;

/// What there is now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// The AIL (O1).
    pub ail: AilState,
    /// Metadata buffers in memory.
    pub bufs: u64,
    /// Dirty ones among them (O2).
    pub dirty: u64,
    /// Inodes in memory.
    pub inodes: usize,
    /// Their blocks that have data but no place (O3).
    pub delayed: u64,
    /// Their blocks that data is on its way to: those of ordered extents (O5).
    pub in_flight: u64,
    /// Space that somebody has been promised (O3).
    pub promised: u64,
    /// Log space that transactions have (O8).
    pub granted: u64,
    /// Whether something was committed and is in no checkpoint yet.
    pub committed: bool,
}

impl Observed {
    /// Whether everything is in its place: after a quiesce with nothing since.
    pub fn is_quiet(&self) -> bool {
        self.ail.is_quiet() && self.dirty == 0 && self.granted == 0 && !self.committed
    }

    /// Whether all data is in its place, too, and all space: after an unmount.
    pub fn is_settled(&self) -> bool {
        self.delayed == 0 && self.in_flight == 0 && self.promised == 0
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ail = &self.ail;
        writeln!(
            f,
            "O1 ail: {} listed, {} waiting, {} inodes, {} flushing, {} failed, {} tokens, {} writes",
            ail.listed, ail.waiting, ail.inodes, ail.flushing, ail.failed, ail.tokens, ail.inflight
        )?;
        writeln!(f, "O2 buffers: {} cached, {} dirty", self.bufs, self.dirty)?;
        writeln!(
            f,
            "O3 space: {} promised, {} delayed",
            self.promised, self.delayed
        )?;
        writeln!(f, "O5 data: {} in flight", self.in_flight)?;
        writeln!(
            f,
            "O8 log: {} bytes granted, {}",
            self.granted,
            if self.committed {
                "changes not written"
            } else {
                "idle"
            }
        )?;
        writeln!(f, "inodes: {} cached", self.inodes)
    }
}

impl Mount {
    /// Looks. Holds the AIL's spinlock for as long as it takes to see all its entries.
    pub fn observe(&self) -> Observed {
        Observed {
            ail: self.ail.state(),
            bufs: self.buf.count(),
            dirty: self.buf.dirty_count(),
            inodes: self.inodes.cache.len(),
            delayed: self.inodes.cache.sum(|i| i.file.delayed()),
            in_flight: self.inodes.cache.sum(|i| i.file.in_flight()),
            promised: self.alloc.promised(),
            granted: self.log.space().granted(),
            committed: !self.log.is_idle(),
        }
    }

    /// EUCLEAN, and what is wrong in the log, if something is under way that should not be. To be
    /// called after [`Self::quiesce`] with nothing since.
    pub fn verify(&self) -> Result {
        let seen = self.observe();
        if seen.is_quiet() {
            return Ok(());
        }
        sys::pr_err!("not quiet: {}", seen);
        Err(Error::new(Errno::UCLEAN))
    }

    /// The end of an unmount: nothing may be left but what somebody still holds.
    #[cfg(debug_assertions)]
    pub(super) fn verify_at_end(&self, held: u64) {
        let seen = self.observe();
        if !seen.ail.is_quiet() {
            sys::pr_err!("left behind: {}", seen);
        }
        debug_assert!(seen.ail.is_quiet() || held != 0);
        debug_assert!(seen.bufs == held);
        let all_gone = seen.inodes == 0 && !self.is_shutdown();
        if all_gone && !seen.is_settled() {
            sys::pr_err!("left behind: {}", seen);
        }
        debug_assert!(!all_gone || seen.is_settled());
    }
}
