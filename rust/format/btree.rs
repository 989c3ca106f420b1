// SPDX-License-Identifier: GPL-2.0

//! Nodes of the one B+tree of the format: extents, directories, extended attributes.
//!
//! All trees are keyed by a u64. An interior node is a packed, sorted list of (key, child); the key
//! is a lower bound of everything below the child, which is below the key of the next one. The first
//! key of a node is the one its parent has for it; 0 on the left edge of the tree.
//!
//! A leaf of fixed records is a packed, sorted list, too. A leaf of variable records is slotted: an
//! array of u16 offsets, sorted by key, grows up from byte 64, the records grow down from the end of
//! the block. Deleting leaves gaps among the records; `heap_free` counts their bytes, and compaction
//! rewrites the block when the gap in the middle is too small.

use core::mem::{offset_of, size_of};

use zerocopy::{
    little_endian::{U16, U64},
    FromBytes as _,
    IntoBytes as _, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    defect::{ensure, Defect, DefectKind},
    dirent::Dirent,
    extent::{verify_extents, ExtentRecord, EXTENT_SIZE},
    geometry::Geometry,
    header::{check_header, BlockHeader, BlockKind, Context, Owner, BODY_OFFSET},
    limits::{MAX_TREE_DEPTH, NODE_ENTRIES, TREE_BODY},
    units::{Block, DiskBlock, BLOCK_SIZE},
    xattr::Attr,
};

/// What a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TreeKind {
    /// Extent records, keyed by file block; leaves are packed.
    Extents = 1,
    /// Directory entries, keyed by hash and disambiguator; leaves are slotted.
    Dirents = 2,
    /// Extended attributes, keyed likewise; leaves are slotted.
    Attrs = 3,
}

impl TreeKind {
    /// The kind with this number.
    pub const fn from_disk(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(TreeKind::Extents),
            2 => Some(TreeKind::Dirents),
            3 => Some(TreeKind::Attrs),
            _ => None,
        }
    }

    /// Whether leaves are slotted (records of variable length) rather than packed.
    pub const fn is_slotted(self) -> bool {
        matches!(self, TreeKind::Dirents | TreeKind::Attrs)
    }
}

/// Bytes of a tree root in a literal area: the block number.
pub const ROOT_SIZE: usize = 8;

/// Offset of [`TreeBlock::level`]; code that edits a node byte by byte (so as to log little) uses
/// this and the next five.
pub const LEVEL: usize = 40;
/// Offset of [`TreeBlock::kind`].
pub const KIND: usize = 41;
/// Offset of [`TreeBlock::count`].
pub const COUNT: usize = 42;
/// Offset of [`TreeBlock::heap_start`].
pub const HEAP_START: usize = 44;
/// Offset of [`TreeBlock::heap_free`].
pub const HEAP_FREE: usize = 46;
/// Offset of [`TreeBlock::last_insert`].
pub const LAST_INSERT: usize = 48;

/// Where a tree begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRoot {
    /// The root node.
    pub block: DiskBlock,
    /// Levels, 1 if the root is a leaf; 0 means that there is no tree.
    pub depth: u8,
}

impl TreeRoot {
    /// The root in the used bytes of a literal area; [`None`] unless there are exactly eight.
    pub fn parse(bytes: &[u8], depth: u8) -> Option<Self> {
        let block = U64::read_from_bytes(bytes).ok()?;
        Some(Self {
            block: DiskBlock(block.get()),
            depth,
        })
    }

    /// Checks the address and the depth. A tree without nodes has depth 0 and block 0.
    pub fn verify(&self, geometry: &Geometry) -> Result<(), Defect> {
        ensure(
            self.depth <= MAX_TREE_DEPTH,
            "root.depth",
            DefectKind::Range,
        )?;
        if self.depth == 0 {
            return ensure(self.block.0 == 0, "root.block", DefectKind::Mismatch);
        }
        geometry.check_block(self.block, "root.block")
    }

    /// The bytes for a literal area.
    pub fn to_bytes(self) -> [u8; ROOT_SIZE] {
        self.block.0.to_le_bytes()
    }
}

/// Entry of an interior node.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct NodeEntry {
    /// Lower bound of the keys below `child`.
    pub key: U64,
    /// Block of the child.
    pub child: U64,
}

/// A node.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TreeBlock {
    /// Common header; owner is the inode or the hidden file.
    pub header: BlockHeader,
    /// 0 in a leaf; one less than that of the parent.
    pub level: u8,
    /// [`TreeKind`].
    pub kind: u8,
    /// Entries, records or slots.
    pub count: U16,
    /// Slotted leaf: offset in the block of the lowest record; else 0.
    pub heap_start: U16,
    /// Slotted leaf: bytes behind `heap_start` that no record uses; else 0.
    pub heap_free: U16,
    /// A hint, any value is legal: one more than the index of the record inserted last. Two
    /// insertions in a row side by side are a sequence, and where a node is split follows it.
    pub last_insert: U16,
    /// Zero.
    pub spare: [u8; 14],
    /// Entries, records, or slots and records.
    pub body: [u8; TREE_BODY],
}

const _: () = assert!(size_of::<NodeEntry>() == 16);
const _: () = assert!(size_of::<TreeBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(TreeBlock, level) == LEVEL);
const _: () = assert!(offset_of!(TreeBlock, kind) == KIND);
const _: () = assert!(offset_of!(TreeBlock, count) == COUNT);
const _: () = assert!(offset_of!(TreeBlock, heap_start) == HEAP_START);
const _: () = assert!(offset_of!(TreeBlock, heap_free) == HEAP_FREE);
const _: () = assert!(offset_of!(TreeBlock, last_insert) == LAST_INSERT);
const _: () = assert!(offset_of!(TreeBlock, body) == BODY_OFFSET);

impl TreeBlock {
    /// A block seen as tree node. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as tree node, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Makes the block an empty node.
    pub fn format(
        block: &mut Block,
        context: &Context,
        at: DiskBlock,
        owner: Owner,
        kind: TreeKind,
        level: u8,
    ) {
        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(BlockKind::Tree, context.instance, at, owner);
        this.level = level;
        this.kind = kind as u8;
        if level == 0 && kind.is_slotted() {
            this.heap_start = U16::new(BLOCK_SIZE as u16);
        }
    }

    /// Number of entries, records or slots, as the block says.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.count.get())
    }

    /// The entries of an interior node; none if the count does not fit.
    pub fn entries(&self) -> &[NodeEntry] {
        let (entries, _) = as_entries(&self.body);
        entries.get(..self.count()).unwrap_or(&[])
    }

    /// The records of an extent leaf; none if the count does not fit.
    pub fn extents(&self) -> &[ExtentRecord] {
        let bytes = self.count().saturating_mul(EXTENT_SIZE);
        self.body
            .get(..bytes)
            .and_then(ExtentRecord::slice)
            .unwrap_or(&[])
    }

    /// Offset in the block of the record of slot `n`.
    pub fn slot(&self, n: usize) -> Option<usize> {
        if n >= self.count() {
            return None;
        }
        let (slots, _) = self.body.as_chunks::<2>();
        slots
            .get(n)
            .map(|slot| usize::from(u16::from_le_bytes(*slot)))
    }

    /// The bytes of the block from `offset` on; none if that is not in the body.
    pub fn bytes_at(&self, offset: usize) -> &[u8] {
        offset
            .checked_sub(BODY_OFFSET)
            .and_then(|offset| self.body.get(offset..))
            .unwrap_or(&[])
    }

    /// The directory entry of slot `n`; [`None`] if there is no such slot or no record in it.
    pub fn dirent(&self, n: usize) -> Option<Dirent<'_>> {
        Dirent::parse(self.bytes_at(self.slot(n)?)).map(|(entry, _)| entry)
    }

    /// The attribute of slot `n`; [`None`] if there is no such slot or no record in it.
    pub fn attr(&self, n: usize) -> Option<Attr<'_>> {
        Attr::parse(self.bytes_at(self.slot(n)?)).map(|(attr, _)| attr)
    }

    /// Checks a block that was read from `at` as node of a tree.
    ///
    /// `owner` is whose tree it should be; [`None`] accepts any. Whether kind and level are those
    /// that the parent promises is for the caller.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        owner: Option<Owner>,
    ) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        check_header(block, BlockKind::Tree, context, at, owner)?;
        let this = Self::of(block);
        let kind = TreeKind::from_disk(this.kind).ok_or(Defect::new("kind", Range))?;

        ensure(this.level < MAX_TREE_DEPTH, "level", Range)?;
        ensure(this.count() > 0, "count", Range)?;
        if this.level == 0 && kind.is_slotted() {
            return this.verify_slotted(kind, context);
        }

        ensure(this.count() <= NODE_ENTRIES, "count", Range)?;
        ensure(this.heap_start.get() == 0, "heap_start", Mismatch)?;
        ensure(this.heap_free.get() == 0, "heap_free", Mismatch)?;
        if this.level == 0 {
            return verify_extents(this.extents(), &context.geometry);
        }

        let mut last = None;
        for entry in this.entries() {
            let key = entry.key.get();
            ensure(
                last.is_none_or(|last| key > last),
                "entry.key",
                DefectKind::Order,
            )?;
            context
                .geometry
                .check_block(DiskBlock(entry.child.get()), "entry.child")?;
            last = Some(key);
        }
        Ok(())
    }

    /// Checks slots and heap of a slotted leaf, and each record by itself.
    fn verify_slotted(&self, kind: TreeKind, context: &Context) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Order, Range};

        let heap = usize::from(self.heap_start.get());
        let slots_end = self.count().saturating_mul(2).saturating_add(BODY_OFFSET);

        ensure(heap <= BLOCK_SIZE, "heap_start", Range)?;
        ensure(slots_end <= heap, "count", Range)?;
        let mut used = usize::from(self.heap_free.get());
        let mut last = None;
        for n in 0..self.count() {
            let at = self.slot(n).unwrap_or(0);
            ensure(at >= heap && at < BLOCK_SIZE, "slot", Range)?;
            let (key, len) = match kind {
                TreeKind::Dirents => Dirent::verify(self.bytes_at(at), &context.geometry)?,
                TreeKind::Attrs => {
                    let attr = Attr::verify(self.bytes_at(at), &context.geometry)?;
                    (attr.key, attr.record_len())
                }
                TreeKind::Extents => return Err(Defect::new("kind", Mismatch)),
            };
            ensure(last.is_none_or(|last| key > last), "record.key", Order)?;
            last = Some(key);
            used = used.saturating_add(len);
        }
        // Overlapping records, or garbage that nothing accounts for, do not add up.
        ensure(
            used == BLOCK_SIZE.saturating_sub(heap),
            "heap_free",
            Mismatch,
        )
    }
}

/// The body of an interior node as entries; the rest is empty.
fn as_entries(body: &[u8; TREE_BODY]) -> (&[NodeEntry], &[u8]) {
    <[NodeEntry]>::ref_from_prefix_with_elems(body.as_bytes(), NODE_ENTRIES).unwrap_or((&[], &[]))
}
