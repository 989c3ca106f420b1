// SPDX-License-Identifier: GPL-2.0

//! The extent index: what the blocks of one file are, in memory.
//!
//! Sorted, disjoint entries. Two kinds, and the type keeps them apart:
//!
//! * [`Cached`]: a piece of the extent map on disk. May be dropped at any time, and read again.
//! * [`Owned`]: exists here only. `Delayed` is written data without blocks yet, and owns the space
//!   reserved for it; `InFlight` is being written, and owns its blocks through its ordered extent;
//!   `Promised` is an unwritten extent with dirty data over it, whose conversion is paid for; it is
//!   `appended` if that data was behind the end of the file when it was written.
//!
//! What no entry covers is *not cached*: neither a hole nor anything else until it has been read
//! from disk (rules M19). Holes are entries.
//!
//! The index never overwrites. Every change says what it expects to find, and what it finds instead
//! is an error, not lost (seed 003).
//!
//! # Locks
//!
//! All of it is protected by the ILOCK: read under it shared, changed under it exclusively through
//! [`Extents`](super::Extents). Nothing here sleeps but the functions that reserve nodes.

mod arena;
mod delayed;
mod edit;
mod reclaim;
mod settle;
mod tree;

#[cfg(all(test, unit_tests))]
mod tests;

pub(crate) use self::delayed::Delayed;

use super::{ordered::OrderedExtent, short::ShortBlocks};
use crate::{
    engine::alloc::{Reservation, Window},
    format::{
        limits::MAX_FILE_BLOCKS,
        units::{DiskBlock, FileBlock},
    },
    sys::{Arc, SysResult},
};
use core::ops::Range;
use tree::{Map, NodeStock, Slot};

/// New entries one change makes at most: two where a range is cut out of an entry, and the range.
pub(crate) const CHANGE_NODES: u32 = 3;

/// A piece of the extent map on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// No blocks.
    Hole,
    /// Blocks that read as zeroes; the first one's number.
    Unwritten(DiskBlock),
    /// Blocks with data; the first one's number.
    Written(DiskBlock),
}

/// What exists in the index only.
pub(crate) enum Owned {
    /// Data without blocks.
    Delayed(Delayed),
    /// An unwritten extent on disk that will be converted; the metadata blocks its conversion can
    /// need are reserved with the inode. Not all of it need have data: who was promised blocks may
    /// have failed before he wrote.
    Promised(Promised),
    /// Data on its way to the disk.
    InFlight(InFlight),
}

/// An unwritten extent that will be converted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promised {
    /// First block.
    pub(crate) at: DiskBlock,
    /// Each block has data in the page cache that was behind the end of the file when it was
    /// written, so the size on disk waits for it. Exact: it would wait for ever for what never comes.
    pub(crate) appended: bool,
}

/// Where data on its way goes.
pub(crate) struct InFlight {
    /// First block.
    pub(crate) at: DiskBlock,
    /// What the file has there on disk until the completion changes it.
    pub(crate) prior: Prior,
    /// The ordered extent: owns the blocks if `prior` is a hole.
    pub(crate) io: Arc<OrderedExtent>,
}

/// What the map on disk says about a range in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prior {
    /// Nothing: the blocks belong to the ordered extent.
    Hole,
    /// An unwritten extent over the same blocks.
    Unwritten,
}

/// What a range is: cached or owned.
pub(crate) enum Mapping {
    Cached(Cached),
    Owned(Owned),
}

/// An entry; its key is its first block.
pub(crate) struct Entry {
    /// Blocks, at least one.
    pub(crate) len: u64,
    /// What they are.
    pub(crate) mapping: Mapping,
}

/// What a range of a file is, by value: for decisions, not for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// No blocks.
    Hole,
    /// Data without blocks.
    Delayed,
    /// Blocks that read as zeroes.
    Unwritten {
        /// The first one.
        at: DiskBlock,
        /// Whether a conversion is paid for.
        promised: bool,
        /// Whether there is data above it that was appended to the file.
        appended: bool,
    },
    /// Blocks with data.
    Written {
        /// The first one.
        at: DiskBlock,
    },
    /// Blocks that data is on its way to. Unwritten to everybody but its own writeback.
    InFlight {
        /// The first one.
        at: DiskBlock,
        /// What the disk has.
        prior: Prior,
        /// Whether the page cache waits for it; else it is a direct write.
        buffered: bool,
    },
}

/// A range of a file that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First block.
    pub file: FileBlock,
    /// Number of blocks.
    pub len: u64,
    /// What they are.
    pub view: View,
}

impl View {
    /// The same for a range that begins `n` blocks later.
    pub(crate) fn skip(self, n: u64) -> Self {
        match self {
            View::Hole | View::Delayed => self,
            View::Unwritten {
                at,
                promised,
                appended,
            } => View::Unwritten {
                at: at.saturating_add(n),
                promised,
                appended,
            },
            View::Written { at } => View::Written {
                at: at.saturating_add(n),
            },
            View::InFlight {
                at,
                prior,
                buffered,
            } => View::InFlight {
                at: at.saturating_add(n),
                prior,
                buffered,
            },
        }
    }
}

impl Piece {
    /// First block behind the piece.
    pub fn end(&self) -> FileBlock {
        self.file.saturating_add(self.len)
    }

    /// The part of the piece inside `range`; the piece and the range overlap.
    #[must_use]
    pub fn clip(&self, range: Range<FileBlock>) -> Piece {
        let start = self.file.max(range.start);
        let end = self.end().min(range.end);
        Piece {
            file: start,
            len: end.0.saturating_sub(start.0),
            view: self.view.skip(start.0.saturating_sub(self.file.0)),
        }
    }
}

impl Mapping {
    fn view(&self) -> View {
        match self {
            Mapping::Cached(Cached::Hole) => View::Hole,
            Mapping::Cached(Cached::Unwritten(at)) => View::Unwritten {
                at: *at,
                promised: false,
                appended: false,
            },
            Mapping::Cached(Cached::Written(at)) => View::Written { at: *at },
            Mapping::Owned(Owned::Delayed(_)) => View::Delayed,
            Mapping::Owned(Owned::Promised(p)) => View::Unwritten {
                at: p.at,
                promised: true,
                appended: p.appended,
            },
            Mapping::Owned(Owned::InFlight(f)) => View::InFlight {
                at: f.at,
                prior: f.prior,
                buffered: f.io.is_buffered(),
            },
        }
    }
}

/// Blocks of a file that are in the index only, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Written data without blocks.
    pub delayed: u64,
    /// On their way to blocks the file does not have yet.
    pub in_flight: u64,
    /// On their way to unwritten extents.
    pub converting: u64,
    /// Unwritten extents that will be converted, without those that are `appended`.
    pub promised: u64,
    /// Unwritten extents that will be converted and have data that was appended to the file.
    pub appended: u64,
}

/// The extent index of one file. See the module's text.
pub struct ExtentIndex {
    map: Map<Entry>,
    counts: Counts,
    /// Space for the metadata blocks that completions can need (rules M22).
    pub(crate) meta: Option<Reservation>,
    /// Blocks kept for data that the file may get at its end.
    pub(crate) window: Option<Window>,
    /// Where reclaim goes on: a block of the file.
    hand: u64,
    /// Highest end, in bytes, of data that has reached the disk.
    pub(crate) done_end: u64,
    /// The last block of the size on disk, if that ends inside of it, has been written since that
    /// size was set: what is behind the end is zeros there, not what a truncation has cut off.
    pub(crate) tail_fresh: bool,
    /// Blocks that were appended to and of which the disk may have only a part.
    pub(super) short: ShortBlocks,
    /// No block below it is unsettled and was behind the end of the file when it was written:
    /// what is unsettled there fills holes that a crash may show as well.
    pub(crate) append_low: FileBlock,
}

/// Memory for an index, allocated before the ILOCK is taken.
pub struct IndexStock(NodeStock<Entry>);

impl IndexStock {
    /// Nothing: the index has room.
    pub(crate) const fn none() -> Self {
        Self(NodeStock::none())
    }

    /// Memory for an index that has `chunks` chunks by now. ENOMEM. May sleep.
    pub(crate) fn try_new(chunks: u32) -> SysResult<Self> {
        NodeStock::try_new(chunks as usize).map(Self)
    }

    /// As [`Self::try_new`], without failing. May sleep.
    pub(crate) fn must_new(chunks: u32) -> Self {
        Self(NodeStock::must_new(chunks as usize))
    }
}

impl Default for ExtentIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl ExtentIndex {
    /// An index that knows nothing.
    pub const fn new() -> Self {
        Self {
            map: Map::new(),
            counts: Counts {
                delayed: 0,
                in_flight: 0,
                converting: 0,
                promised: 0,
                appended: 0,
            },
            meta: None,
            window: None,
            hand: 0,
            done_end: 0,
            tail_fresh: false,
            short: ShortBlocks::new(),
            append_low: FileBlock(u64::MAX),
        }
    }

    /// What is in the index only.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Entries there are. For statistics.
    pub fn len(&self) -> u32 {
        self.map.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Nodes and chunks: what decides whether the next change needs an [`IndexStock`].
    pub(crate) fn room(&self) -> (u32, u32) {
        (self.map.spare(), self.map.chunks() as u32)
    }

    /// Takes prepared memory over; what is not needed comes back, to be dropped without the lock.
    pub(crate) fn add(&mut self, stock: IndexStock) -> IndexStock {
        IndexStock(self.map.add(stock.0))
    }

    /// Makes sure that `n` entries can be added. ENOMEM. May sleep.
    pub(crate) fn try_reserve(&mut self, n: u32) -> SysResult<()> {
        self.map.try_reserve(n)
    }

    /// Makes sure that `n` entries can be added. May sleep.
    pub(crate) fn must_reserve(&mut self, n: u32) {
        self.map.must_reserve(n);
    }

    /// The entry that covers `block`.
    fn find(&self, block: u64) -> Option<(Slot, u64, &Entry)> {
        let slot = self.map.find_le(block)?;
        let (key, entry) = self.map.get(slot)?;
        (block < key.saturating_add(entry.len)).then_some((slot, key, entry))
    }

    fn piece(key: u64, entry: &Entry) -> Piece {
        Piece {
            file: FileBlock(key),
            len: entry.len,
            view: entry.mapping.view(),
        }
    }

    /// The piece that covers `block`; `None` if it is not cached.
    pub fn lookup(&self, block: FileBlock) -> Option<Piece> {
        self.find(block.0).map(|(_, key, e)| Self::piece(key, e))
    }

    /// The first piece that ends behind `block`.
    pub(crate) fn first_from(&self, block: FileBlock) -> Option<Piece> {
        if let Some(piece) = self.lookup(block) {
            return Some(piece);
        }
        let slot = self.map.find_ge(block.0)?;
        self.map.get(slot).map(|(key, e)| Self::piece(key, e))
    }

    /// The last piece that begins before `block`.
    pub(crate) fn last_before(&self, block: FileBlock) -> Option<Piece> {
        let slot = self.map.find_le(block.0.checked_sub(1)?)?;
        self.map.get(slot).map(|(key, e)| Self::piece(key, e))
    }

    /// The range around `block`, which is not cached, that is not cached.
    pub(crate) fn gap(&self, block: FileBlock) -> Range<FileBlock> {
        let start = self.last_before(block).map_or(FileBlock(0), |p| p.end());
        let end = self
            .map
            .find_ge(block.0)
            .and_then(|s| self.map.get(s))
            .map_or(MAX_FILE_BLOCKS, |(key, _)| key);
        start..FileBlock(end)
    }

    /// All pieces, in order. For reports and tests; O(n).
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let mut at = self.map.first();
        core::iter::from_fn(move || {
            let slot = at?;
            at = self.map.next(slot);
            self.map.get(slot).map(|(key, e)| Self::piece(key, e))
        })
    }

    /// The first block from `from` on whose data the disk does not have although the page cache
    /// did: delayed, appended above an unwritten extent, or in flight from the page cache. A direct
    /// write in flight holds nothing back.
    pub(crate) fn first_unsettled(&self, from: FileBlock) -> Option<FileBlock> {
        let Counts {
            delayed,
            in_flight,
            converting,
            appended,
            promised: _,
        } = self.counts;
        if delayed == 0 && in_flight == 0 && converting == 0 && appended == 0 {
            return None;
        }
        let mut at = self
            .find(from.0)
            .map(|(slot, _, _)| slot)
            .or_else(|| self.map.find_ge(from.0));
        while let Some(slot) = at {
            let (key, entry) = self.map.get(slot)?;
            match &entry.mapping {
                Mapping::Owned(Owned::Delayed(_)) => return Some(FileBlock(key).max(from)),
                Mapping::Owned(Owned::Promised(p)) if p.appended => {
                    return Some(FileBlock(key).max(from));
                }
                Mapping::Owned(Owned::InFlight(f)) if f.io.is_buffered() => {
                    return Some(FileBlock(key).max(from));
                }
                _ => at = self.map.next(slot),
            }
        }
        None
    }
}
