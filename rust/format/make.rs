// SPDX-License-Identifier: GPL-2.0

//! The blocks of a new file system.
//!
//! [`make`] hands them to its caller one by one; where they go is the caller's business (mkfs
//! writes them to a device, tests to memory). A new file system is: a header in each allocation
//! group; in group 0 one chunk of inodes with the root directory, one inode map block, and the
//! bitmap blocks up to those two; an empty log; the superblock and its copies. Nothing else is
//! written, so the time it takes depends on the number of groups only.

use zerocopy::{
    little_endian::{I64, U16, U32, U64},
    IntoBytes as _, //
};

use super::{
    ag::AgHeader,
    bitmap::BitmapBlock,
    dirent::FileType,
    extent::{Extent, EXTENT_SIZE},
    geometry::Geometry,
    header::{reseal, Context},
    imap::MapBlock,
    inode::{ForkFormat, InodeSlot},
    limits::{BITMAP_BITS, FORMAT_REV, VERSION},
    log::{first_lsn, LogHeader},
    superblock::{Superblock, MAGIC, STATE_CLEAN},
    units::{
        AgBlock, AgNumber, AgRange, Block, BlockRange, DiskBlock, FileBlock, Ino, Lsn, BLOCK_LOG,
        CHUNK_BLOCKS, CHUNK_INODES, INODES_PER_BLOCK, INODE_LOG,
    },
};

/// What mkfs chooses besides the geometry.
#[derive(Clone, Copy, Debug)]
pub struct MakeParams<'a> {
    /// Name for users.
    pub uuid: [u8; 16],
    /// Random and not 0.
    pub instance: u64,
    /// Random.
    pub hash_seed: u64,
    /// At most 64 bytes; more are cut off.
    pub label: &'a [u8],
    /// Creation time: seconds and nanoseconds.
    pub now: (i64, u32),
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
    /// Permissions of the root directory.
    pub root_mode: u16,
    /// Random.
    pub root_generation: u32,
}

/// Number of the root directory of a new file system.
pub const ROOT_INO: Ino = Ino(1);

/// Where the first inodes of group 0 are.
struct FirstInodes {
    chunk: AgBlock,
    map: AgBlock,
}

impl FirstInodes {
    /// First fit behind the static metadata: the chunk, then the map block.
    fn find(geometry: &Geometry) -> Option<Self> {
        let ag = AgNumber(0);
        let mut chunk = geometry.head_end(ag);
        for fixed in geometry.static_ranges(ag) {
            if fixed.overlaps(AgRange::new(chunk, CHUNK_BLOCKS.saturating_add(1))) {
                chunk = fixed.end();
            }
        }
        let room = BITMAP_BITS.saturating_sub(Geometry::bitmap_position(chunk).1);
        if room < CHUNK_BLOCKS.saturating_add(1) {
            chunk = chunk.checked_add(room)?;
        }
        Some(Self {
            chunk,
            map: chunk.checked_add(CHUNK_BLOCKS)?,
        })
    }
}

/// Makes a file system: calls `emit` for every block of it, the superblock in block 0 last, with
/// `block` as its buffer. Returns the superblock, or [`None`] if `geometry` has no room for the
/// root directory. The error is that of `emit`.
pub fn make<E>(
    geometry: &Geometry,
    params: &MakeParams<'_>,
    block: &mut Block,
    emit: &mut dyn FnMut(DiskBlock, &Block) -> Result<(), E>,
) -> Result<Option<Superblock>, E> {
    let context = Context::new(params.instance, *geometry);
    let Some(first) = FirstInodes::find(geometry) else {
        return Ok(None);
    };
    if emit_inodes(&context, params, &first, block, emit)?.is_none() {
        return Ok(None);
    }

    for ag in geometry.ags() {
        if AgHeader::format(block, &context, ag).is_none() {
            return Ok(None);
        }
        if ag.0 == 0 && fill_first_header(&context, &first, AgHeader::of_mut(block)).is_none() {
            return Ok(None);
        }
        reseal(block, &context);
        if let Some(at) = geometry.header_block(ag) {
            emit(at, block)?;
        }
    }

    LogHeader::format(block, &context);
    reseal(block, &context);
    emit(geometry.log().start, block)?;

    let mut sb = superblock(geometry, params);
    for ag in geometry.ags().skip(1) {
        if let Some(at) = geometry.superblock_copy(ag) {
            sb.seal(at);
            sb.store(block);
            emit(at, block)?;
        }
    }
    sb.seal(DiskBlock(0));
    sb.store(block);
    emit(DiskBlock(0), block)?;
    Ok(Some(sb))
}

/// The superblock of a new file system, unsealed.
fn superblock(geometry: &Geometry, params: &MakeParams<'_>) -> Superblock {
    let mut sb = Superblock::zeroed();
    let used = u64::from(CHUNK_BLOCKS).saturating_add(1);

    sb.magic = MAGIC;
    sb.version = U16::new(VERSION);
    sb.format_rev = U16::new(FORMAT_REV);
    sb.uuid = params.uuid;
    sb.instance = U64::new(params.instance);
    sb.hash_seed = U64::new(params.hash_seed);
    sb.set_geometry(geometry);
    sb.root_ino = U64::new(ROOT_INO.0);
    sb.block_log = BLOCK_LOG as u8;
    sb.inode_log = INODE_LOG as u8;
    sb.state = U16::new(STATE_CLEAN);
    sb.free_blocks = U64::new(geometry.total_dynamic_blocks().saturating_sub(used));
    sb.inodes = U64::new(u64::from(CHUNK_INODES));
    sb.free_inodes = U64::new(u64::from(CHUNK_INODES.saturating_sub(2)));
    for (to, from) in sb.label.iter_mut().zip(params.label) {
        *to = *from;
    }
    sb.created = I64::new(params.now.0);
    sb.written = I64::new(params.now.0);
    sb.checked = I64::new(params.now.0);
    sb.lsn = U64::new(first_lsn(geometry.log().len).0);
    sb
}

/// Puts the first chunk and the first map block into the header of group 0.
fn fill_first_header(context: &Context, first: &FirstInodes, header: &mut AgHeader) -> Option<()> {
    let root = |at: AgBlock, len: u32| -> Option<[u8; EXTENT_SIZE]> {
        let extent = Extent {
            file: FileBlock(0),
            disk: context.geometry.disk_block(AgNumber(0), at)?,
            len,
            unwritten: false,
        };
        extent.pack()?.as_bytes().try_into().ok()
    };
    let (last, _) = Geometry::bitmap_position(first.map);

    header.bitmap_init = U32::new(last.checked_add(1)?);
    header.map_blocks = U32::new(1);
    header.inodes = U32::new(CHUNK_INODES);
    header.free_inodes = U32::new(CHUNK_INODES.saturating_sub(2));
    let file = root(first.chunk, CHUNK_BLOCKS)?;
    let map = root(first.map, 1)?;
    (header.inode_file.set(ForkFormat::InlineExtents, 0, &file)
        && header.inode_map.set(ForkFormat::InlineExtents, 0, &map))
    .then_some(())
}

/// Emits the inode blocks, the map block and the bitmap blocks of group 0.
fn emit_inodes<E>(
    context: &Context,
    params: &MakeParams<'_>,
    first: &FirstInodes,
    block: &mut Block,
    emit: &mut dyn FnMut(DiskBlock, &Block) -> Result<(), E>,
) -> Result<Option<()>, E> {
    let ag = AgNumber(0);
    let geometry = &context.geometry;
    let chunk = AgRange::new(first.chunk, CHUNK_BLOCKS);
    let (Some(chunk), Some(map)) = (
        geometry.disk_range(ag, chunk),
        geometry.disk_block(ag, first.map),
    ) else {
        return Ok(None);
    };

    emit_chunk(context, params, chunk, block, emit)?;

    MapBlock::format(block, context, map, ag, 0);
    let this = MapBlock::of_mut(block);
    this.set_chunk(0, true);
    if let Some(masks) = this.chunk_mut(0) {
        // Index 0 does not exist; its bit keeps anyone from allocating it.
        masks.alloc = U64::new(0b11);
    }
    this.present = U16::new(1);
    this.free = U16::new((CHUNK_INODES as u16).saturating_sub(2));
    reseal(block, context);
    emit(map, block)?;

    let (last, _) = Geometry::bitmap_position(first.map);
    for index in 0..=last {
        let Some(at) = geometry.bitmap_block(ag, index) else {
            return Ok(None);
        };
        if BitmapBlock::format(block, context, ag, index).is_none() {
            return Ok(None);
        }
        if index == last {
            let (_, bit) = Geometry::bitmap_position(first.chunk);
            let this = BitmapBlock::of_mut(block);
            this.set_range(bit, CHUNK_BLOCKS.saturating_add(1), true);
            this.free = U32::new(this.count_free());
        }
        reseal(block, context);
        emit(at, block)?;
    }
    Ok(Some(()))
}

/// Emits the eight blocks of the first chunk: 63 free slots and the root directory.
fn emit_chunk<E>(
    context: &Context,
    params: &MakeParams<'_>,
    chunk: BlockRange,
    block: &mut Block,
    emit: &mut dyn FnMut(DiskBlock, &Block) -> Result<(), E>,
) -> Result<(), E> {
    for n in 0..CHUNK_BLOCKS {
        *block = [0; super::units::BLOCK_SIZE];
        for k in 0..INODES_PER_BLOCK {
            let index = n.saturating_mul(INODES_PER_BLOCK).saturating_add(k);
            let ino = Ino::new(AgNumber(0), index);
            let mut slot = InodeSlot::new(context, ino, 0);
            if ino == ROOT_INO {
                fill_root(params, &mut slot);
            }
            slot.seal(context, Lsn(0));
            if let Some(to) = InodeSlot::of_mut(block, ino) {
                *to = slot;
            }
        }
        emit(chunk.start.saturating_add(u64::from(n)), block)?;
    }
    Ok(())
}

/// Makes the slot the root directory.
fn fill_root(params: &MakeParams<'_>, slot: &mut InodeSlot) {
    let (secs, nanos) = (I64::new(params.now.0), U32::new(params.now.1));

    slot.generation = U32::new(params.root_generation);
    slot.mode = U16::new(FileType::Directory.mode() | (params.root_mode & 0o7777));
    slot.uid = U32::new(params.uid);
    slot.gid = U32::new(params.gid);
    slot.nlink = U32::new(2);
    (slot.atime, slot.mtime, slot.ctime, slot.btime) = (secs, secs, secs, secs);
    (slot.atime_ns, slot.mtime_ns) = (nanos, nanos);
    (slot.ctime_ns, slot.btime_ns) = (nanos, nanos);
    slot.version = U64::new(1);
    slot.parent = U64::new(ROOT_INO.0);
    slot.set_data(ForkFormat::InlineDir, 0, &[]);
}
