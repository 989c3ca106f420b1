// SPDX-License-Identifier: GPL-2.0

//! The header of an allocation group.
//!
//! It has the roots of the group's two hidden files and the counts of its inodes. The number of
//! free blocks is not here but in each bitmap block, so that allocating a block does not change
//! the header.

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    btree::TreeRoot,
    defect::{ensure, Defect, DefectKind},
    extent::{verify_extents, ExtentRecord, EXTENT_SIZE},
    geometry::Geometry,
    header::{check_header, BlockHeader, BlockKind, Context, Owner},
    inode::ForkFormat,
    limits::{FILE_ROOT_AREA, MAP_CHUNKS},
    units::{AgBlock, AgNumber, Block, DiskBlock, BLOCK_SIZE, CHUNK_INODES},
};

/// Root of a hidden file: what data format, depth, length and literal area are in an inode.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileRoot {
    /// [`ForkFormat::InlineExtents`] or [`ForkFormat::ExtentTree`]; 0 in a spare root.
    pub format: u8,
    /// Levels of the tree, 0 for inline extents.
    pub depth: u8,
    /// Bytes of `area` in use.
    pub len: U16,
    /// Zero.
    pub spare: [u8; 4],
    /// Up to ten extents, or a [`TreeRoot`].
    pub area: [u8; FILE_ROOT_AREA],
}

const _: () = assert!(size_of::<FileRoot>() == 168);

impl Default for FileRoot {
    fn default() -> Self {
        Self {
            format: 0,
            depth: 0,
            len: U16::new(0),
            spare: [0; 4],
            area: [0; FILE_ROOT_AREA],
        }
    }
}

impl FileRoot {
    /// The bytes of the area in use, at most all of them.
    pub fn used(&self) -> &[u8] {
        let len = usize::from(self.len.get()).min(FILE_ROOT_AREA);
        self.area.get(..len).unwrap_or(&[])
    }

    /// The inline extents; none if the file has a tree.
    pub fn extents(&self) -> &[ExtentRecord] {
        if self.format != ForkFormat::InlineExtents as u8 {
            return &[];
        }
        ExtentRecord::slice(self.used()).unwrap_or(&[])
    }

    /// The root of the extent tree, if the file has one.
    pub fn tree(&self) -> Option<TreeRoot> {
        if self.format != ForkFormat::ExtentTree as u8 {
            return None;
        }
        TreeRoot::parse(self.used(), self.depth)
    }

    /// Replaces the content by `bytes` of `format`; false, and nothing done, if they do not fit.
    pub fn set(&mut self, format: ForkFormat, depth: u8, bytes: &[u8]) -> bool {
        let (Ok(len), true) = (u16::try_from(bytes.len()), bytes.len() <= FILE_ROOT_AREA) else {
            return false;
        };
        self.format = format as u8;
        self.depth = depth;
        self.len = U16::new(len);
        let (used, rest) = self.area.split_at_mut(bytes.len());
        used.copy_from_slice(bytes);
        rest.fill(0);
        true
    }

    /// Checks a root: format, lengths, extents or tree address.
    pub fn verify(&self, geometry: &Geometry) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        let len = usize::from(self.len.get());
        ensure(len <= FILE_ROOT_AREA, "root.len", Range)?;

        match ForkFormat::from_disk(self.format) {
            Some(ForkFormat::InlineExtents) => {
                ensure(self.depth == 0, "root.depth", Mismatch)?;
                ensure(len.is_multiple_of(EXTENT_SIZE), "root.len", Mismatch)?;
                verify_extents(self.extents(), geometry)
            }
            Some(ForkFormat::ExtentTree) => {
                let root = self.tree().ok_or(Defect::new("root.len", Mismatch))?;
                root.verify(geometry)
            }
            _ => Err(Defect::new("root.format", Range)),
        }
    }
}

/// The header block of an allocation group.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AgHeader {
    /// Common header; owner is [`Owner::ag`].
    pub header: BlockHeader,
    /// Number of the group.
    pub ag: U32,
    /// Blocks of the group.
    pub length: U32,
    /// First bitmap block, relative to the group.
    pub bitmap_start: U32,
    /// Bitmap blocks.
    pub bitmap_count: U32,
    /// Blocks of the inode map; the map has no holes.
    pub map_blocks: U32,
    /// Inode slots in chunks that exist.
    pub inodes: U32,
    /// Free slots among them.
    pub free_inodes: U32,
    /// Inodes marked orphan.
    pub orphans: U32,
    /// Zero.
    pub spare: [u8; 56],
    /// The inode file.
    pub inode_file: FileRoot,
    /// The inode map.
    pub inode_map: FileRoot,
    /// Zero: for trees of later versions (reverse map, reference counts, quota).
    pub spare_roots: [FileRoot; 4],
    /// Zero: for later features.
    pub features: [u8; 512],
    /// Zero.
    pub spare_tail: [u8; 2320],
    /// Bitmap blocks that have been written; the others are not on disk and read as "all free but
    /// the static metadata". In a 128-byte chunk of its own, the unit of logging: the allocator
    /// changes it while others change the inode counts.
    pub bitmap_init: U32,
    /// Zero.
    pub tail: [u8; 124],
}

const _: () = assert!(size_of::<AgHeader>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(AgHeader, ag) == 40);
const _: () = assert!(offset_of!(AgHeader, inode_file) == 128);
const _: () = assert!(offset_of!(AgHeader, inode_map) == 296);
const _: () = assert!(offset_of!(AgHeader, spare_roots) == 464);
const _: () = assert!(offset_of!(AgHeader, features) == 1136);
const _: () = assert!(offset_of!(AgHeader, bitmap_init) == 3968);

impl AgHeader {
    /// A block seen as AG header. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as AG header, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// The header of an empty group: no inodes, no bitmap block written. [`None`] if there is no
    /// such group.
    pub fn format(block: &mut Block, context: &Context, ag: AgNumber) -> Option<()> {
        let geometry = &context.geometry;
        let at = geometry.header_block(ag)?;

        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(BlockKind::AgHeader, context.instance, at, Owner::ag(ag));
        this.ag = U32::new(ag.0);
        this.length = U32::new(geometry.ag_len(ag));
        this.bitmap_start = U32::new(geometry.bitmap_start(ag).0);
        this.bitmap_count = U32::new(geometry.bitmap_count(ag));
        this.inode_file.format = ForkFormat::InlineExtents as u8;
        this.inode_map.format = ForkFormat::InlineExtents as u8;
        Some(())
    }

    /// First bitmap block.
    pub fn bitmap_start(&self) -> AgBlock {
        AgBlock(self.bitmap_start.get())
    }

    /// Checks a block that was read from `at` as the header of group `ag`.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        ag: AgNumber,
    ) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Misplaced, Range};

        check_header(block, BlockKind::AgHeader, context, at, Some(Owner::ag(ag)))?;
        let this = Self::of(block);
        let geometry = &context.geometry;

        ensure(geometry.header_block(ag) == Some(at), "block", Misplaced)?;
        ensure(this.ag.get() == ag.0, "ag", Mismatch)?;
        ensure(this.length.get() == geometry.ag_len(ag), "length", Mismatch)?;
        ensure(
            this.bitmap_start() == geometry.bitmap_start(ag),
            "bitmap_start",
            Mismatch,
        )?;
        ensure(
            this.bitmap_count.get() == geometry.bitmap_count(ag),
            "bitmap_count",
            Mismatch,
        )?;
        ensure(
            this.bitmap_init.get() <= this.bitmap_count.get(),
            "bitmap_init",
            Range,
        )?;
        this.verify_inodes(geometry, ag)?;
        this.inode_file.verify(geometry)?;
        this.inode_map.verify(geometry)
    }

    fn verify_inodes(&self, geometry: &Geometry, ag: AgNumber) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        let inodes = self.inodes.get();
        let chunks = inodes / CHUNK_INODES;
        let used = inodes.checked_sub(self.free_inodes.get());

        ensure(chunks <= geometry.max_chunks(ag), "inodes", Range)?;
        ensure(inodes.is_multiple_of(CHUNK_INODES), "inodes", Mismatch)?;
        ensure(used.is_some(), "free_inodes", Mismatch)?;
        ensure(
            used.is_some_and(|used| self.orphans.get() <= used),
            "orphans",
            Mismatch,
        )?;
        let most = geometry.max_chunks(ag).div_ceil(MAP_CHUNKS);
        ensure(self.map_blocks.get() <= most, "map_blocks", Range)?;
        ensure(
            chunks.div_ceil(MAP_CHUNKS) <= self.map_blocks.get(),
            "map_blocks",
            Mismatch,
        )
    }
}
