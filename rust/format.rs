// SPDX-License-Identifier: GPL-2.0

//! Ring 0: the on-disk format.
//!
//! Types, limits, checksums and verifiers; nothing else. `core` and zerocopy only: no allocation,
//! no I/O, no locks, no panic. The kernel module and the tools compile this source, so what one
//! accepts the other accepts.
//!
//! Everything here may be called in any context. Values that come from the disk are read through
//! little-endian wrappers, compared with `get`, and computed with checked arithmetic.
//!
//! The byte-by-byte description is Documentation/format.rst. A test keeps a fingerprint of all
//! types (names, offsets, sizes): whoever changes one raises [`limits::FORMAT_REV`].

#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub mod ag;
pub mod bitmap;
pub mod btree;
pub mod crc;
pub mod defect;
pub mod dirent;
pub mod extent;
pub mod geometry;
pub mod hash;
pub mod header;
pub mod imap;
pub mod inode;
pub mod limits;
pub mod log;
pub mod make;
pub mod superblock;
pub mod symlink;
pub mod units;
pub mod verify;
pub mod xattr;

#[cfg(all(test, unit_tests))]
mod tests;

pub use self::{
    ag::{AgHeader, FileRoot},
    bitmap::BitmapBlock,
    btree::{NodeEntry, TreeBlock, TreeKind, TreeRoot},
    defect::{Defect, DefectKind},
    dirent::{Dirent, FileType},
    extent::{Extent, ExtentRecord},
    geometry::Geometry,
    header::{BlockHeader, BlockKind, Context, Owner},
    imap::{ChunkMasks, MapBlock},
    inode::{ForkFormat, InodeSlot},
    log::{block::LogBlock, record::Record, LogHeader},
    superblock::Superblock,
    symlink::SymlinkBlock,
    units::{
        AgBlock, AgNumber, AgRange, Block, BlockRange, DiskBlock, FileBlock, Ino, Lsn, BLOCK_SIZE,
    },
    verify::verify_block,
    xattr::{value::AttrBlock, Attr, AttrSpace, AttrValue},
};
