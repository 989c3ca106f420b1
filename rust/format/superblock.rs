// SPDX-License-Identifier: GPL-2.0

//! The superblock: 512 bytes at the start of block 0, one sector, so that it cannot tear. Copies
//! at the start of allocation groups 1 and powers of 3, 5 and 7; they are written by mkfs and when
//! label, uuid or size change, so their counters and times may be old.

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
    crc::superblock_crc,
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    header::Context,
    limits::*,
    units::{Block, DiskBlock, Ino, BLOCK_LOG, INODE_LOG, SECTOR_SIZE},
};

/// First eight bytes of every latchfs.
pub const MAGIC: [u8; 8] = *b"latchFS\n";

/// [`Superblock::state`]: unmounted cleanly, counters are exact and the log is empty (the next
/// checkpoint begins at `lsn`).
pub const STATE_CLEAN: u16 = 1 << 0;
/// [`Superblock::state`]: an error was recorded since the last fsck.
pub const STATE_ERRORS: u16 = 1 << 1;
/// All bits of [`Superblock::state`] that have a meaning.
pub const STATE_ALL: u16 = STATE_CLEAN | STATE_ERRORS;

/// Features that a reader and writer may ignore.
pub const COMPAT_ALL: u64 = 0;
/// Features that a reader may ignore; a writer must know them.
pub const RO_COMPAT_ALL: u64 = 0;
/// Features that everyone must know.
pub const INCOMPAT_ALL: u64 = 0;

/// One remembered error (ext4 keeps the same two).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ErrorRecord {
    /// When, seconds since 1970; 0 and all other fields 0: no error.
    pub time: I64,
    /// In which inode, 0 if in none.
    pub ino: U64,
    /// In which block, 0 if in none.
    pub block: U64,
    /// Code of the place in the program that reported it.
    pub code: U32,
    /// What the caller was told (positive errno).
    pub errno: U32,
}

/// The superblock.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// CRC-32C of the 512 bytes, unseeded.
    pub crc: U32,
    /// [`VERSION`].
    pub version: U16,
    /// [`FORMAT_REV`].
    pub format_rev: U16,
    /// Name of the file system for users; may be changed.
    pub uuid: [u8; 16],
    /// Random, drawn by mkfs; every metadata block carries it and every checksum is seeded with it.
    pub instance: U64,
    /// Key of the name hash.
    pub hash_seed: U64,
    /// Blocks of the file system.
    pub block_count: U64,
    /// Blocks of an allocation group.
    pub ag_blocks: U32,
    /// Allocation groups.
    pub ag_count: U32,
    /// Features, see [`COMPAT_ALL`].
    pub compat: U64,
    /// Features, see [`RO_COMPAT_ALL`].
    pub ro_compat: U64,
    /// Features, see [`INCOMPAT_ALL`].
    pub incompat: U64,
    /// Inode of the root directory.
    pub root_ino: U64,
    /// First block of the log.
    pub log_start: U64,
    /// Blocks of the log.
    pub log_blocks: U32,
    /// [`BLOCK_LOG`].
    pub block_log: u8,
    /// [`INODE_LOG`].
    pub inode_log: u8,
    /// [`STATE_CLEAN`], [`STATE_ERRORS`].
    pub state: U16,
    /// Free blocks when the file system was last clean.
    pub free_blocks: U64,
    /// Inode slots in chunks that exist, likewise.
    pub inodes: U64,
    /// Free inode slots in chunks that exist, likewise.
    pub free_inodes: U64,
    /// Inodes marked orphan, likewise.
    pub orphans: U64,
    /// Volume label, zero padded, not terminated when full.
    pub label: [u8; LABEL_SIZE],
    /// When mkfs ran, seconds since 1970.
    pub created: I64,
    /// When it was last mounted for writing.
    pub mounted: I64,
    /// When the superblock was last written.
    pub written: I64,
    /// How often it was mounted for writing. Raised before the first write to the log, whose
    /// blocks carry it: a checkpoint that was torn by a crash is not completed by a later one.
    pub mount_count: U32,
    /// Errors recorded since the last fsck.
    pub error_count: U32,
    /// First error since the last fsck.
    pub first_error: ErrorRecord,
    /// Last error since the last fsck.
    pub last_error: ErrorRecord,
    /// Lower bound of the log: checkpoints below it are in their place, and never replayed.
    pub lsn: U64,
    /// Number of the block that holds this copy.
    pub block: U64,
    /// When fsck last found or left the file system consistent.
    pub checked: I64,
    /// Zero.
    pub spare: [u8; 184],
}

const _: () = assert!(size_of::<ErrorRecord>() == 32);
const _: () = assert!(size_of::<Superblock>() == SECTOR_SIZE);
const _: () = assert!(offset_of!(Superblock, crc) == 8);
const _: () = assert!(offset_of!(Superblock, instance) == 32);
const _: () = assert!(offset_of!(Superblock, root_ino) == 88);
const _: () = assert!(offset_of!(Superblock, label) == 144);
const _: () = assert!(offset_of!(Superblock, lsn) == 304);

impl Superblock {
    /// All zero: a start for mkfs.
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// The superblock in the first bytes of a block or sector; [`None`] if there are fewer than 512.
    pub fn of(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(sb, _)| sb)
    }

    /// [`Self::of`], to change it.
    pub fn of_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(sb, _)| sb)
    }

    /// Whether the bytes begin with the magic of latchfs, whatever else is wrong with them.
    pub fn is_latchfs(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Copies the superblock into the first bytes of a block and zeroes the rest.
    pub fn store(&self, block: &mut Block) {
        let bytes = self.as_bytes().iter().chain(core::iter::repeat(&0));
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// Sets the checksum, and `at` as the block that holds this copy.
    pub fn seal(&mut self, at: DiskBlock) {
        self.block = U64::new(at.0);
        self.crc = U32::new(superblock_crc(self.as_bytes()));
    }

    /// Checks a superblock that was read from block `at` and returns what follows from it.
    ///
    /// Features unknown to this code are a [`DefectKind::Unsupported`] of `incompat`; whether
    /// `ro_compat` allows writing is for the caller ([`Self::can_write`]).
    pub fn verify(&self, at: DiskBlock) -> Result<Context, Defect> {
        use DefectKind::{Checksum, Magic, Mismatch, Misplaced, Range, Unsupported};

        ensure(self.magic == MAGIC, "magic", Magic)?;
        ensure(
            self.crc.get() == superblock_crc(self.as_bytes()),
            "crc",
            Checksum,
        )?;
        ensure(self.version.get() == VERSION, "version", Unsupported)?;
        ensure(
            self.format_rev.get() == FORMAT_REV,
            "format_rev",
            Unsupported,
        )?;
        ensure(
            self.incompat.get() & !INCOMPAT_ALL == 0,
            "incompat",
            Unsupported,
        )?;
        ensure(self.block.get() == at.0, "block", Misplaced)?;
        ensure(
            u32::from(self.block_log) == BLOCK_LOG,
            "block_log",
            Unsupported,
        )?;
        ensure(
            u32::from(self.inode_log) == INODE_LOG,
            "inode_log",
            Unsupported,
        )?;
        ensure(self.state.get() & !STATE_ALL == 0, "state", Range)?;
        ensure(self.instance.get() != 0, "instance", Range)?;

        let geometry = self.geometry()?;
        ensure(geometry.check_ino(self.root()), "root_ino", Range)?;
        ensure(
            self.free_blocks.get() <= geometry.total_dynamic_blocks(),
            "free_blocks",
            Range,
        )?;
        let most = geometry.block_count().saturating_mul(8);
        ensure(self.inodes.get() <= most, "inodes", Range)?;
        ensure(
            self.free_inodes.get() <= self.inodes.get(),
            "free_inodes",
            Mismatch,
        )?;
        ensure(self.orphans.get() <= self.inodes.get(), "orphans", Mismatch)?;
        let known = self.compat.get() | self.ro_compat.get() == 0;
        ensure(!known || self.spare.iter().all(|b| *b == 0), "spare", Range)?;

        Ok(Context::new(self.instance.get(), geometry))
    }

    /// The layout, if its numbers are consistent.
    pub fn geometry(&self) -> Result<Geometry, Defect> {
        Geometry::new(
            self.block_count.get(),
            self.ag_blocks.get(),
            self.ag_count.get(),
            DiskBlock(self.log_start.get()),
            self.log_blocks.get(),
        )
    }

    /// Writes the numbers of `geometry` into the superblock.
    pub fn set_geometry(&mut self, geometry: &Geometry) {
        self.block_count = U64::new(geometry.block_count());
        self.ag_blocks = U32::new(geometry.ag_blocks());
        self.ag_count = U32::new(geometry.ag_count());
        self.log_start = U64::new(geometry.log().start.0);
        self.log_blocks = U32::new(geometry.log().len);
    }

    /// Inode of the root directory.
    pub fn root(&self) -> Ino {
        Ino(self.root_ino.get())
    }

    /// Whether this code knows everything that a writer must know.
    pub fn can_write(&self) -> bool {
        self.ro_compat.get() & !RO_COMPAT_ALL == 0
    }

    /// Whether it was unmounted cleanly.
    pub fn is_clean(&self) -> bool {
        self.state.get() & STATE_CLEAN != 0
    }

    /// The label without its padding.
    pub fn label(&self) -> &[u8] {
        self.label
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or(&self.label)
    }
}
