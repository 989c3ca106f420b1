// SPDX-License-Identifier: GPL-2.0

//! One node of a tree as bytes: where things lie, and reading them.
//!
//! ```text
//!  0        64                                              4096
//!  | header | packed records, in key order ->          free   |   Fixed
//!  | header | slots, in key order ->   free   <- records      |   Slotted
//! ```
//!
//! The last 24 bytes of the block header are the node's own: level (0 is a leaf), kind, number of
//! records, and for a slotted node the lowest byte in use by a record and how many bytes above it
//! belong to no record any more. A slot is the u16 offset of a record in the block. Interior nodes
//! are `Fixed` records of a key and a child.
//!
//! A node may have been written by an adversary, so nothing here trusts an offset: each access is
//! checked and answers [`Bad`], and loops are bounded by the number of records, which is bounded by
//! the size of the node.

pub use crate::format::units::Block;
use crate::format::{
    btree::{
        COUNT,
        HEAP_FREE,
        HEAP_START,
        KIND,
        LAST_INSERT,
        LEVEL, //
    },
    header::BODY_OFFSET,
    limits::TREE_BODY,
    units::BLOCK_SIZE, //
};

/// Where slots and packed records begin: behind the block header.
pub const AREA: usize = BODY_OFFSET;
/// Bytes of a node that hold slots and records.
pub const CAPACITY: usize = TREE_BODY;
/// Bytes of one slot of a slotted node.
pub const SLOT: usize = 2;
/// Bytes of an entry of an interior node: key and child.
pub const BRANCH: usize = 16;
/// Records a node can hold at most, whatever their size; see [`MIN_RECORD`].
pub const MAX_RECORDS: usize = CAPACITY / BRANCH;
/// The shortest record of a slotted node: with its slot it costs no less than a branch.
pub const MIN_RECORD: usize = BRANCH - SLOT;
/// The longest record of a slotted node. Two fit in a node, so one split always makes room.
pub const MAX_RECORD: usize = CAPACITY / 2 - SLOT;

/// A node contradicts itself or its place in the tree: the field that does, named as in
/// Documentation/format.rst. Becomes `EUCLEAN` and a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad(pub &'static str);

/// The outcome of looking at a node.
pub type Checked<T> = core::result::Result<T, Bad>;

/// How the records of a node lie in it.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Packed, each of this many bytes (at least [`BRANCH`]), the key first.
    Fixed(usize),
    /// Each of its own length, behind a sorted array of slots. The function measures the record at
    /// the start of the bytes, which run to the end of the node: its length ([`MIN_RECORD`] to
    /// [`MAX_RECORD`]), or `None` if it is malformed.
    Slotted(fn(&[u8]) -> Option<usize>),
}

impl Shape {
    /// The shape of interior nodes.
    pub const INTERIOR: Shape = Shape::Fixed(BRANCH);

    /// Bytes of a node that a record of `len` bytes costs.
    #[inline]
    pub fn cost(self, len: usize) -> usize {
        match self {
            Shape::Fixed(_) => len,
            Shape::Slotted(_) => len.saturating_add(SLOT),
        }
    }
}

#[inline]
pub(super) fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

#[inline]
pub(super) fn get_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

/// The key of a record: its first 8 bytes, whatever its kind.
#[inline]
pub fn key_of(record: &[u8]) -> Checked<u64> {
    get_u64(record, 0).ok_or(Bad("record.key"))
}

/// A node whose header has been found sane, for reading.
#[derive(Clone, Copy)]
pub struct View<'a> {
    page: &'a Block,
    shape: Shape,
    count: usize,
}

impl<'a> View<'a> {
    /// Opens a node. The caller knows the shape from the kind of tree and the level.
    pub fn new(page: &'a Block, shape: Shape) -> Checked<Self> {
        let count = usize::from(get_u16(page, COUNT).ok_or(Bad("node.count"))?);
        if count > MAX_RECORDS {
            return Err(Bad("node.count"));
        }
        let this = Self { page, shape, count };
        match shape {
            Shape::Fixed(size) => {
                if count.saturating_mul(size) > CAPACITY {
                    return Err(Bad("node.count"));
                }
            }
            Shape::Slotted(_) => {
                let heap = this.heap()?;
                if heap > BLOCK_SIZE || heap < AREA + count * SLOT {
                    return Err(Bad("node.heap_start"));
                }
                if this.dead()? > BLOCK_SIZE - heap {
                    return Err(Bad("node.heap_free"));
                }
            }
        }
        Ok(this)
    }

    /// The level a node claims to have.
    #[inline]
    pub fn level_of(page: &Block) -> u8 {
        page.get(LEVEL).copied().unwrap_or(u8::MAX)
    }

    /// The kind a node claims to have.
    #[inline]
    pub fn kind_of(page: &Block) -> u8 {
        page.get(KIND).copied().unwrap_or(0)
    }

    /// Number of records.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The shape it was opened with.
    #[inline]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// First byte of the heap; the end of the node if there is none.
    #[inline]
    pub(super) fn heap(&self) -> Checked<usize> {
        let at = get_u16(self.page, HEAP_START).ok_or(Bad("node.heap_start"))?;
        Ok(usize::from(at))
    }

    /// Bytes of the heap that belong to no record.
    #[inline]
    pub(super) fn dead(&self) -> Checked<usize> {
        let n = get_u16(self.page, HEAP_FREE).ok_or(Bad("node.heap_free"))?;
        Ok(usize::from(n))
    }

    /// Where record `index` begins.
    #[inline]
    pub(super) fn offset(&self, index: usize) -> Checked<usize> {
        if index >= self.count {
            return Err(Bad("node.index"));
        }
        match self.shape {
            Shape::Fixed(size) => Ok(AREA + index * size),
            Shape::Slotted(_) => {
                let at = get_u16(self.page, AREA + index * SLOT).ok_or(Bad("node.slot"))?;
                let at = usize::from(at);
                if at < self.heap()? {
                    return Err(Bad("node.slot"));
                }
                Ok(at)
            }
        }
    }

    /// The key of record `index`.
    #[inline]
    pub fn key(&self, index: usize) -> Checked<u64> {
        get_u64(self.page, self.offset(index)?).ok_or(Bad("record.key"))
    }

    /// Record `index`, whole.
    pub fn record(&self, index: usize) -> Checked<&'a [u8]> {
        let at = self.offset(index)?;
        let rest = self.page.get(at..).ok_or(Bad("node.slot"))?;
        let len = match self.shape {
            Shape::Fixed(size) => size,
            Shape::Slotted(measure) => measure(rest).ok_or(Bad("record.length"))?,
        };
        rest.get(..len).ok_or(Bad("record.length"))
    }

    /// Bytes record `index` costs, slot included.
    pub(super) fn cost(&self, index: usize) -> Checked<usize> {
        match self.shape {
            Shape::Fixed(size) => Ok(size),
            Shape::Slotted(_) => Ok(self.shape.cost(self.record(index)?.len())),
        }
    }

    /// The child of entry `index` of an interior node.
    #[inline]
    pub fn child(&self, index: usize) -> Checked<u64> {
        get_u64(self.record(index)?, 8).ok_or(Bad("branch.child"))
    }

    /// `Ok(index)` of the record with this key, or `Err(index)` of the first one above it.
    pub fn search(&self, key: u64) -> Checked<core::result::Result<usize, usize>> {
        let mut low = 0;
        let mut high = self.count;
        while low < high {
            let mid = low + (high - low) / 2;
            let found = self.key(mid)?;
            if found == key {
                return Ok(Ok(mid));
            }
            if found < key {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        Ok(Err(low))
    }

    /// The entry of an interior node whose subtree covers `key`: the last one not above it.
    pub fn covering(&self, key: u64) -> Checked<usize> {
        match self.search(key)? {
            Ok(index) => Ok(index),
            Err(above) => above.checked_sub(1).ok_or(Bad("branch.key")),
        }
    }

    /// Where the last insertion was, one more than the index; a hint that may be wrong.
    pub(super) fn last_insert(&self) -> usize {
        get_u16(self.page, LAST_INSERT).map_or(0, usize::from)
    }

    /// Bytes taken by records and their slots.
    pub fn used(&self) -> Checked<usize> {
        match self.shape {
            Shape::Fixed(size) => Ok(self.count * size),
            Shape::Slotted(_) => {
                let heap = BLOCK_SIZE.saturating_sub(self.heap()?);
                let live = heap
                    .checked_sub(self.dead()?)
                    .ok_or(Bad("node.heap_free"))?;
                Ok(live + self.count * SLOT)
            }
        }
    }

    /// Bytes that can be given out without compaction: those between slots (or packed records) and
    /// heap.
    pub(super) fn gap(&self) -> Checked<usize> {
        match self.shape {
            Shape::Fixed(size) => Ok(CAPACITY.saturating_sub(self.count * size)),
            Shape::Slotted(_) => self
                .heap()?
                .checked_sub(AREA + self.count * SLOT)
                .ok_or(Bad("node.heap_start")),
        }
    }

    /// Checks what [`View::new`] does not: keys ascend, records lie in the heap, do not overlap and
    /// account for all of it that is not dead. Linear in the node.
    pub fn verify(&self) -> Checked<()> {
        let mut last = None;
        let mut live = 0;
        // One bit for each byte of the block that a record covers: 512 bytes of stack.
        let mut covered = [0_u64; BLOCK_SIZE / 64];
        for index in 0..self.count {
            let key = self.key(index)?;
            if last.is_some_and(|last| last >= key) {
                return Err(Bad("record.key"));
            }
            last = Some(key);
            let len = self.record(index)?.len();
            live += len;
            if let Shape::Slotted(_) = self.shape {
                let at = self.offset(index)?;
                for byte in at..at + len {
                    let word = covered.get_mut(byte / 64).ok_or(Bad("node.slot"))?;
                    let bit = 1_u64 << (byte % 64);
                    if *word & bit != 0 {
                        return Err(Bad("node.slot"));
                    }
                    *word |= bit;
                }
            }
        }
        if let Shape::Slotted(_) = self.shape {
            if self.heap()? + self.dead()? + live != BLOCK_SIZE {
                return Err(Bad("node.heap_free"));
            }
        }
        Ok(())
    }
}
