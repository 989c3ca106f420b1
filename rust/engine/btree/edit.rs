// SPDX-License-Identifier: GPL-2.0

//! One node of a tree as bytes: changing them.
//!
//! Every change goes through [`Edit::bytes_mut`], which is told what is about to change: the
//! transaction logs these bytes (rounded to 128) and nothing else. That is why a leaf of long
//! records is slotted: an insert moves two bytes a record, not the records, and a removal only
//! leaves a hole in the heap. The holes are closed by [`compact`], in place, when a record does not
//! fit without.
//!
//! The functions fail only if the node is not what the tree's own reads found it to be.

use super::page::{
    Bad,
    Block,
    Checked,
    Shape,
    View,
    AREA,
    MAX_RECORDS,
    SLOT, //
};
use crate::engine::sort::sort_by_key;
use crate::format::{
    btree::{
        COUNT,
        HEAP_FREE,
        HEAP_START,
        KIND,
        LAST_INSERT,
        LEVEL, //
    },
    units::BLOCK_SIZE, //
};
use core::ops::Range;

/// A block that may be changed in pieces. In the engine this is the transaction's `BlockMut`.
pub trait Edit {
    /// The block as it is now.
    fn bytes(&self) -> &Block;

    /// Says that `range` changes and lends it; `None` if it is not inside the block.
    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]>;
}

/// Whether a record can be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As the node is.
    Now,
    /// After [`compact`].
    Compacted,
    /// Only after a split.
    No,
}

/// Whether a record of `len` bytes fits.
pub fn fit(node: &View<'_>, len: usize) -> Checked<Fit> {
    let cost = node.shape().cost(len);
    let gap = node.gap()?;
    if cost <= gap {
        return Ok(Fit::Now);
    }
    let dead = match node.shape() {
        Shape::Fixed(_) => 0,
        Shape::Slotted(_) => node.dead()?,
    };
    Ok(if cost <= gap + dead {
        Fit::Compacted
    } else {
        Fit::No
    })
}

fn set_u16(page: &mut impl Edit, at: usize, value: usize, field: &'static str) -> Checked<()> {
    let value = u16::try_from(value).map_err(|_| Bad(field))?;
    put(page, at, &value.to_le_bytes(), field)
}

fn put(page: &mut impl Edit, at: usize, bytes: &[u8], field: &'static str) -> Checked<()> {
    let end = at.checked_add(bytes.len()).ok_or(Bad(field))?;
    let to = page.bytes_mut(at..end).ok_or(Bad(field))?;
    if to.len() != bytes.len() {
        return Err(Bad(field));
    }
    to.copy_from_slice(bytes);
    Ok(())
}

/// Moves `len` bytes inside the block, as `memmove`.
fn shift(page: &mut impl Edit, from: usize, to: usize, len: usize) -> Checked<()> {
    if len == 0 || from == to {
        return Ok(());
    }
    let low = from.min(to);
    let end = from.max(to).checked_add(len).ok_or(Bad("node.move"))?;
    let bytes = page.bytes_mut(low..end).ok_or(Bad("node.move"))?;
    let (from, to) = (from - low, to - low);
    if from + len > bytes.len() || to + len > bytes.len() {
        return Err(Bad("node.move"));
    }
    bytes.copy_within(from..from + len, to);
    Ok(())
}

/// Makes a block whose header is written, and which is zero otherwise, a node without records.
pub fn init(page: &mut impl Edit, shape: Shape, level: u8, kind: u8) -> Checked<()> {
    put(page, LEVEL, &[level], "node.level")?;
    put(page, KIND, &[kind], "node.kind")?;
    if let Shape::Slotted(_) = shape {
        set_u16(page, HEAP_START, BLOCK_SIZE, "node.heap_start")?;
    }
    Ok(())
}

/// Inserts `record` so that it becomes record `index`. It must fit [`Fit::Now`].
pub fn insert(page: &mut impl Edit, shape: Shape, index: usize, record: &[u8]) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    let count = node.count();
    let behind = count.checked_sub(index).ok_or(Bad("node.index"))?;
    if fit(&node, record.len())? != Fit::Now {
        return Err(Bad("node.full"));
    }
    match shape {
        Shape::Fixed(size) => {
            if record.len() != size {
                return Err(Bad("record.length"));
            }
            let at = AREA + index * size;
            shift(page, at, at + size, behind * size)?;
            put(page, at, record, "node.record")?;
        }
        Shape::Slotted(_) => {
            let heap = node.heap()?;
            let at = heap
                .checked_sub(record.len())
                .ok_or(Bad("node.heap_start"))?;
            let slot = AREA + index * SLOT;
            put(page, at, record, "node.record")?;
            shift(page, slot, slot + SLOT, behind * SLOT)?;
            set_u16(page, slot, at, "node.slot")?;
            set_u16(page, HEAP_START, at, "node.heap_start")?;
        }
    }
    set_u16(page, LAST_INSERT, index + 1, "node.last_insert")?;
    set_u16(page, COUNT, count + 1, "node.count")
}

/// Replaces record `index` by one of the same length. Only the bytes that differ are changed.
pub fn overwrite(page: &mut impl Edit, shape: Shape, index: usize, record: &[u8]) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    let at = node.offset(index)?;
    let old = node.record(index)?;
    if old.len() != record.len() {
        return Err(Bad("record.length"));
    }
    let differs = |(a, b): (&u8, &u8)| a != b;
    let Some(first) = old.iter().zip(record).position(differs) else {
        return Ok(());
    };
    let last = old.iter().zip(record).rposition(differs).unwrap_or(first);
    let changed = record.get(first..last + 1).ok_or(Bad("record.length"))?;
    put(page, at + first, changed, "node.record")
}

/// Removes record `index`.
pub fn remove(page: &mut impl Edit, shape: Shape, index: usize) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    let count = node.count();
    let at = node.offset(index)?;
    let len = node.record(index)?.len();
    let behind = count - index - 1;
    match shape {
        Shape::Fixed(size) => shift(page, at + size, at, behind * size)?,
        Shape::Slotted(_) => {
            let heap = node.heap()?;
            let dead = node.dead()?;
            let slot = AREA + index * SLOT;
            shift(page, slot + SLOT, slot, behind * SLOT)?;
            if count == 1 {
                set_u16(page, HEAP_START, BLOCK_SIZE, "node.heap_start")?;
                set_u16(page, HEAP_FREE, 0, "node.heap_free")?;
            } else if at == heap {
                set_u16(page, HEAP_START, heap + len, "node.heap_start")?;
            } else {
                set_u16(page, HEAP_FREE, dead + len, "node.heap_free")?;
            }
        }
    }
    set_u16(page, COUNT, count - 1, "node.count")
}

/// Drops all records from index `keep` on.
pub fn truncate(page: &mut impl Edit, shape: Shape, keep: usize) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    if keep >= node.count() {
        return Ok(());
    }
    if let Shape::Slotted(_) = shape {
        if keep == 0 {
            set_u16(page, HEAP_START, BLOCK_SIZE, "node.heap_start")?;
            set_u16(page, HEAP_FREE, 0, "node.heap_free")?;
        } else {
            let mut dead = node.dead()?;
            for index in keep..node.count() {
                dead += node.record(index)?.len();
            }
            set_u16(page, HEAP_FREE, dead, "node.heap_free")?;
        }
    }
    set_u16(page, COUNT, keep, "node.count")
}

/// Sets the key of entry `index` of an interior node.
pub fn set_branch_key(page: &mut impl Edit, index: usize, key: u64) -> Checked<()> {
    let at = View::new(page.bytes(), Shape::INTERIOR)?.offset(index)?;
    put(page, at, &key.to_le_bytes(), "branch.key")
}

/// Gives record `index` the key that `f` makes of its own. The caller sees to the order.
pub fn set_key(
    page: &mut impl Edit,
    shape: Shape,
    index: usize,
    f: impl FnOnce(u64) -> Option<u64>,
) -> Checked<()> {
    let node = View::new(page.bytes(), shape)?;
    let at = node.offset(index)?;
    let key = f(node.key(index)?).ok_or(Bad("record.key"))?;
    put(page, at, &key.to_le_bytes(), "record.key")
}

/// Closes the holes in the heap. Moves each record towards the end of the block, the last one in
/// the heap first, so no second block is needed.
pub fn compact(page: &mut impl Edit, shape: Shape) -> Checked<()> {
    let Shape::Slotted(_) = shape else {
        return Ok(());
    };
    let node = View::new(page.bytes(), shape)?;
    if node.dead()? == 0 {
        return Ok(());
    }
    let count = node.count();
    // Indices of the records; the shortest record leaves room for fewer than 256.
    const { assert!(MAX_RECORDS <= 256) };
    let mut order = [0_u8; MAX_RECORDS];
    let order = order.get_mut(..count).ok_or(Bad("node.count"))?;
    for (index, to) in order.iter_mut().enumerate() {
        *to = index as u8;
    }
    sort_by_key(order, |&index| {
        core::cmp::Reverse(node.offset(usize::from(index)).unwrap_or(0))
    });

    let mut end = BLOCK_SIZE;
    for &index in order.iter() {
        let index = usize::from(index);
        let node = View::new(page.bytes(), shape)?;
        let from = node.offset(index)?;
        let len = node.record(index)?.len();
        let to = end.checked_sub(len).ok_or(Bad("node.heap_start"))?;
        if to < from {
            // Two records overlap.
            return Err(Bad("node.slot"));
        }
        shift(page, from, to, len)?;
        set_u16(page, AREA + index * SLOT, to, "node.slot")?;
        end = to;
    }
    set_u16(page, HEAP_START, end, "node.heap_start")?;
    set_u16(page, HEAP_FREE, 0, "node.heap_free")
}

/// Appends records `from..` of `source` to the node `page`; there must be room for them, after
/// compaction at worst.
pub fn append(page: &mut impl Edit, shape: Shape, source: &View<'_>, from: usize) -> Checked<()> {
    let records = from..source.count();
    let mut need = 0;
    for index in records.clone() {
        need += source.cost(index)?;
    }
    let node = View::new(page.bytes(), shape)?;
    let count = node.count();
    if need > node.gap()? {
        compact(page, shape)?;
    }
    let node = View::new(page.bytes(), shape)?;
    if need > node.gap()? {
        return Err(Bad("node.full"));
    }

    let added = records.len();
    match shape {
        Shape::Fixed(size) => {
            let mut at = AREA + count * size;
            for index in records {
                put(page, at, source.record(index)?, "node.record")?;
                at += size;
            }
        }
        Shape::Slotted(_) => {
            let mut heap = node.heap()?;
            for (n, index) in records.enumerate() {
                let record = source.record(index)?;
                heap = heap
                    .checked_sub(record.len())
                    .ok_or(Bad("node.heap_start"))?;
                put(page, heap, record, "node.record")?;
                set_u16(page, AREA + (count + n) * SLOT, heap, "node.slot")?;
            }
            set_u16(page, HEAP_START, heap, "node.heap_start")?;
        }
    }
    set_u16(page, COUNT, count + added, "node.count")
}
