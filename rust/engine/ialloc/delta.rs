// SPDX-License-Identifier: GPL-2.0

//! Flipping bits of the inode map, as the last step before a commit.
//!
//! A transaction collects what becomes of which numbers, reads the blocks for it while it can still
//! give up ([`MapDelta::add`]), and flips the bits at the end ([`MapDelta::apply`]): the AG inode
//! locks are taken by ascending group, and held until the commit is done and the caches know.

use super::{
    claim::InoClaim,
    group::{AgWrite, Group},
    map::{map_block, place_of},
};
use crate::{
    engine::{
        buf::BufRef,
        error::{Error, Result},
        mount::Mount,
        sort::sort_by_key,
        txn::Txn,
    },
    format::{
        imap::{ChunkMasks, MapBlock},
        units::Ino,
    },
    sys::Errno,
};
use core::mem::{offset_of, size_of};
use zerocopy::IntoBytes as _;

/// What happens to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapOp {
    /// Free to used.
    Alloc,
    /// Free to used, an orphan from birth: a file without a name.
    AllocOrphan,
    /// Used to orphan: its last name has gone, or a truncate of it takes several transactions. It
    /// may be one already: unlinked after a truncate that failed.
    Orphan,
    /// Orphan to used: it got a name.
    Adopt,
    /// Orphan to free.
    Free,
}

/// The two bits of a number as they must be before, and as they are after a change.
struct Flip {
    alloc: (bool, bool),
    /// `None`: either.
    was_orphan: Option<bool>,
    orphan: bool,
}

impl MapOp {
    fn flip(self) -> Flip {
        let (alloc, was_orphan, orphan) = match self {
            MapOp::Alloc => ((false, true), Some(false), false),
            MapOp::AllocOrphan => ((false, true), Some(false), true),
            MapOp::Orphan => ((true, true), None, true),
            MapOp::Adopt => ((true, true), Some(true), false),
            MapOp::Free => ((true, false), Some(true), false),
        };
        Flip {
            alloc,
            was_orphan,
            orphan,
        }
    }
}

/// Most changes of one transaction: a rename that replaces one inode and leaves a whiteout.
const MOST: usize = 2;

struct Change<'m> {
    group: &'m Group,
    ino: Ino,
    op: MapOp,
    map: BufRef,
    header: BufRef,
}

/// The map changes of one transaction.
pub(crate) struct MapDelta<'m> {
    m: &'m Mount,
    changes: [Option<Change<'m>>; MOST],
}

/// The AG inode locks of a transaction's map changes; to be dropped after the commit.
#[must_use]
pub(crate) struct MapLocks<'m> {
    _locks: [Option<AgWrite<'m>>; MOST],
}

impl<'m> MapDelta<'m> {
    /// No changes.
    pub(crate) fn new(m: &'m Mount) -> Self {
        Self {
            m,
            changes: [const { None }; MOST],
        }
    }

    /// Plans a change and reads the blocks it needs. The number's chunk exists and cannot go away:
    /// it is claimed, or its inode is in memory. Takes the AG inode lock shared, and gives it back;
    /// may sleep. EIO, ENOMEM, EUCLEAN.
    pub(crate) fn add(&mut self, ino: Ino, op: MapOp) -> Result {
        let group = self.m.inodes.group(ino.ag())?;
        let map = {
            let inner = group.read(self.m)?;
            map_block(self.m, group, &inner, place_of(ino.chunk()).0)?
        };
        let map = map.ok_or_else(|| Error::corrupt(0, "inode outside of the inode map"))?;
        self.plan(group, ino, op, map)
    }

    /// [`Self::add`] for a claimed number, whose map block was found by the search for it. The block
    /// is that of the number as long as the claim lives: it keeps the chunk, and that the end of
    /// the map. Takes no lock; may sleep. EIO, ENOMEM, EUCLEAN.
    pub(crate) fn add_claimed(&mut self, claim: &InoClaim<'_>, op: MapOp) -> Result {
        let group = self.m.inodes.group(claim.ino.ag())?;
        self.plan(group, claim.ino, op, claim.map.clone())
    }

    /// Reads what a change needs beside its map block, and notes it.
    fn plan(&mut self, group: &'m Group, ino: Ino, op: MapOp, map: BufRef) -> Result {
        let header = self.m.ag(ino.ag())?.header(self.m)?;
        let change = Change {
            group,
            ino,
            op,
            map,
            header,
        };
        for slot in self.changes.iter_mut() {
            if slot.is_none() {
                *slot = Some(change);
                return Ok(());
            }
        }
        // MOST is what the largest operation needs.
        Err(Error::new(Errno::RANGE))
    }

    /// Makes the changes in `txn`. The caller holds ILOCKs, commits at once and then drops what this
    /// returns. May sleep. EUCLEAN if the map is not as it must be: the transaction has failed.
    #[inline(never)]
    pub(crate) fn apply(&mut self, txn: &mut Txn<'_>) -> Result<MapLocks<'m>> {
        sort_by_key(&mut self.changes, |c| {
            c.as_ref().map_or(Ino(u64::MAX), |c| c.ino)
        });
        let mut locks: [Option<AgWrite<'m>>; MOST] = [const { None }; MOST];
        let mut held: Option<usize> = None;
        let mut nest = 0;
        let mut last = None;

        for (i, change) in self.changes.iter().enumerate() {
            let Some(change) = change else { continue };
            if last != Some(change.group.ag) {
                let lock = change.group.write(self.m, nest)?;
                nest += 1;
                last = Some(change.group.ag);
                held = Some(i);
                if let Some(slot) = locks.get_mut(i) {
                    *slot = Some(lock);
                }
            }
            let inner = held
                .and_then(|at| locks.get_mut(at))
                .and_then(|lock| lock.as_deref_mut())
                .ok_or_else(|| Error::new(Errno::UCLEAN))?;
            change.make(txn, inner)?;
        }
        Ok(MapLocks { _locks: locks })
    }
}

impl Change<'_> {
    fn make(&self, txn: &mut Txn<'_>, inner: &mut super::AgInner) -> Result {
        let flip = self.op.flip();
        let (block, n) = place_of(self.ino.chunk());
        let bit = 1_u64 << self.ino.chunk_bit();

        let done = txn.modify(&self.map, |b| {
            let map = MapBlock::of(b.bytes());
            let mut masks = *map.chunk(n)?;
            let (alloc, orphan) = (masks.alloc.get(), masks.orphan.get());
            let was_orphan = orphan & bit != 0;
            if (alloc & bit != 0) != flip.alloc.0
                || flip.was_orphan.is_some_and(|was| was != was_orphan)
            {
                return None;
            }
            let alloc = if flip.alloc.1 {
                alloc | bit
            } else {
                alloc & !bit
            };
            let orphan = if flip.orphan {
                orphan | bit
            } else {
                orphan & !bit
            };
            let free = moved16(map.free.get(), flip.alloc.1, flip.alloc.0)?;
            let orphans = moved16(map.orphans.get(), was_orphan, flip.orphan)?;

            // Two small pieces of the block, so that little is logged.
            masks.alloc.set(alloc);
            masks.orphan.set(orphan);
            let at = (n as usize).saturating_mul(size_of::<ChunkMasks>());
            b.write(
                offset_of!(MapBlock, masks).saturating_add(at),
                masks.as_bytes(),
            )
            .ok()?;
            b.write(offset_of!(MapBlock, free), &free.to_le_bytes())
                .ok()?;
            b.write(offset_of!(MapBlock, orphans), &orphans.to_le_bytes())
                .ok()?;
            Some((alloc == 0, was_orphan))
        });
        let Some((emptied, was_orphan)) = done else {
            return Err(Error::corrupt(
                self.map.block().0,
                "inode map: bits or counts are not those of the inode",
            ));
        };

        let free = moved(inner.free, flip.alloc.1, flip.alloc.0);
        let orphans = moved(inner.orphans, was_orphan, flip.orphan);
        let (Some(free), Some(orphans)) = (free, orphans) else {
            return Err(Error::corrupt(self.header.block().0, "inode counts"));
        };
        inner.free = free;
        inner.orphans = orphans;
        txn.count_inodes(
            0,
            moved_by(flip.alloc.1, flip.alloc.0),
            moved_by(was_orphan, flip.orphan),
        );
        txn.modify(&self.header, |b| inner.store_counts(b))?;

        if self.op == MapOp::Free {
            self.group.pick.lock().freed(block);
            if emptied {
                self.group.empty.add(self.ino.chunk());
            }
        }
        Ok(())
    }
}

/// A count after a change: `down` takes one away, `up` adds one, both cancel out.
/// `None` where the count ends.
fn moved(count: u32, down: bool, up: bool) -> Option<u32> {
    match (down, up) {
        (true, false) => count.checked_sub(1),
        (false, true) => count.checked_add(1),
        _ => Some(count),
    }
}

/// [`moved`] for a count of the whole file system: by how much.
fn moved_by(down: bool, up: bool) -> i64 {
    i64::from(up).saturating_sub(i64::from(down))
}

/// [`moved`] for the counts of a map block.
fn moved16(count: u16, down: bool, up: bool) -> Option<u16> {
    u16::try_from(moved(u32::from(count), down, up)?).ok()
}
