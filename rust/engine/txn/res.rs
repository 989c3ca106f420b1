// SPDX-License-Identifier: GPL-2.0

//! Reservations: one constant for each operation.

use super::TxnRes;
use crate::{
    engine::{dir, extents::disk},
    format::units::CHUNK_BLOCKS,
};

/// Buffers that flipping bits of the inode map changes for each number: map block and AG header.
const MAP_BUFS: u32 = 2;

/// Adding a name to a directory.
const ENTER: TxnRes = TxnRes::new(dir::INSERT_BLOCKS, dir::INSERT_BUFS);
/// Removing a name from a directory.
const LEAVE: TxnRes = TxnRes::new(0, dir::REMOVE_BUFS).frees(dir::REMOVE_FREES);
/// One inode number changes its state.
const MAP: TxnRes = TxnRes::new(0, MAP_BUFS);

/// create, mkdir, mknod, short symlink: entry, new inode.
pub const CREATE: TxnRes = ENTER.and(MAP).joins(2).checked();
/// Symlink with a long target: beside that two blocks.
pub const SYMLINK: TxnRes = CREATE.and(TxnRes::new(2, 2)).checked();
/// File without a name.
pub const TMPFILE: TxnRes = MAP.joins(1).checked();
/// link: entry; a file without a name stops being an orphan.
pub const LINK: TxnRes = ENTER.and(MAP).joins(2).checked();
/// unlink, rmdir: entry; the last link makes an orphan. Merging nodes needs no blocks.
pub const REMOVE: TxnRes = LEAVE.and(MAP).joins(2).from_pool().checked();
/// rename: an entry more or another inode in it, one less; the replaced inode.
pub const RENAME: TxnRes = ENTER.and(LEAVE).and(MAP).joins(4).checked();
/// rename that leaves a whiteout: a new inode instead of an entry less.
pub const RENAME_WHITEOUT: TxnRes = RENAME.and(MAP).joins(5).checked();
/// setattr and flags.
pub const SETATTR: TxnRes = MAP.joins(1).checked();
/// The end of an inode: its number, a long symlink's blocks.
pub const INACTIVATE: TxnRes = MAP.joins(1).frees(2).from_pool().checked();
/// The end of a file whose extents are inline: they go with its number.
pub const INACTIVATE_FILE: TxnRes = MAP.and(disk::inline_res()).joins(1).from_pool().checked();
/// One step of freeing the tree of a removed directory.
pub const DIR_FREE: TxnRes = TxnRes::new(0, dir::REMOVE_BUFS)
    .frees(dir::REMOVE_FREES + 32)
    .joins(1)
    .from_pool()
    .checked();
/// A new chunk of inodes: its blocks, both hidden files' extents, perhaps a new map block.
pub const INODE_CHUNK: TxnRes = disk::change_res(2)
    .and(MAP)
    .and(
        TxnRes::new(1, CHUNK_BLOCKS + 1)
            .ordered(CHUNK_BLOCKS)
            .frees(1),
    )
    .not_from_pool()
    .checked();
/// An empty chunk of inodes goes.
pub const INODE_CHUNK_FREE: TxnRes = disk::change_res(1)
    .and(MAP)
    .and(TxnRes::new(0, 0).frees(1))
    .from_pool()
    .checked();
/// The last block of an inode map goes.
pub const INODE_MAP_TRIM: TxnRes = INODE_CHUNK_FREE;
