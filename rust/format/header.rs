// SPDX-License-Identifier: GPL-2.0

//! The header that every metadata block but superblock and inode blocks begins with, and what
//! "sealing" and "verifying" a block mean.
//!
//! A block is self-describing: which kind (magic), which file system (instance), where (block),
//! whose (owner) and how new (lsn). The same function verifies a block after a read and before a
//! write, in the module and in fsck.

use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    crc::{block_crc, CrcSeed},
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    units::{AgNumber, Block, DiskBlock, Ino, Lsn},
};
use zerocopy::little_endian::{U32, U64};

/// Bytes of [`BlockHeader`].
pub const HEADER_SIZE: usize = 40;
/// Bytes of header and type-specific fields together: where the body of a block begins.
pub const BODY_OFFSET: usize = 64;

/// What a metadata block holds. Stands for its magic number and its verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// Allocation group header.
    AgHeader,
    /// Block bitmap.
    Bitmap,
    /// Inode map.
    InodeMap,
    /// Node of a B+tree.
    Tree,
    /// Part of a long symlink target.
    Symlink,
    /// Part of a large value of an extended attribute.
    AttrValue,
    /// Log header.
    Log,
    /// Eight inode slots: no header, each slot is verified when it is used.
    Inodes,
}

impl BlockKind {
    /// The magic number, or [`None`] for inode blocks. In a dump of the block the bytes read as
    /// four letters.
    pub const fn magic(self) -> Option<u32> {
        let letters = match self {
            BlockKind::AgHeader => b"LfAG",
            BlockKind::Bitmap => b"LfBM",
            BlockKind::InodeMap => b"LfIM",
            BlockKind::Tree => b"LfTR",
            BlockKind::Symlink => b"LfSY",
            BlockKind::AttrValue => b"LfXV",
            BlockKind::Log => b"LfLG",
            BlockKind::Inodes => return None,
        };
        Some(u32::from_le_bytes(*letters))
    }

    /// Name of the kind for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            BlockKind::AgHeader => "AG header",
            BlockKind::Bitmap => "bitmap",
            BlockKind::InodeMap => "inode map",
            BlockKind::Tree => "tree node",
            BlockKind::Symlink => "symlink",
            BlockKind::AttrValue => "attribute value",
            BlockKind::Log => "log header",
            BlockKind::Inodes => "inode block",
        }
    }
}

/// Whose block it is: an inode, or a part of an allocation group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Owner(pub u64);

impl Owner {
    /// Set in every owner that is not an inode.
    const HIDDEN: u64 = 1 << 63;

    const fn hidden(class: u64, ag: AgNumber) -> Self {
        Self(Self::HIDDEN | (class << 32) | ag.0 as u64)
    }

    /// The inode `ino`.
    pub const fn inode(ino: Ino) -> Self {
        Self(ino.0)
    }

    /// Group `ag` itself: its header, bitmaps.
    pub const fn ag(ag: AgNumber) -> Self {
        Self::hidden(0, ag)
    }

    /// The inode file of group `ag`: the tree of its extents.
    pub const fn inode_file(ag: AgNumber) -> Self {
        Self::hidden(1, ag)
    }

    /// The inode map of group `ag`: its blocks and the tree of its extents.
    pub const fn inode_map(ag: AgNumber) -> Self {
        Self::hidden(2, ag)
    }

    /// The log.
    pub const fn log() -> Self {
        Self::hidden(3, AgNumber(0))
    }

    /// The group, if the owner is an inode map.
    pub const fn as_inode_map(self) -> Option<AgNumber> {
        let ag = AgNumber(self.0 as u32);
        if self.0 == Self::inode_map(ag).0 {
            Some(ag)
        } else {
            None
        }
    }

    /// The inode, if the owner is one.
    pub const fn as_inode(self) -> Option<Ino> {
        if self.0 & Self::HIDDEN == 0 {
            Some(Ino(self.0))
        } else {
            None
        }
    }
}

/// The 40 bytes that begin a metadata block. 24 bytes of the block type follow, then its body.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BlockHeader {
    /// [`BlockKind::magic`].
    pub magic: U32,
    /// CRC-32C of the block, see [`super::crc`].
    pub crc: U32,
    /// Instance id of the file system.
    pub instance: U64,
    /// The block's own number.
    pub block: U64,
    /// [`Owner`] of the block.
    pub owner: U64,
    /// Log position of the last change.
    pub lsn: U64,
}

impl BlockHeader {
    /// The header of a new block; its checksum is set when it is sealed.
    pub fn new(kind: BlockKind, instance: u64, block: DiskBlock, owner: Owner) -> Self {
        Self {
            magic: U32::new(kind.magic().unwrap_or(0)),
            crc: U32::new(0),
            instance: U64::new(instance),
            block: U64::new(block.0),
            owner: U64::new(owner.0),
            lsn: U64::new(0),
        }
    }

    /// The header of a block, whatever it is.
    pub fn of(block: &Block) -> &Self {
        let headed: &Headed = zerocopy::transmute_ref!(block);
        &headed.header
    }

    /// The header of a block, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        let headed: &mut Headed = zerocopy::transmute_mut!(block);
        &mut headed.header
    }

    /// Whose block it says it is.
    pub fn owner(&self) -> Owner {
        Owner(self.owner.get())
    }

    /// Log position of the last change.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.get())
    }
}

/// A block seen as header and rest.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Headed {
    header: BlockHeader,
    rest: [u8; super::units::BLOCK_SIZE - HEADER_SIZE],
}

/// What a verifier must know about the file system. One per mount, made from its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Instance id: every block carries it.
    pub instance: u64,
    /// Seed of the checksums, from the instance id.
    pub seed: CrcSeed,
    /// Layout.
    pub geometry: Geometry,
}

impl Context {
    /// The context of the file system with this instance id and layout.
    pub fn new(instance: u64, geometry: Geometry) -> Self {
        Self {
            instance,
            seed: CrcSeed::new(instance),
            geometry,
        }
    }
}

/// Checks the header of a block that was read as block `at`, checksum included. `owner` is whose
/// block the caller expects; [`None`] accepts any (fsck, inspection).
pub fn check_header(
    block: &Block,
    kind: BlockKind,
    context: &Context,
    at: DiskBlock,
    owner: Option<Owner>,
) -> Result<(), Defect> {
    let header = BlockHeader::of(block);

    ensure(
        Some(header.magic.get()) == kind.magic(),
        "magic",
        DefectKind::Magic,
    )?;
    // Before the checksum, which is seeded with the instance id: "is of another file system" tells
    // more than "does not match".
    ensure(
        header.instance.get() == context.instance,
        "instance",
        DefectKind::Foreign,
    )?;
    ensure(
        header.crc.get() == block_crc(context.seed, block),
        "crc",
        DefectKind::Checksum,
    )?;
    ensure(header.block.get() == at.0, "block", DefectKind::Misplaced)?;
    ensure(
        owner.is_none_or(|owner| header.owner.get() == owner.0),
        "owner",
        DefectKind::Owner,
    )
}

/// Sets LSN and checksum of a block that is about to be written. Blocks of inode slots are left
/// alone: a slot is sealed when the inode is flushed into it.
pub fn seal(block: &mut Block, kind: BlockKind, context: &Context, lsn: Lsn) {
    if kind.magic().is_none() {
        return;
    }
    BlockHeader::of_mut(block).lsn = U64::new(lsn.0);
    reseal(block, context);
}

/// Sets the checksum of a block with a header; nothing else changes.
pub fn reseal(block: &mut Block, context: &Context) {
    let crc = block_crc(context.seed, block);
    BlockHeader::of_mut(block).crc = U32::new(crc);
}
