// SPDX-License-Identifier: GPL-2.0

//! Blocks for a range that read as zeroes.
//!
//! Blocks are claimed first, without a transaction; the transaction then fills what is a hole at that
//! time. Faults go on meanwhile: a hole that has become delayed since is not filled, because the
//! claim of the hole is made under the ILOCK that the filling is done under (seed 003), but gets
//! blocks in the next round, out of the space it has reserved.

use super::Change;
use crate::{
    engine::{
        alloc::Claim,
        error::{Error, Result},
        extents::{disk, Claimed, Extents, View},
        txn::{Txn, TxnRes},
    },
    format::units::{DiskBlock, FileBlock},
    sys::{self, sync_point, Errno, NofsScope},
};
use core::ops::Range;

/// Extents of one transaction at most.
const MOST: u32 = 4;
/// Checkpoints made for blocks in a row before the range is given up.
const TRIES: u32 = 6;

/// What one transaction is going to do.
struct Plan {
    /// Where it begins: what is before it has blocks.
    at: FileBlock,
    /// Blocks of the hole there; 0 if there is none, but delayed data that has claimed its blocks.
    hole: u64,
    goal: DiskBlock,
    changes: disk::Changes,
}

impl Change<'_> {
    /// Gives all blocks of `range` that have none unwritten ones. Bounded transactions; ENOSPC leaves
    /// what was allocated before.
    pub(super) fn allocate(&self, range: Range<FileBlock>) -> Result {
        let mut at = range.start;
        let mut tries = 0;
        while at < range.end {
            match self.allocate_step(at..range.end) {
                Ok(next) => {
                    at = next;
                    tries = 0;
                }
                // All that is promised but not in use is busy: a checkpoint makes it usable.
                Err(e) if e.is(Errno::AGAIN) && tries < TRIES => {
                    tries += self.m.release_busy()?;
                }
                Err(e) if e.is(Errno::AGAIN) => return Err(Error::new(Errno::NOSPC)),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// One transaction, or none if nothing is missing. Returns where the rest begins.
    #[inline(never)]
    fn allocate_step(&self, range: Range<FileBlock>) -> Result<FileBlock> {
        let Some(plan) = self.plan_allocation(range.clone())? else {
            return Ok(range.end);
        };
        let (mut claims, txn) = self.get_space(&plan)?;
        self.fill(plan, range.end, &mut claims, txn)
    }

    /// Finds what is missing first.
    #[inline(never)]
    fn plan_allocation(&self, range: Range<FileBlock>) -> Result<Option<Plan>> {
        let stock = self.inode.file.stock()?;
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let mut inner = self.inode.ilock.write();
        let mut extents = Extents::new(self.m, self.inode, &mut inner, stock);
        let mut at = range.start;
        while at < range.end {
            let piece = extents.lookup(at)?.clip(at..range.end);
            let hole = match piece.view {
                View::Hole => piece.len,
                View::Delayed => {
                    extents.claim_ahead(at)?;
                    0
                }
                View::Unwritten { .. } | View::Written { .. } | View::InFlight { .. } => {
                    at = piece.end();
                    continue;
                }
            };
            return Ok(Some(Plan {
                at,
                hole,
                goal: extents.goal(at),
                changes: disk::changes(extents.fork(), 1, MOST),
            }));
        }
        Ok(None)
    }

    /// Blocks for the hole, as many runs as one transaction can use, and the transaction. If there
    /// is space but not for all of that and the map, for less of it.
    #[inline(never)]
    fn get_space(&self, plan: &Plan) -> Result<(sys::Vec<Claim>, Txn<'_>)> {
        let mut want = plan.hole;
        loop {
            let claims = self.claim_hole_blocks(plan, want)?;
            let res = plan
                .changes
                .res
                .and(TxnRes::new(0, 0).frees(claims.len() as u32 + 1))
                .joins(1);
            match self.m.begin_near(res, plan.goal) {
                Err(e) if e.is(Errno::NOSPC) && want > 1 => want /= 2,
                Err(e) => return Err(e),
                Ok(txn) => return Ok((claims, txn)),
            }
        }
    }

    fn claim_hole_blocks(&self, plan: &Plan, want: u64) -> Result<sys::Vec<Claim>> {
        let mut claims = sys::Vec::try_with_capacity(plan.changes.count as usize)?;
        let mut goal = plan.goal;
        let mut left = want;
        while left > 0 && (claims.len() as u32) < plan.changes.count {
            let most = u32::try_from(left).unwrap_or(u32::MAX);
            match self.m.claim(goal, most, 1) {
                Ok(claim) => {
                    goal = claim.range().end();
                    left = left.saturating_sub(u64::from(claim.len()));
                    claims.try_push(claim)?;
                }
                // What was found is used; the next step says that there is no more.
                Err(e) if e.is(Errno::NOSPC) && !claims.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(claims)
    }

    /// The transaction. Returns where the rest begins.
    #[inline(never)]
    fn fill(
        &self,
        plan: Plan,
        end: FileBlock,
        claims: &mut sys::Vec<Claim>,
        mut txn: Txn<'_>,
    ) -> Result<FileBlock> {
        let stock = self.inode.file.stock()?;
        sync_point!("falloc.planned", self.inode.ino.0);
        let mut inner = self.inode.ilock.write();
        let mut extents = Extents::new(self.m, self.inode, &mut inner, stock);
        sys::mutant!(Seed003 => extents.overwrite_hole(plan.at, plan.hole)?);
        txn.join_inode(self.inode)?;
        if !plan.changes.fits(extents.fork()) {
            // The map has grown since: again, nothing has changed.
            return Ok(plan.at);
        }
        let mut at = plan.at;
        let mut done = 0;
        let mut next = 0;
        while at < end && done < plan.changes.count {
            let piece = match extents.claim_hole(at..end)? {
                Claimed::Hole(hole) => {
                    let Some(claim) = claims.get_mut(next) else {
                        break;
                    };
                    let piece = hole.fill_unwritten(&mut txn, claim)?;
                    if claim.is_empty() {
                        next += 1;
                    }
                    done += 1;
                    piece
                }
                Claimed::Mapped(piece) if piece.view == View::Delayed => {
                    match extents.allocate_delayed(&mut txn, at..end) {
                        Ok(piece) => {
                            done += 1;
                            piece
                        }
                        // Without blocks: the next step claims them.
                        Err(e) if e.is(Errno::AGAIN) => break,
                        // It has space; there is none for the map. What was done stays.
                        Err(e) if e.is(Errno::NOSPC) && done > 0 => break,
                        Err(e) => return Err(e),
                    }
                }
                Claimed::Mapped(piece) => piece,
            };
            at = piece.end();
        }
        if done == 0 {
            return Ok(at);
        }
        self.touch(&mut extents);
        txn.log_inode(self.inode, extents.inner())?;
        txn.commit()?;
        drop(extents);
        drop(inner);
        sync_point!("falloc.after_commit", self.inode.ino.0);
        Ok(at)
    }
}
