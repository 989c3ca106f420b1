// SPDX-License-Identifier: GPL-2.0

//! Inode numbers: which exist, which are free, and where their slots are.
//!
//! An allocation group (AG) has two hidden files whose roots are in its header. Block `k` of the
//! *inode file* has the slots of the indexes `8k..8k+7`; it grows and shrinks by chunks of 64
//! inodes, eight contiguous blocks, and a chunk that is not there is a hole. The *inode map* has a
//! bit for each chunk that exists, and two masks for its inodes: allocated, orphan.
//!
//! The hidden files have no ILOCK: the AG inode lock (level 9) protects map, extents of both files
//! and the counts in the header (rules S2). It is taken shared to find a slot or a free number, and
//! exclusively by a transaction from its first change of these to the end of its commit.
//!
//! A free number is first *claimed* in memory ([`claim`]), before the transaction that uses it: a
//! chunk may have to be allocated for it, which is a transaction of its own, and two creations that
//! run at the same time never wait for each other to see which numbers are left. The bits are
//! flipped at the very end of the transaction ([`MapDelta`]): the same idea as with block bitmaps
//! (rules M21).
//!
//! * [`group`]: what is in memory for an AG;
//! * [`map`]: reading the inode map;
//! * [`hints`]: where free numbers may be, without a scan;
//! * [`claim`]: choosing a number;
//! * [`chunk`]: growing an inode file, and giving empty chunks back;
//! * [`delta`]: flipping bits.

mod chunk;
mod claim;
mod delta;
mod group;
mod hidden;
mod hints;
mod map;
mod reap;

#[cfg(all(test, unit_tests))]
mod tests;

pub use self::group::InodeSpace;
pub(crate) use self::{
    claim::{claim, InoClaim},
    delta::{MapDelta, MapOp},
    group::{AgInner, Group},
    map::{
        goal_of, inode_block, orphans_of, read_block, read_inode_block, readahead, status, Status,
    },
    reap::{may_reclaim, reap_empty_chunks},
};
