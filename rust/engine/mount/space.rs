// SPDX-License-Identifier: GPL-2.0

//! statfs, and waiting for space.

use super::*;
use crate::engine::alloc::{Claim, Reservation};
use crate::engine::log::space::Who;
use crate::format::DiskBlock;

/// Checkpoints made for one request before it is given up.
const TRIES: u32 = 6;

/// Numbers for statfs(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks that can hold anything: the device without static metadata.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks that users can have: the hidden pool is in neither number.
    pub available: u64,
    /// Inodes there are and can be made.
    pub inodes: u64,
    /// Inodes that can be made.
    pub free_inodes: u64,
}

impl Mount {
    /// Totals, from counters: nothing is scanned. Does not sleep.
    pub fn statfs(&self) -> StatFs {
        let free = self.alloc.available();
        let inodes = self.counts.inodes.load(Ordering::Relaxed);
        let free_inodes = self.counts.free.load(Ordering::Relaxed);
        // Any free block can become eight inodes.
        let more = free.saturating_mul(8);
        StatFs {
            blocks: self.context.geometry.total_dynamic_blocks(),
            free,
            available: free,
            inodes: inodes.saturating_add(more),
            free_inodes: free_inodes.saturating_add(more),
        }
    }

    /// Turns (a part of) a promise into blocks, and makes a checkpoint if only busy ones are left.
    /// May sleep; at most a folio lock may be held, and no transaction be open.
    ///
    /// Errors: EIO. ENOSPC only if the bitmaps have fewer free blocks than the counters say, which
    /// is logged: promises are never made twice.
    pub fn claim_reserved(
        &self,
        from: &mut Reservation,
        goal: DiskBlock,
        want: u32,
    ) -> Result<Claim> {
        let mut tries = 0;
        while tries < TRIES {
            match self.alloc.claim_reserved(from, goal, want) {
                Err(error) if error.is(Errno::AGAIN) => tries += self.release_busy()?,
                other => return other,
            }
        }
        let error = Error::new(Errno::NOSPC);
        crate::sys::pr_err!("a promised block is not to be had: {}\n", error);
        self.note_error(&error, 0, 0);
        Err(error)
    }

    /// Takes a run of blocks, and makes a checkpoint if only busy ones are left. May sleep; at most
    /// a folio lock may be held, and no transaction be open. Errors: ENOSPC; EIO.
    pub fn claim(&self, goal: DiskBlock, want: u32, min: u32) -> Result<Claim> {
        let mut tries = 0;
        while tries < TRIES {
            match self.alloc.claim(goal, want, min) {
                Err(error) if error.is(Errno::AGAIN) => tries += self.release_busy()?,
                other => return other,
            }
        }
        Err(Error::new(Errno::NOSPC))
    }

    /// The answer to AGAIN: makes blocks usable that were freed, are being discarded, or have no
    /// bitmap block yet. Returns how much of the caller's patience that is: bitmap blocks have an
    /// end, and one search can find that it lacks some of each group. May sleep; at most a folio lock
    /// may be held, and no transaction be open. Errors: EIO.
    pub(crate) fn release_busy(&self) -> Result<u32> {
        if self.make_bitmaps(Who::Begin)? {
            return Ok(0);
        }
        self.checkpoint()?;
        self.flush_discards();
        Ok(1)
    }

    /// Promises `n` blocks; if there are too few, does what may bring some: deleted files give
    /// their blocks back, then a checkpoint makes busy ones usable. May sleep; nothing may be held.
    /// Errors: ENOSPC; EIO.
    pub fn reserve(self: &Arc<Self>, n: u64) -> Result<Reservation> {
        self.check_writable()?;
        match self.alloc.reserve(n) {
            Err(error) if error.is(Errno::NOSPC) => {}
            other => return other,
        }
        self.sync()?;
        self.alloc.reserve(n)
    }
}
