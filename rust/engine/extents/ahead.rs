// SPDX-License-Identifier: GPL-2.0

//! Which blocks delayed data gets.

use super::{
    disk, home,
    index::{Mapping, Owned, CHANGE_NODES},
    Extents, View,
};
use crate::{
    engine::{
        alloc::Claim,
        error::{Error, Result},
    },
    format::units::{DiskBlock, FileBlock, BLOCK_SIZE},
    sys::Errno,
};

/// Blocks of a window at least and at most: 64 KiB to 8 MiB, as many as the file has in between.
const LEAST: u64 = 16;
const MOST: u64 = 2048;

impl Extents<'_> {
    /// Where the blocks behind `file` should be: behind the blocks before it, else near the inode.
    pub fn goal(&self, file: FileBlock) -> DiskBlock {
        let mut at = file;
        // Holes and delayed pieces between are skipped, but not many: near is near enough.
        for _ in 0..4 {
            let Some(piece) = self.inner.index.last_before(at) else {
                break;
            };
            match piece.view.skip(piece.len) {
                View::Written { at } | View::Unwritten { at, .. } | View::InFlight { at, .. } => {
                    return at
                }
                View::Hole | View::Delayed => at = piece.file,
            }
        }
        match disk::last_le(self.m, &self.ctx(), &self.inner.data, file) {
            Ok(Some(extent)) => extent.range().end(),
            _ => home(self.m, self.inode),
        }
    }

    /// Makes sure that the Delayed extent that covers `file` owns blocks for it, taken near the
    /// blocks before it: as many as the rest of the extent, if there are so many in a row. At the end
    /// of a file that grows they come out of its window, or leave one behind. May sleep. Errors:
    /// AGAIN if a checkpoint is needed to make blocks usable; those of the allocator.
    pub fn claim_ahead(&mut self, file: FileBlock) -> Result {
        let piece = self.must_lookup(file)?;
        if piece.view != View::Delayed {
            return Err(Error::new(Errno::UCLEAN));
        }
        let goal = self.goal(file);
        self.inner.index.must_reserve(CHANGE_NODES);
        let have = match self.inner.index.mapping_at(piece.file) {
            Some(Mapping::Owned(Owned::Delayed(d))) => d.claimed(),
            _ => 0,
        };
        if piece.file.0.saturating_add(have) > file.0 {
            return Ok(());
        }
        // A claim covers the first blocks of an entry, so the entry begins at `file` from now on.
        self.inner.index.carve(file..file)?;
        let want = u32::try_from(piece.end().0.saturating_sub(file.0)).unwrap_or(u32::MAX);
        let grows = self.grows_behind(piece.end());
        let kept = match &self.inner.index.window {
            Some(window) if grows => window.take(self.m.alloc(), goal, want),
            _ => None,
        };
        match kept {
            Some(claim) => {
                // The window's blocks come with a promise of their own.
                let d = self.delayed_at(file)?;
                d.promise().give_back(u64::from(claim.len()));
                d.set_claim(claim);
                Ok(())
            }
            None => self.claim_new(file, goal, want, if grows { self.window_size() } else { 0 }),
        }
    }

    /// Whether `end` is the end of a file that somebody may go on to write to.
    fn grows_behind(&self, end: FileBlock) -> bool {
        let size = self.inode.file.i_size().div_ceil(BLOCK_SIZE as u64);
        self.inode.file.has_writers() && end.0 >= size
    }

    /// How many blocks more than it needs the file may take.
    fn window_size(&self) -> u64 {
        let counts = self.inner.index.counts();
        let blocks = self
            .inner
            .data
            .root
            .blocks
            .saturating_add(counts.delayed)
            .saturating_add(counts.in_flight);
        self.m.alloc().window_size(blocks.clamp(LEAST, MOST))
    }

    /// Claims `want` blocks for the Delayed entry at `file`, and up to `more` behind them for the
    /// file's window.
    fn claim_new(&mut self, file: FileBlock, goal: DiskBlock, want: u32, more: u64) -> Result {
        let alloc = self.m.alloc();
        // What is missing here is missing for others, so this asks and does not insist.
        let extra = match more {
            0 => None,
            more if alloc.available() > more => alloc.reserve(more).ok(),
            _ => None,
        };
        let extra_blocks = extra.as_ref().map_or(0, |e| e.blocks());
        let d = self.delayed_at(file)?;
        if let Some(extra) = extra {
            d.promise().merge(extra);
        }
        let most = u64::from(want).saturating_add(extra_blocks);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let claim = alloc.claim_reserved(d.promise(), goal, most);
        let got = claim.as_ref().map_or(0, |c| u64::from(c.len()));
        // What of the extra promise was not turned into blocks.
        let behind = got.saturating_sub(u64::from(want));
        d.promise().give_back(extra_blocks.saturating_sub(behind));
        let mut claim = claim?;
        let front: Claim = claim.split_front(want);
        d.set_claim(front);
        if !claim.is_empty() {
            alloc.keep_window(&mut self.inner.index.window, claim);
        }
        Ok(())
    }
}
