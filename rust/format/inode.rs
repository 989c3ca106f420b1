// SPDX-License-Identifier: GPL-2.0

//! Inode slots.
//!
//! A slot is 512 bytes, one sector, and self-describing; a block of eight slots has no header of
//! its own. Log positions are compared slot by slot at replay: with one position for the block, an
//! inode that was flushed would hide the logged change of its neighbour.
//!
//! The last 320 bytes are the literal area. The data fork uses it from the start, inline attributes
//! from `attr_off` on (see [`super::xattr::fork`]).

use core::mem::{offset_of, size_of};

use zerocopy::{
    little_endian::{I64, U16, U32, U64},
    FromBytes as _,
    FromZeros as _,
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
    btree::TreeRoot,
    crc::slot_crc,
    defect::{ensure, Defect, DefectKind},
    dirent::{verify_entries, FileType},
    extent::{verify_extents, ExtentRecord, EXTENT_SIZE},
    geometry::Geometry,
    header::Context,
    limits::*,
    log::record::{CORE_OFFSET, CORE_SIZE},
    units::{Block, Ino, Lsn, INODE_SIZE},
};

/// Magic number of a slot; reads as "LfIN".
pub const INODE_MAGIC: u32 = u32::from_le_bytes(*b"LfIN");
/// Offset of the literal area.
pub const LITERAL_OFFSET: usize = 192;

/// [`InodeSlot::flags`]: writes are synchronous.
pub const FLAG_SYNC: u64 = 0x8;
/// [`InodeSlot::flags`]: may not be changed, renamed, linked or deleted.
pub const FLAG_IMMUTABLE: u64 = 0x10;
/// [`InodeSlot::flags`]: may only grow.
pub const FLAG_APPEND: u64 = 0x20;
/// [`InodeSlot::flags`]: not for backups.
pub const FLAG_NODUMP: u64 = 0x40;
/// [`InodeSlot::flags`]: access times are not kept.
pub const FLAG_NOATIME: u64 = 0x80;
/// [`InodeSlot::flags`]: changes of the directory are synchronous.
pub const FLAG_DIRSYNC: u64 = 0x1_0000;
/// All bits of [`InodeSlot::flags`] that have a meaning; the numbers are Linux's `FS_*_FL`.
pub const FLAG_ALL: u64 =
    FLAG_SYNC | FLAG_IMMUTABLE | FLAG_APPEND | FLAG_NODUMP | FLAG_NOATIME | FLAG_DIRSYNC;

/// How a fork keeps its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ForkFormat {
    /// Nothing: devices, fifos, sockets, and inodes without attributes.
    #[default]
    None = 0,
    /// Extent records in the literal area.
    InlineExtents = 1,
    /// A tree of extent records.
    ExtentTree = 2,
    /// Directory entries in the literal area.
    InlineDir = 3,
    /// A tree of directory entries.
    DirTree = 4,
    /// The target of a symlink in the literal area.
    InlineSymlink = 5,
    /// Attributes: records at the end of the literal area.
    InlineAttrs = 6,
    /// Attributes: a tree of records, whose root is not in the literal area.
    AttrTree = 7,
}

impl ForkFormat {
    /// The format with this number.
    pub const fn from_disk(format: u8) -> Option<Self> {
        Some(match format {
            0 => ForkFormat::None,
            1 => ForkFormat::InlineExtents,
            2 => ForkFormat::ExtentTree,
            3 => ForkFormat::InlineDir,
            4 => ForkFormat::DirTree,
            5 => ForkFormat::InlineSymlink,
            6 => ForkFormat::InlineAttrs,
            7 => ForkFormat::AttrTree,
            _ => return None,
        })
    }

    /// Whether the fork is the root of a tree.
    pub const fn is_tree(self) -> bool {
        matches!(
            self,
            ForkFormat::ExtentTree | ForkFormat::DirTree | ForkFormat::AttrTree
        )
    }

    /// Whether an inode of this type can have its data in this format.
    pub const fn fits(self, ftype: FileType) -> bool {
        use FileType::*;

        match self {
            ForkFormat::None => matches!(ftype, CharDevice | BlockDevice | Fifo | Socket),
            ForkFormat::InlineExtents => matches!(ftype, Regular | Symlink),
            ForkFormat::ExtentTree => matches!(ftype, Regular),
            ForkFormat::InlineDir | ForkFormat::DirTree => matches!(ftype, Directory),
            ForkFormat::InlineSymlink => matches!(ftype, Symlink),
            ForkFormat::InlineAttrs | ForkFormat::AttrTree => false,
        }
    }
}

/// A point in time as it is on disk, without its nanoseconds.
pub type Seconds = I64;

/// An inode.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeSlot {
    /// [`INODE_MAGIC`].
    pub magic: U32,
    /// CRC-32C of the slot, see [`super::crc`].
    pub crc: U32,
    /// Instance id of the file system.
    pub instance: U64,
    /// The inode's own number.
    pub ino: U64,
    /// Log position of the last change.
    pub lsn: U64,
    /// Random at each allocation of the number: tells file handles of its lives apart.
    pub generation: U32,
    /// Type and permissions; 0 in a free slot.
    pub mode: U16,
    /// [`ForkFormat`] of the data.
    pub data_format: u8,
    /// [`ForkFormat`] of the attributes.
    pub attr_format: u8,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Project.
    pub projid: U32,
    /// Names of the inode; of a directory, 2 and its subdirectories.
    pub nlink: U32,
    /// Size in bytes: of a directory, that of its entries' records.
    pub size: U64,
    /// Blocks allocated to the inode: data, values of attributes, tree nodes of both forks.
    pub blocks: U64,
    /// Last access, seconds since 1970.
    pub atime: I64,
    /// Last change of the content.
    pub mtime: I64,
    /// Last change of the inode.
    pub ctime: I64,
    /// Creation.
    pub btime: I64,
    /// Nanoseconds of `atime`, below 10^9; likewise the next three.
    pub atime_ns: U32,
    /// Nanoseconds of `mtime`.
    pub mtime_ns: U32,
    /// Nanoseconds of `ctime`.
    pub ctime_ns: U32,
    /// Nanoseconds of `btime`.
    pub btime_ns: U32,
    /// Change counter (`i_version`).
    pub version: U64,
    /// `FLAG_*`.
    pub flags: U64,
    /// Zero: for flags without a user interface.
    pub flags2: U64,
    /// Zero: upper half of a wider generation.
    pub generation_hi: U32,
    /// Device number of a device, Linux's 32-bit encoding: minor bits 0..8 and 20..32, major 8..20.
    pub rdev: U32,
    /// Bytes of the literal area that the data fork uses.
    pub data_len: U16,
    /// Levels of the data fork's tree, 0 without one.
    pub data_depth: u8,
    /// Levels of the attribute fork's tree, 0 without one.
    pub attr_depth: u8,
    /// Bytes of the literal area that the attribute fork uses.
    pub attr_len: U16,
    /// Where the attribute fork begins in the literal area; 320: there is none.
    pub attr_off: U16,
    /// Of a directory, its parent; the root is its own. 0 in other inodes.
    pub parent: U64,
    /// Root node of the attribute tree, 0 without one.
    pub attr_block: U64,
    /// Blocks of the attribute fork, tree nodes and values, among `blocks`.
    pub attr_blocks: U32,
    /// Zero.
    pub spare: [u8; 12],
    /// Literal area.
    pub literal: [u8; LITERAL_SIZE],
}

const _: () = assert!(size_of::<InodeSlot>() == INODE_SIZE);
const _: () = assert!(offset_of!(InodeSlot, generation) == 32);
const _: () = assert!(offset_of!(InodeSlot, size) == 56);
const _: () = assert!(offset_of!(InodeSlot, atime) == 72);
const _: () = assert!(offset_of!(InodeSlot, version) == 120);
const _: () = assert!(offset_of!(InodeSlot, data_len) == 152);
const _: () = assert!(offset_of!(InodeSlot, parent) == 160);
const _: () = assert!(offset_of!(InodeSlot, attr_block) == 168);
const _: () = assert!(offset_of!(InodeSlot, literal) == LITERAL_OFFSET);

impl InodeSlot {
    /// A free slot of inode `ino`, unsealed.
    pub fn new(context: &Context, ino: Ino, generation: u32) -> Self {
        let mut slot = Self::new_zeroed();
        slot.reset(context, ino, generation);
        slot
    }

    /// Becomes a free slot of inode `ino`, unsealed: [`Self::new`] in place.
    pub fn reset(&mut self, context: &Context, ino: Ino, generation: u32) {
        self.zero();
        self.magic = U32::new(INODE_MAGIC);
        self.instance = U64::new(context.instance);
        self.ino = U64::new(ino.0);
        self.generation = U32::new(generation);
        self.attr_off = U16::new(LITERAL_SIZE as u16);
    }

    /// The slot of `ino` in the block of the inode file that holds it. Nothing is checked.
    pub fn of(block: &Block, ino: Ino) -> Option<&Self> {
        let bytes = block.get(ino.slot_offset()..)?;
        Self::ref_from_prefix(bytes).ok().map(|(slot, _)| slot)
    }

    /// The slot of `ino` in the block of the inode file that holds it, to change it.
    pub fn of_mut(block: &mut Block, ino: Ino) -> Option<&mut Self> {
        let bytes = block.get_mut(ino.slot_offset()..)?;
        Self::mut_from_prefix(bytes).ok().map(|(slot, _)| slot)
    }

    /// Sets LSN and checksum: the last step of flushing an inode into its slot.
    pub fn seal(&mut self, context: &Context, lsn: Lsn) {
        self.lsn = U64::new(lsn.0);
        self.crc = U32::new(slot_crc(context.seed, self.as_bytes()));
    }

    /// Bytes 32 to 191: all of the slot but its identity, its seal and its literal area. What the
    /// log calls the core.
    pub fn core(&self) -> &[u8; CORE_SIZE] {
        let all: &[u8; INODE_SIZE] = zerocopy::transmute_ref!(self);
        all.get(CORE_OFFSET..)
            .and_then(|rest| rest.first_chunk())
            .unwrap_or(&[0; CORE_SIZE])
    }

    /// The literal area without the zeroes at its end, in whole 8 bytes: as it is logged.
    pub fn used_literal(&self) -> &[u8] {
        let mut words = self.literal.chunks_exact(8);
        let last = words.rposition(|word| word != [0; 8]);
        let used = last.map_or(0, |at| at.saturating_add(1).saturating_mul(8));
        self.literal.get(..used).unwrap_or(&self.literal)
    }

    /// Puts a logged core and a logged literal area in; [`None`] if they are of a size that they
    /// cannot have. The slot is to be sealed after it.
    pub fn replay(&mut self, core: Option<&[u8]>, literal: Option<&[u8]>) -> Option<()> {
        let all: &mut [u8; INODE_SIZE] = zerocopy::transmute_mut!(self);
        if let Some(core) = core {
            let to = all.get_mut(CORE_OFFSET..LITERAL_OFFSET)?;
            if to.len() != core.len() {
                return None;
            }
            to.copy_from_slice(core);
        }
        if let Some(literal) = literal {
            let to = all.get_mut(LITERAL_OFFSET..)?;
            to.fill(0);
            to.get_mut(..literal.len())?.copy_from_slice(literal);
        }
        Some(())
    }

    /// Whether the slot is free.
    pub fn is_free(&self) -> bool {
        self.mode.get() == 0
    }

    /// Type of the inode; [`None`] if the slot is free or the mode is none that exists.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_mode(self.mode.get())
    }

    /// Format of the data fork; [`None`] if it is none that exists.
    pub fn data_format(&self) -> Option<ForkFormat> {
        ForkFormat::from_disk(self.data_format)
    }

    /// The bytes of the literal area that the data fork uses, at most all of them.
    pub fn data(&self) -> &[u8] {
        let len = usize::from(self.data_len.get()).min(LITERAL_SIZE);
        self.literal.get(..len).unwrap_or(&[])
    }

    /// Replaces the data fork; false, and nothing done, if `bytes` do not fit before the attribute
    /// fork.
    pub fn set_data(&mut self, format: ForkFormat, depth: u8, bytes: &[u8]) -> bool {
        let room = usize::from(self.attr_off.get()).min(LITERAL_SIZE);
        let (Ok(len), Some(area)) = (u16::try_from(bytes.len()), self.literal.get_mut(..room))
        else {
            return false;
        };
        if bytes.len() > area.len() {
            return false;
        }
        self.data_format = format as u8;
        self.data_depth = depth;
        self.data_len = U16::new(len);
        let (used, rest) = area.split_at_mut(bytes.len());
        used.copy_from_slice(bytes);
        rest.fill(0);
        true
    }

    /// The inline extents of the data fork; none if it has another format.
    pub fn extents(&self) -> &[ExtentRecord] {
        if self.data_format() != Some(ForkFormat::InlineExtents) {
            return &[];
        }
        ExtentRecord::slice(self.data()).unwrap_or(&[])
    }

    /// The root of the data fork's tree, if it has one.
    pub fn tree(&self) -> Option<TreeRoot> {
        if !self.data_format()?.is_tree() {
            return None;
        }
        TreeRoot::parse(self.data(), self.data_depth)
    }

    /// Checks that this is the slot of `ino`: the identity of a slot, free or in use, and its
    /// checksum.
    pub fn verify_identity(&self, context: &Context, ino: Ino) -> Result<(), Defect> {
        use DefectKind::{Checksum, Foreign, Magic, Misplaced};

        ensure(self.magic.get() == INODE_MAGIC, "magic", Magic)?;
        ensure(self.instance.get() == context.instance, "instance", Foreign)?;
        ensure(
            self.crc.get() == slot_crc(context.seed, self.as_bytes()),
            "crc",
            Checksum,
        )?;
        ensure(self.ino.get() == ino.0, "ino", Misplaced)
    }

    /// Checks the slot of `ino`, content included.
    pub fn verify(&self, context: &Context, ino: Ino) -> Result<(), Defect> {
        self.verify_identity(context, ino)?;
        if self.is_free() {
            return Ok(());
        }
        self.verify_core(&context.geometry)?;
        self.verify_attr_fork(&context.geometry)?;
        self.verify_data(&context.geometry)
    }

    /// Checks the fields that do not depend on the format of the forks.
    fn verify_core(&self, geometry: &Geometry) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        let ftype = self.file_type().ok_or(Defect::new("mode", Range))?;
        ensure(self.size.get() <= MAX_FILE_SIZE, "size", Range)?;
        ensure(self.blocks.get() <= geometry.block_count(), "blocks", Range)?;
        ensure(self.nlink.get() <= MAX_LINKS, "nlink", Range)?;
        ensure(self.flags.get() & !FLAG_ALL == 0, "flags", Range)?;
        ensure(self.flags2.get() == 0, "flags2", Range)?;
        ensure(self.generation_hi.get() == 0, "generation_hi", Range)?;
        for (ns, field) in [
            (&self.atime_ns, "atime_ns"),
            (&self.mtime_ns, "mtime_ns"),
            (&self.ctime_ns, "ctime_ns"),
            (&self.btime_ns, "btime_ns"),
        ] {
            ensure(ns.get() < 1_000_000_000, field, Range)?;
        }

        let is_device = matches!(ftype, FileType::CharDevice | FileType::BlockDevice);
        ensure(is_device || self.rdev.get() == 0, "rdev", Mismatch)?;
        if ftype == FileType::Directory {
            ensure(geometry.check_ino(Ino(self.parent.get())), "parent", Range)?;
        } else {
            ensure(self.parent.get() == 0, "parent", Mismatch)?;
        }
        Ok(())
    }

    /// Checks format and content of the data fork.
    fn verify_data(&self, geometry: &Geometry) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        let format = self
            .data_format()
            .ok_or(Defect::new("data_format", Range))?;
        let ftype = self.file_type().ok_or(Defect::new("mode", Range))?;
        let len = usize::from(self.data_len.get());
        let size = self.size.get();

        ensure(format.fits(ftype), "data_format", Mismatch)?;
        ensure(len <= usize::from(self.attr_off.get()), "data_len", Range)?;
        if format.is_tree() {
            let root = self.tree().ok_or(Defect::new("data_len", Mismatch))?;
            return root.verify(geometry);
        }

        ensure(self.data_depth == 0, "data_depth", Mismatch)?;
        match format {
            ForkFormat::InlineExtents => {
                ensure(len.is_multiple_of(EXTENT_SIZE), "data_len", Mismatch)?;
                if ftype == FileType::Symlink {
                    let long = size > LITERAL_SIZE as u64 && size <= MAX_SYMLINK as u64;
                    ensure(long, "size", Range)?;
                }
                verify_extents(self.extents(), geometry)
            }
            ForkFormat::InlineDir => {
                ensure(size == len as u64, "size", Mismatch)?;
                verify_entries(self.data(), geometry)
            }
            ForkFormat::InlineSymlink => {
                ensure(len > 0, "data_len", Range)?;
                ensure(size == len as u64, "size", Mismatch)?;
                ensure(!self.data().contains(&0), "data.target", Range)
            }
            _ => ensure(len == 0 && size == 0, "data_len", Mismatch),
        }
    }
}
