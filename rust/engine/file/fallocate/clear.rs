// SPDX-License-Identifier: GPL-2.0

//! Taking the data of a range away: punching a hole, and zeroing.
//!
//! Zeroing makes written extents unwritten where they are: it needs no space, moves nothing, and
//! there is no moment at which the file has neither the old data nor zeroes.

use super::{byte, Change};
use crate::{
    engine::{
        error::Result,
        extents::{disk, Clear, Extents},
        file::size,
        txn::TxnRes,
    },
    format::units::FileBlock,
    sys::{sync_point, NofsScope},
};
use core::ops::Range;

/// Extents of one transaction at most.
const MOST: u32 = 8;

/// Changes of the map for one piece.
fn per_piece(how: Clear) -> u32 {
    match how {
        Clear::Punch => 1,
        Clear::Unwritten => 2,
    }
}

impl Change<'_> {
    /// Clears all blocks of `range`. Nothing of it is in the page cache or in flight. Works on a full
    /// file system.
    pub(super) fn clear(&self, range: Range<FileBlock>, how: Clear) -> Result {
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end && result.is_ok() {
            match self.clear_step(at..range.end, how) {
                Ok(next) => at = next,
                Err(e) => result = Err(e),
            }
        }
        // What held the size on disk back may have been here, and no completion comes any more.
        size::let_go(self.m, self.inode);
        result
    }

    /// One transaction, or none if the map does not change. Returns where the rest begins.
    #[inline(never)]
    fn clear_step(&self, range: Range<FileBlock>, how: Clear) -> Result<FileBlock> {
        let Some((at, changes)) = self.plan_clear(range.clone(), how)? else {
            return Ok(range.end);
        };
        let runs = TxnRes::new(0, 0).frees(changes.count);
        let txn = self.m.begin(changes.res.and(runs).joins(1).from_pool())?;
        let stock = self.inode.file.stock()?;
        let mut inner = self.inode.ilock.write();
        let mut extents = Extents::new(self.m, self.inode, &mut inner, stock);
        let mut txn = txn;
        txn.join_inode(self.inode)?;
        if !changes.fits(extents.fork()) {
            // The map has grown since: again, nothing has changed.
            return Ok(at);
        }
        let start = at;
        let mut at = at;
        let mut done = 0;
        while at < range.end {
            let piece = extents.must_lookup(at)?.clip(at..range.end);
            let txn = if Extents::clears_map(&piece, how) {
                if done + per_piece(how) > changes.count {
                    break;
                }
                done += per_piece(how);
                Some(&mut txn)
            } else {
                None
            };
            at = extents.clear(txn, &piece, how)?;
        }
        self.cleared(&mut extents, start..at);
        self.touch(&mut extents);
        txn.log_inode(self.inode, extents.inner())?;
        txn.commit()?;
        drop(extents);
        drop(inner);
        sync_point!("falloc.after_commit", self.inode.ino.0);
        Ok(at)
    }

    /// Clears what needs no transaction. Returns where the rest begins and what it needs, `None` if
    /// there is no rest.
    #[inline(never)]
    fn plan_clear(
        &self,
        range: Range<FileBlock>,
        how: Clear,
    ) -> Result<Option<(FileBlock, disk::Changes)>> {
        let stock = self.inode.file.stock()?;
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let mut inner = self.inode.ilock.write();
        let mut extents = Extents::new(self.m, self.inode, &mut inner, stock);
        let mut at = range.start;
        while at < range.end {
            let piece = extents.lookup(at)?.clip(at..range.end);
            if Extents::clears_map(&piece, how) {
                self.cleared(&mut extents, range.start..at);
                let least = per_piece(how);
                let changes = disk::changes(extents.fork(), least, MOST * least);
                return Ok(Some((at, changes)));
            }
            at = extents.clear(None, &piece, how)?;
        }
        self.cleared(&mut extents, range);
        Ok(None)
    }

    /// What was to be written in `range` is not to come any more: as far as the size on disk is
    /// concerned its zeroes are there.
    fn cleared(&self, extents: &mut Extents<'_>, range: Range<FileBlock>) {
        let end = byte(range.end).min(self.inode.file.i_size());
        if byte(range.start) < end {
            size::data_done(extents, range.start, end);
        }
    }
}
