// SPDX-License-Identifier: GPL-2.0

//! Entries in the inode: packed, in key order. At most 320 bytes, so everything is a short scan.
//!
//! The bytes were verified when the inode was read. They change in memory only; the inode's slot is
//! written when the inode is flushed.

use core::ops::ControlFlow;

use crate::format::dirent::{
    entries,
    Dirent,
    MAX_DIRENT, //
};
use crate::sys;

/// Calls `f` with each entry from key `from` on until it breaks.
pub(super) fn scan<B>(
    bytes: &[u8],
    from: u64,
    mut f: impl FnMut(Dirent<'_>) -> ControlFlow<B>,
) -> Option<B> {
    for entry in entries(bytes).filter(|entry| entry.key >= from) {
        if let ControlFlow::Break(found) = f(entry) {
            return Some(found);
        }
    }
    None
}

/// The records as bytes.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    entries(bytes).map_while(move |entry| {
        let start = at;
        at += entry.len();
        bytes.get(start..at)
    })
}

/// Offset of the first entry with a key not below `key`, and the length of that entry; the end and
/// 0 if there is none.
fn position(bytes: &[u8], key: u64) -> (usize, usize) {
    let mut at = 0;
    for entry in entries(bytes) {
        if entry.key >= key {
            return (at, entry.len());
        }
        at += entry.len();
    }
    (at, 0)
}

/// Inserts a record. The caller has checked that it fits.
///
/// Memory is allocated without fail: other parts of the operation have changed already.
pub(super) fn insert(bytes: &mut sys::Vec<u8>, key: u64, record: &[u8]) {
    let (at, _) = position(bytes, key);
    bytes.must_extend_from_slice(record);
    if let Some(tail) = bytes.get_mut(at..) {
        tail.rotate_right(record.len().min(tail.len()));
    }
}

/// Appends an entry whose key is above all others'.
pub(super) fn append(bytes: &mut sys::Vec<u8>, entry: &Dirent<'_>) {
    let mut record = [0; MAX_DIRENT];
    if let Some(record) = entry.encode(&mut record).and_then(|len| record.get(..len)) {
        bytes.must_extend_from_slice(record);
    }
}

/// Removes the entry with this key.
pub(super) fn remove(bytes: &mut sys::Vec<u8>, key: u64) {
    let (at, len) = position(bytes, key);
    if let Some(tail) = bytes.get_mut(at..) {
        tail.rotate_left(len.min(tail.len()));
    }
    bytes.truncate(bytes.len().saturating_sub(len));
}

/// Replaces the entry with this key by one of the same length.
pub(super) fn overwrite(bytes: &mut sys::Vec<u8>, key: u64, record: &[u8]) {
    let (at, len) = position(bytes, key);
    if let Some(old) = bytes.get_mut(at..at.saturating_add(len)) {
        if old.len() == record.len() {
            old.copy_from_slice(record);
        }
    }
}
