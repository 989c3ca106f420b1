// SPDX-License-Identifier: GPL-2.0

//! Where to cut a full node.
//!
//! Cutting in the middle leaves both halves half empty. That is right for keys that come in random
//! order, and wrong for a file written from front to back, whose extents would then fill half of
//! each leaf for good. So the place of the insertion decides, and the place of the one before, which
//! the node remembers ([`TreeBlock::last_insert`]; InnoDB's `PAGE_LAST_INSERT` is the same thing):
//!
//! * behind all others: the new record starts a node of its own, the old one stays full;
//! * right behind the last inserted record: a sequence that goes up among records that were there
//!   before. Those above it are moved away, so that the sequence fills the node; or if they are few,
//!   the sequence goes on with them in the new node;
//! * before all others, or right before the last inserted record: likewise, mirrored;
//! * anything else: as even as it can be.
//!
//! [`TreeBlock::last_insert`]: crate::format::btree::TreeBlock::last_insert

use super::edit::{
    self,
    Edit,
    Fit, //
};
use super::page::{
    Bad,
    Checked,
    Shape,
    View,
    CAPACITY, //
};

/// Which half of a split node takes the new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The old node.
    Left,
    /// The new node.
    Right,
}

/// How a node is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the first old record that moves to the new node.
    pub at: usize,
    /// Where the new record goes; it keeps its index if left, and loses `at` if right.
    pub side: Side,
}

/// Decides how to split `node` for a new record of `len` bytes that belongs at `index`.
///
/// Both halves get at least one record and fit in a node, which is always possible because no
/// record costs more than half of a node.
pub fn plan(node: &View<'_>, index: usize, len: usize) -> Checked<Cut> {
    let count = node.count();
    if index > count || count == 0 {
        return Err(Bad("node.index"));
    }
    let few = count / 8;
    let up = index == count || index > 0 && node.last_insert() == index;
    let down = index == 0 || node.last_insert() == index + 1;
    // In each of these cases one half is some of the old records, and the other the rest and the
    // new one.
    let side = match (up, down) {
        (true, _) if count - index <= few => Some(Side::Right),
        (true, _) => Some(Side::Left),
        (_, true) if index <= few => Some(Side::Left),
        (_, true) => Some(Side::Right),
        _ => None,
    };
    let new = node.shape().cost(len);
    let total = node.used()? + new;
    if let Some(side) = side {
        let mut below = 0;
        for at in 0..index {
            below += node.cost(at)?;
        }
        let with_new = match side {
            Side::Left => below + new,
            Side::Right => total.saturating_sub(below),
        };
        // Records of different lengths may not let it.
        if with_new <= CAPACITY {
            return Ok(Cut { at: index, side });
        }
    }

    // The most even cut of the records with the new one among them. Before old record `i` there
    // are two cuts if `i` is where the new record goes, else one.
    let mut best: Option<(usize, Cut)> = None;
    let mut consider = |left: usize, cut: Cut| {
        let right = total.saturating_sub(left);
        let uneven = left.abs_diff(right);
        if left <= CAPACITY && right <= CAPACITY && best.is_none_or(|(found, _)| uneven < found) {
            best = Some((uneven, cut));
        }
    };
    let mut left = 0;
    for at in 0..count {
        if at == index {
            consider(
                left,
                Cut {
                    at,
                    side: Side::Right,
                },
            );
            left += new;
        }
        if at > 0 {
            let side = if at < index { Side::Right } else { Side::Left };
            consider(left, Cut { at, side });
        }
        left += node.cost(at)?;
    }
    best.map(|(_, cut)| cut).ok_or(Bad("node.heap_free"))
}

/// Splits: moves the records behind the cut from `left` to the empty node `right` and inserts the
/// new record, which belongs at `index`. Returns the first key of `right`, the separator.
pub fn apply(
    left: &mut impl Edit,
    right: &mut impl Edit,
    shape: Shape,
    cut: Cut,
    index: usize,
    record: &[u8],
) -> Checked<u64> {
    edit::append(right, shape, &View::new(left.bytes(), shape)?, cut.at)?;
    edit::truncate(left, shape, cut.at)?;
    match cut.side {
        Side::Left => insert(left, shape, index, record)?,
        Side::Right => {
            let index = index.checked_sub(cut.at).ok_or(Bad("node.index"))?;
            insert(right, shape, index, record)?;
        }
    }
    View::new(right.bytes(), shape)?.key(0)
}

/// Inserts into a node that has room, closing holes if it must.
pub fn insert(page: &mut impl Edit, shape: Shape, index: usize, record: &[u8]) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    if edit::fit(&node, record.len())? == Fit::Compacted {
        edit::compact(page, shape)?;
    }
    edit::insert(page, shape, index, record)
}
