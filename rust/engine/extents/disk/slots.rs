// SPDX-License-Identifier: GPL-2.0

//! Extent records inline in a fork: a sorted array of 16-byte records.
//!
//! No I/O. Changes need no transaction of their own: the fork is logged with its inode, or with the
//! AG header.

use crate::{
    engine::{
        error::{Error, Result},
        fork::{Fork, INODE_FORK_BYTES},
    },
    format::{
        extent::{Extent, ExtentRecord, EXTENT_SIZE},
        units::FileBlock,
    },
    sys::Errno,
};
use zerocopy::IntoBytes as _;

/// Most records that fit inline in any fork.
pub(super) const MOST: usize = INODE_FORK_BYTES / EXTENT_SIZE;

/// Records that fit inline in this fork.
pub(super) fn limit(fork: &Fork) -> usize {
    usize::from(fork.limit) / EXTENT_SIZE
}

/// The record of an extent as bytes. EUCLEAN for an extent that no record can hold, which the
/// allocator does not give.
pub(super) fn pack(extent: &Extent) -> Result<[u8; EXTENT_SIZE]> {
    let record = extent.pack().ok_or_else(|| Error::new(Errno::UCLEAN))?;
    let mut bytes = [0; EXTENT_SIZE];
    bytes.copy_from_slice(record.as_bytes());
    Ok(bytes)
}

fn records(fork: &Fork) -> &[ExtentRecord] {
    ExtentRecord::slice(&fork.inline).unwrap_or_default()
}

/// The extents, in order.
pub(super) fn iter(fork: &Fork) -> impl Iterator<Item = Extent> + '_ {
    records(fork).iter().map(ExtentRecord::unpack)
}

/// Number of records that begin at or before `file`.
fn rank(fork: &Fork, file: FileBlock) -> usize {
    records(fork).partition_point(|r| r.file_block.get() <= file.0)
}

/// The last extent that begins at or before `file`.
pub(super) fn last_le(fork: &Fork, file: FileBlock) -> Option<Extent> {
    let at = rank(fork, file).checked_sub(1)?;
    records(fork).get(at).map(ExtentRecord::unpack)
}

/// The first extent that begins at or behind `file`.
pub(super) fn first_ge(fork: &Fork, file: FileBlock) -> Option<Extent> {
    let at = records(fork).partition_point(|r| r.file_block.get() < file.0);
    records(fork).get(at).map(ExtentRecord::unpack)
}

/// Where the record of `file` is, in bytes.
fn offset_of(fork: &Fork, file: FileBlock) -> Result<usize> {
    let missing = || Error::new(Errno::UCLEAN);
    let at = rank(fork, file).checked_sub(1).ok_or_else(missing)?;
    let found = records(fork).get(at).ok_or_else(missing)?;
    if found.file_block.get() != file.0 {
        return Err(missing());
    }
    Ok(at.saturating_mul(EXTENT_SIZE))
}

/// Puts a record in its place; `false` if the fork is full. May sleep.
pub(super) fn put(fork: &mut Fork, extent: &Extent) -> Result<bool> {
    if records(fork).len() >= limit(fork) {
        return Ok(false);
    }
    let record = pack(extent)?;
    let at = rank(fork, extent.file).saturating_mul(EXTENT_SIZE);
    let old = fork.inline.len();
    fork.inline.must_extend_from_slice(&record);
    if at < old {
        fork.inline.copy_within(at..old, at + EXTENT_SIZE);
    }
    write(fork, at, &record)?;
    Ok(true)
}

/// Appends a record that is the last one. May sleep.
pub(super) fn push(fork: &mut Fork, extent: &Extent) -> Result {
    let record = pack(extent)?;
    fork.inline.must_extend_from_slice(&record);
    Ok(())
}

fn write(fork: &mut Fork, at: usize, record: &[u8; EXTENT_SIZE]) -> Result {
    fork.inline
        .get_mut(at..at + EXTENT_SIZE)
        .ok_or_else(|| Error::new(Errno::UCLEAN))?
        .copy_from_slice(record);
    Ok(())
}

/// Replaces the record of `old`; the new one has the same place in the order.
pub(super) fn set(fork: &mut Fork, old: FileBlock, extent: &Extent) -> Result {
    let at = offset_of(fork, old)?;
    let record = pack(extent)?;
    write(fork, at, &record)
}

/// Replaces record number `at`; the caller sees to the order.
pub(super) fn replace(fork: &mut Fork, at: usize, extent: &Extent) -> Result {
    let record = pack(extent)?;
    write(fork, at.saturating_mul(EXTENT_SIZE), &record)
}

/// Takes the record of `file` out.
pub(super) fn del(fork: &mut Fork, file: FileBlock) -> Result {
    let at = offset_of(fork, file)?;
    let len = fork.inline.len();
    fork.inline.copy_within(at + EXTENT_SIZE.., at);
    fork.inline.truncate(len.saturating_sub(EXTENT_SIZE));
    Ok(())
}

/// Drops all records from number `keep` on.
pub(super) fn truncate(fork: &mut Fork, keep: usize) {
    fork.inline.truncate(keep.saturating_mul(EXTENT_SIZE));
}
