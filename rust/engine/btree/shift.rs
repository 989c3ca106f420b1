// SPDX-License-Identifier: GPL-2.0

//! Moving keys: the records of a range get keys that are larger or smaller by the same number.
//!
//! A leaf at a time and in place. The keys of all records behind some place change alike, so their
//! order stays, and so does the leaf they are in: what has to follow is the key where the leaf's
//! range begins, in the nodes above it. No record moves to another leaf, so nothing is allocated,
//! nothing is freed, and each step leaves a valid tree in which one part of the records has the old
//! keys and the other the new ones. For that, records that move down go first to last, those that
//! move up last to first. The room for them, keys that no record has, is the caller's to know.
//!
//! Compare XFS's `xfs_bmap_collapse_extents` and `xfs_bmap_insert_extents`, which move one record
//! at a time.

use core::ops::Range as Keys;

use super::{
    corrupt,
    edit,
    page::{
        Bad,
        Checked,
        View, //
    },
    path::{
        Path,
        Toward, //
    },
    view,
    Raw,
    Shape,
    TreeRoot, //
};
use crate::engine::{
    buf::BufRef,
    error::Result,
    mount::Mount,
    txn::Txn, //
};

/// Where keys move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They become smaller.
    Down,
    /// They become larger.
    Up,
}

impl Way {
    /// The key that `key` becomes.
    pub fn apply(self, key: u64, by: u64) -> Option<u64> {
        match self {
            Way::Down => key.checked_sub(by),
            Way::Up => key.checked_add(by),
        }
    }
}

/// Which records of a leaf move.
struct Part {
    /// Their indices.
    index: Keys<usize>,
    /// Keys of the first and the last one.
    first: u64,
    last: u64,
}

impl Raw {
    /// See [`Tree::shift_leaf`](super::Tree::shift_leaf).
    #[inline(never)]
    pub(super) fn shift_leaf(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &TreeRoot,
        keys: Keys<u64>,
        by: u64,
        way: Way,
    ) -> Result<Option<Keys<u64>>> {
        let mut path = Path::new();
        let Some(part) = self.find_part(m, root, &keys, way, &mut path)? else {
            return Ok(None);
        };
        let low = self.new_low(&path, &part, by, way)?;
        // Nothing has changed so far. The separators first: a reader holds the owner's lock, so
        // nobody sees one without the other.
        if let Some(low) = low {
            self.move_low(txn, &path, low)?;
        }
        self.move_keys(txn, path.buf(0)?, &part.index, by, way)?;
        Ok(Some(match way {
            Way::Down => part.last.saturating_add(1)..keys.end,
            Way::Up => keys.start..part.first,
        }))
    }

    /// The leaf with the next records to move, and which of its records those are.
    #[inline(never)]
    fn find_part(
        &self,
        m: &Mount,
        root: &TreeRoot,
        keys: &Keys<u64>,
        way: Way,
        path: &mut Path,
    ) -> Result<Option<Part>> {
        let Some(last) = keys.end.checked_sub(1).filter(|last| *last >= keys.start) else {
            return Ok(None);
        };
        let (toward, forward) = match way {
            Way::Down => (keys.start, true),
            Way::Up => (last, false),
        };
        if !self.descend(m, root, Toward::Key(toward), path)? {
            return Ok(None);
        }
        loop {
            let part = view(path.buf(0)?, self.leaf, |leaf| part_of(&leaf, keys))?;
            if part.is_some() {
                return Ok(part);
            }
            // The leaf that covers the key may have nothing but keys on its other side.
            if !self.next_leaf(m, path, forward)? {
                return Ok(None);
            }
            let near = view(path.buf(0)?, self.leaf, |leaf| {
                leaf.key(if forward {
                    0
                } else {
                    leaf.count().saturating_sub(1)
                })
            })?;
            if near >= keys.end || near < keys.start {
                return Ok(None);
            }
        }
    }

    /// Checks that the new keys keep the order inside the leaf and its neighbours' ranges, and says
    /// where the leaf's own range has to begin afterwards, if that changes.
    #[inline(never)]
    fn new_low(&self, path: &Path, part: &Part, by: u64, way: Way) -> Result<Option<u64>> {
        let block = path.buf(0)?.block();
        let range = path.range(0)?;
        let bad = |what| corrupt(block, Bad(what));
        let first = way
            .apply(part.first, by)
            .ok_or_else(|| bad("shift.first"))?;
        let last = way.apply(part.last, by).ok_or_else(|| bad("shift.last"))?;
        view(path.buf(0)?, self.leaf, |leaf| {
            let before = part.index.start.checked_sub(1);
            let above = match before {
                Some(index) => leaf.key(index)? < first,
                None => true,
            };
            let below = if part.index.end < leaf.count() {
                last < leaf.key(part.index.end)?
            } else {
                range.high.is_none_or(|high| last < high)
            };
            if above && below {
                Ok(())
            } else {
                Err(Bad("shift.order"))
            }
        })?;
        // A leaf on the left edge of the tree has the range from 0 on. Else the range is moved up
        // with the first record, so that the leaf before has room to follow, and down if need be.
        let moves = match way {
            Way::Down => first < range.low,
            Way::Up => range.low != 0,
        };
        Ok((part.index.start == 0 && moves).then_some(first))
    }

    /// Makes the range of the path's leaf begin at `low`: in the lowest node above it where the path
    /// does not take the first entry, and in the first entries below that.
    #[inline(never)]
    fn move_low(&self, txn: &mut Txn<'_>, path: &Path, low: u64) -> Result<()> {
        let Some(top) = (1..path.depth()).find(|level| path.index(*level) > 0) else {
            return Ok(());
        };
        for level in 1..=top {
            let index = path.index(level);
            view(path.buf(level)?, Shape::INTERIOR, |node| {
                let above = match index.checked_sub(1) {
                    Some(before) => node.key(before)? < low,
                    None => true,
                };
                let below = index + 1 >= node.count() || low < node.key(index + 1)?;
                if above && below {
                    Ok(())
                } else {
                    Err(Bad("shift.branch"))
                }
            })?;
        }
        for level in 1..=top {
            let (buf, index) = (path.buf(level)?, path.index(level));
            txn.modify(buf, |page| edit::set_branch_key(page, index, low))
                .map_err(|bad| corrupt(buf.block(), bad))?;
        }
        Ok(())
    }

    /// Gives the records their new keys.
    #[inline(never)]
    fn move_keys(
        &self,
        txn: &mut Txn<'_>,
        leaf: &BufRef,
        index: &Keys<usize>,
        by: u64,
        way: Way,
    ) -> Result<()> {
        txn.modify(leaf, |page| {
            for index in index.clone() {
                edit::set_key(page, self.leaf, index, |key| way.apply(key, by))?;
            }
            Ok(())
        })
        .map_err(|bad| corrupt(leaf.block(), bad))
    }
}

/// Which records of a leaf have keys in `keys`.
fn part_of(leaf: &View<'_>, keys: &Keys<u64>) -> Checked<Option<Part>> {
    let start = leaf.search(keys.start)?.unwrap_or_else(|above| above);
    let end = leaf.search(keys.end)?.unwrap_or_else(|above| above);
    let Some(last) = end.checked_sub(1).filter(|last| *last >= start) else {
        return Ok(None);
    };
    Ok(Some(Part {
        first: leaf.key(start)?,
        last: leaf.key(last)?,
        index: start..end,
    }))
}
