// SPDX-License-Identifier: GPL-2.0

//! Log records.
//!
//! A record is a head, a body of fixed size that depends on its kind, and for two kinds bytes that
//! belong to it. Its length is a multiple of 8. What a record may say about which block is decided
//! here, so that replay never writes where no such block can be.

use core::mem::{offset_of, size_of};

use zerocopy::{
    little_endian::{I64, U16, U32, U64},
    FromBytes as _, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use crate::format::{
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    header::{BlockKind, Context, Owner},
    inode::LITERAL_OFFSET,
    limits::LITERAL_SIZE,
    log::{first_lsn, is_start},
    units::{
        AgNumber, BlockRange, DiskBlock, Ino, Lsn, BLOCK_SIZE, CHUNK_BLOCKS, CHUNK_INODES,
        INODES_PER_BLOCK,
    },
};

/// Bytes of a chunk: the unit in which changes of a block are logged.
pub const LOG_CHUNK: usize = 128;
/// [`InodeBody::fields`]: the core follows.
pub const LOG_CORE: u16 = 1 << 0;
/// [`InodeBody::fields`]: the literal area follows.
pub const LOG_LITERAL: u16 = 1 << 1;
/// All bits of [`InodeBody::fields`] that have a meaning.
pub const LOG_FIELDS: u16 = LOG_CORE | LOG_LITERAL;
/// First byte of a slot that is in the core; those before it are its identity and its seal.
pub const CORE_OFFSET: usize = 32;
/// Bytes of the core: a slot up to its literal area.
pub const CORE_SIZE: usize = LITERAL_OFFSET - CORE_OFFSET;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RecordKind {
    /// Chunks of a metadata block.
    Buf = 1,
    /// Core, literal area, or both, of an inode.
    Inode = 2,
    /// Metadata blocks that were freed: what older records say about them is void.
    Cancel = 3,
    /// A new chunk of 64 free inode slots.
    InodeInit = 4,
    /// The end of a checkpoint.
    Commit = 5,
}

impl RecordKind {
    /// The kind with this number.
    pub const fn from_disk(kind: u16) -> Option<Self> {
        Some(match kind {
            1 => RecordKind::Buf,
            2 => RecordKind::Inode,
            3 => RecordKind::Cancel,
            4 => RecordKind::InodeInit,
            5 => RecordKind::Commit,
            _ => return None,
        })
    }

    /// Name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordKind::Buf => "block",
            RecordKind::Inode => "inode",
            RecordKind::Cancel => "cancel",
            RecordKind::InodeInit => "inode chunk",
            RecordKind::Commit => "commit",
        }
    }
}

/// The number of a block kind in a record; [`None`] for kinds that are not logged as buffers.
pub const fn block_kind_code(kind: BlockKind) -> Option<u16> {
    Some(match kind {
        BlockKind::AgHeader => 1,
        BlockKind::Bitmap => 2,
        BlockKind::InodeMap => 3,
        BlockKind::Tree => 4,
        BlockKind::Symlink => 5,
        BlockKind::AttrValue => 6,
        BlockKind::Log | BlockKind::Inodes => return None,
    })
}

/// The block kind with this number in a record.
pub const fn block_kind_from(code: u16) -> Option<BlockKind> {
    Some(match code {
        1 => BlockKind::AgHeader,
        2 => BlockKind::Bitmap,
        3 => BlockKind::InodeMap,
        4 => BlockKind::Tree,
        5 => BlockKind::Symlink,
        6 => BlockKind::AttrValue,
        _ => return None,
    })
}

/// What every record begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RecordHead {
    /// [`RecordKind`].
    pub kind: U16,
    /// Zero.
    pub flags: U16,
    /// Bytes of the record, this head included; a multiple of 8.
    pub len: U32,
    /// The block it is about, the first one if there are more; 0 in a commit record.
    pub block: U64,
}

/// Body of a [`RecordKind::Buf`]; the chunks of the mask follow, in ascending order.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BufBody {
    /// What the block is: 1 AG header, 2 bitmap, 3 inode map, 4 tree, 5 symlink.
    pub block_kind: U16,
    /// Zero.
    pub spare: U16,
    /// Bit n: chunk n, bytes 128 n to 128 n + 127, follows.
    pub chunks: U32,
    /// [`Owner`] of the block.
    pub owner: U64,
}

/// Body of a [`RecordKind::Inode`]; core and literal area follow, as far as `fields` says.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeBody {
    /// Number of the inode.
    pub ino: U64,
    /// Its generation.
    pub generation: U32,
    /// `LOG_CORE`, `LOG_LITERAL`.
    pub fields: U16,
    /// Bytes of the literal area that follow, a multiple of 8; the rest of it is zero.
    pub literal: U16,
}

/// Body of a [`RecordKind::Cancel`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CancelBody {
    /// Number of blocks.
    pub count: U32,
    /// Zero.
    pub spare: U32,
}

/// Body of a [`RecordKind::InodeInit`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeInitBody {
    /// Number of blocks: 8.
    pub count: U32,
    /// Allocation group of the inodes.
    pub ag: U32,
    /// Index in the group of the first inode, a multiple of 64.
    pub index: U32,
    /// Zero.
    pub spare: U32,
}

/// Body of a [`RecordKind::Commit`].
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
pub struct CommitBody {
    /// Number of the checkpoint in its epoch; the first is 1.
    pub seq: U64,
    /// Position of the oldest checkpoint that replay needs if this is the newest.
    pub tail: U64,
    /// Free blocks as of this checkpoint; likewise the next three.
    pub free_blocks: U64,
    /// Inode slots in chunks that exist.
    pub inodes: U64,
    /// Free inode slots in chunks that exist.
    pub free_inodes: U64,
    /// Inodes marked orphan.
    pub orphans: U64,
    /// When it was written, seconds since 1970.
    pub time: I64,
    /// Records of the checkpoint, this one included.
    pub records: U32,
    /// Zero.
    pub spare: U32,
}

/// Bytes of [`RecordHead`].
pub const RECORD_HEAD: usize = size_of::<RecordHead>();
/// Bytes of a commit record.
pub const COMMIT_RECORD: usize = RECORD_HEAD + size_of::<CommitBody>();
/// Bytes of a cancel record.
pub const CANCEL_RECORD: usize = RECORD_HEAD + size_of::<CancelBody>();
/// Bytes of a record of a new inode chunk.
pub const INODE_INIT_RECORD: usize = RECORD_HEAD + size_of::<InodeInitBody>();
/// Bytes of the longest record: a whole block.
pub const MAX_RECORD: usize = buf_record(u32::MAX);

const _: () = assert!(size_of::<RecordHead>() == 16);
const _: () = assert!(size_of::<BufBody>() == 16);
const _: () = assert!(size_of::<InodeBody>() == 16);
const _: () = assert!(size_of::<CancelBody>() == 8);
const _: () = assert!(size_of::<InodeInitBody>() == 16);
const _: () = assert!(size_of::<CommitBody>() == 64);
const _: () = assert!(offset_of!(CommitBody, time) == 48);
const _: () = assert!(CORE_SIZE == 160 && CORE_SIZE.is_multiple_of(8));
const _: () = assert!(LITERAL_SIZE.is_multiple_of(8));
const _: () = assert!(BLOCK_SIZE == 32 * LOG_CHUNK);
const _: () = assert!(inode_record(LITERAL_SIZE) <= MAX_RECORD);

/// Bytes of a record of the chunks of this mask.
pub const fn buf_record(chunks: u32) -> usize {
    RECORD_HEAD
        .saturating_add(size_of::<BufBody>())
        .saturating_add((chunks.count_ones() as usize).saturating_mul(LOG_CHUNK))
}

/// Bytes of a record of an inode's core and `literal` bytes of its literal area (a multiple of 8).
pub const fn inode_record(literal: usize) -> usize {
    RECORD_HEAD
        .saturating_add(size_of::<InodeBody>())
        .saturating_add(CORE_SIZE)
        .saturating_add(literal)
}

/// A record, taken apart and checked.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// See [`RecordKind::Buf`].
    Buf {
        /// The block.
        block: DiskBlock,
        /// What it is.
        kind: BlockKind,
        /// Whose it is.
        owner: Owner,
        /// Which chunks `data` has.
        chunks: u32,
        /// 128 bytes for each bit of `chunks`.
        data: &'a [u8],
    },
    /// See [`RecordKind::Inode`].
    Inode {
        /// The block of the inode file that holds the slot.
        block: DiskBlock,
        /// Number of the inode.
        ino: Ino,
        /// Its generation.
        generation: u32,
        /// Bytes 32 to 191 of the slot, if they were logged.
        core: Option<&'a [u8]>,
        /// The first bytes of the literal area, if it was logged; the rest of it is zero.
        literal: Option<&'a [u8]>,
    },
    /// See [`RecordKind::Cancel`].
    Cancel {
        /// The blocks.
        range: BlockRange,
    },
    /// See [`RecordKind::InodeInit`].
    InodeInit {
        /// The blocks.
        range: BlockRange,
        /// Number of the first inode.
        first: Ino,
    },
    /// See [`RecordKind::Commit`].
    Commit(&'a CommitBody),
}

/// Splits a body off the front of `bytes`.
fn body<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Defect>
where
    T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Defect::new("len", DefectKind::Mismatch))
}

impl RecordHead {
    /// The head at the start of `bytes`, with a length that a record can have; [`None`] if there
    /// are not enough bytes for a head.
    pub fn parse(bytes: &[u8]) -> Option<Result<(&Self, usize), Defect>> {
        use DefectKind::{Range, Unsupported};

        let (head, _) = Self::ref_from_prefix(bytes).ok()?;
        let len = head.len.get() as usize;
        let checked = ensure(
            RecordKind::from_disk(head.kind.get()).is_some(),
            "kind",
            Unsupported,
        )
        .and_then(|()| ensure(head.flags.get() == 0, "flags", Unsupported))
        .and_then(|()| ensure(len.is_multiple_of(8), "len", Range))
        .and_then(|()| ensure((RECORD_HEAD..=MAX_RECORD).contains(&len), "len", Range));
        Some(checked.map(|()| (head, len)))
    }
}

impl<'a> Record<'a> {
    /// Takes one whole record apart. Every field is checked; what is left to chance is content.
    pub fn parse(bytes: &'a [u8], context: &Context) -> Result<Self, Defect> {
        use DefectKind::{Mismatch, Unsupported};

        let (head, len) =
            RecordHead::parse(bytes).ok_or(Defect::new("len", DefectKind::Mismatch))??;
        ensure(len == bytes.len(), "len", Mismatch)?;
        let (_, rest) = body::<RecordHead>(bytes)?;
        let at = DiskBlock(head.block.get());
        let kind = RecordKind::from_disk(head.kind.get());
        match kind.ok_or(Defect::new("kind", Unsupported))? {
            RecordKind::Buf => Self::parse_buf(at, rest, &context.geometry),
            RecordKind::Inode => Self::parse_inode(at, rest, &context.geometry),
            RecordKind::Cancel => Self::parse_cancel(at, rest, &context.geometry),
            RecordKind::InodeInit => Self::parse_init(at, rest, &context.geometry),
            RecordKind::Commit => Self::parse_commit(at, rest, &context.geometry),
        }
    }

    /// What the record is.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Record::Buf { .. } => RecordKind::Buf,
            Record::Inode { .. } => RecordKind::Inode,
            Record::Cancel { .. } => RecordKind::Cancel,
            Record::InodeInit { .. } => RecordKind::InodeInit,
            Record::Commit(_) => RecordKind::Commit,
        }
    }

    fn parse_buf(at: DiskBlock, rest: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        use DefectKind::{Address, Mismatch, Range};

        let (body, data) = body::<BufBody>(rest)?;
        let chunks = body.chunks.get();
        let owner = Owner(body.owner.get());
        let kind =
            block_kind_from(body.block_kind.get()).ok_or(Defect::new("block_kind", Range))?;

        ensure(body.spare.get() == 0, "spare", Range)?;
        ensure(chunks != 0, "chunks", Range)?;
        let bytes = (chunks.count_ones() as usize).saturating_mul(LOG_CHUNK);
        ensure(data.len() == bytes, "len", Mismatch)?;
        match kind {
            BlockKind::AgHeader | BlockKind::Bitmap => {
                let (ag, inside) = geometry.locate(at).ok_or(Defect::new("block", Address))?;
                let fits = if kind == BlockKind::AgHeader {
                    geometry.header_block(ag) == Some(at)
                } else {
                    let first = geometry.bitmap_start(ag);
                    inside >= first && inside < geometry.head_end(ag)
                };
                ensure(fits, "block", Address)?;
                ensure(owner == Owner::ag(ag), "owner", Mismatch)?;
            }
            _ => {
                geometry.check_block(at, "block")?;
                ensure(owner_exists(owner, kind, geometry), "owner", Range)?;
            }
        }
        Ok(Record::Buf {
            block: at,
            kind,
            owner,
            chunks,
            data,
        })
    }

    fn parse_inode(at: DiskBlock, rest: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        use DefectKind::{Mismatch, Range};

        let (body, rest) = body::<InodeBody>(rest)?;
        let (fields, literal) = (body.fields.get(), usize::from(body.literal.get()));
        let (ino, generation) = (Ino(body.ino.get()), body.generation.get());

        geometry.check_block(at, "block")?;
        ensure(geometry.check_ino(ino), "ino", Range)?;
        ensure(fields != 0 && fields & !LOG_FIELDS == 0, "fields", Range)?;
        ensure(literal <= LITERAL_SIZE, "literal", Range)?;
        ensure(literal.is_multiple_of(8), "literal", Range)?;
        ensure(
            fields & LOG_LITERAL != 0 || literal == 0,
            "literal",
            Mismatch,
        )?;
        let core = if fields & LOG_CORE != 0 { CORE_SIZE } else { 0 };
        let (core_bytes, literal_bytes) = rest
            .split_at_checked(core)
            .ok_or(Defect::new("len", Mismatch))?;
        ensure(literal_bytes.len() == literal, "len", Mismatch)?;
        if core != 0 {
            let (first, _) = U32::ref_from_prefix(core_bytes)
                .map_err(|_| Defect::new("len", DefectKind::Mismatch))?;
            ensure(first.get() == generation, "generation", Mismatch)?;
        }
        Ok(Record::Inode {
            block: at,
            ino,
            generation,
            core: (core != 0).then_some(core_bytes),
            literal: (fields & LOG_LITERAL != 0).then_some(literal_bytes),
        })
    }

    fn parse_cancel(at: DiskBlock, rest: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        let (body, rest) = body::<CancelBody>(rest)?;
        let range = BlockRange::new(at, body.count.get());

        ensure(rest.is_empty(), "len", DefectKind::Mismatch)?;
        ensure(body.spare.get() == 0, "spare", DefectKind::Range)?;
        geometry.check_range(range, "block")?;
        Ok(Record::Cancel { range })
    }

    fn parse_init(at: DiskBlock, rest: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        use DefectKind::{Mismatch, Range};

        let (body, rest) = body::<InodeInitBody>(rest)?;
        let (ag, index) = (AgNumber(body.ag.get()), body.index.get());
        let range = BlockRange::new(at, body.count.get());

        ensure(rest.is_empty(), "len", Mismatch)?;
        ensure(body.spare.get() == 0, "spare", Range)?;
        ensure(range.len == CHUNK_BLOCKS, "count", Range)?;
        geometry.check_range(range, "block")?;
        ensure(ag.0 < geometry.ag_count(), "ag", Range)?;
        ensure(index.is_multiple_of(CHUNK_INODES), "index", Range)?;
        ensure(
            index / CHUNK_INODES < geometry.max_chunks(ag),
            "index",
            Range,
        )?;
        Ok(Record::InodeInit {
            range,
            first: Ino::new(ag, index),
        })
    }

    fn parse_commit(at: DiskBlock, rest: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        use DefectKind::{Mismatch, Range};

        let (body, rest) = body::<CommitBody>(rest)?;
        let log_blocks = geometry.log().len;
        let used = body.inodes.get().checked_sub(body.free_inodes.get());

        ensure(rest.is_empty(), "len", Mismatch)?;
        ensure(at.0 == 0, "block", Range)?;
        ensure(body.seq.get() != 0, "seq", Range)?;
        let tail = Lsn(body.tail.get());
        ensure(is_start(tail, log_blocks), "tail", Range)?;
        ensure(tail >= first_lsn(log_blocks), "tail", Range)?;
        ensure(
            body.free_blocks.get() <= geometry.total_dynamic_blocks(),
            "free_blocks",
            Range,
        )?;
        ensure(
            used.is_some_and(|used| body.orphans.get() <= used),
            "free_inodes",
            Mismatch,
        )?;
        ensure(body.records.get() != 0, "records", Range)?;
        ensure(body.spare.get() == 0, "spare", Range)?;
        Ok(Record::Commit(body))
    }
}

/// Whether a block of this kind can be `owner`'s.
fn owner_exists(owner: Owner, kind: BlockKind, geometry: &Geometry) -> bool {
    if let Some(ino) = owner.as_inode() {
        return kind != BlockKind::InodeMap && geometry.check_ino(ino);
    }
    let hidden = |ag: AgNumber| {
        owner == Owner::inode_map(ag) || (kind == BlockKind::Tree && owner == Owner::inode_file(ag))
    };
    let ag = AgNumber(owner.0 as u32);
    let inodes_only = matches!(kind, BlockKind::Symlink | BlockKind::AttrValue);
    !inodes_only && ag.0 < geometry.ag_count() && hidden(ag)
}

/// Number of inode slot `k` of block `n` of a chunk whose first inode is `first`.
pub fn chunk_ino(first: Ino, n: u32, k: u32) -> Ino {
    let index = n
        .saturating_mul(INODES_PER_BLOCK)
        .saturating_add(k)
        .saturating_add(first.index());
    Ino::new(first.ag(), index)
}
