// SPDX-License-Identifier: GPL-2.0

//! Attributes in the inode: packed, in key order. At most 320 bytes, so everything is a short scan.

use crate::{
    engine::{
        error::Result,
        extents::reserve,
        inode::InodeInner, //
    },
    format::{
        dirent::FileType,
        extent::EXTENT_SIZE,
        inode::ForkFormat,
        limits::LITERAL_SIZE,
        xattr::{attrs, Attr},
    },
    sys,
};
use core::ops::ControlFlow;

/// What attributes leave to the data fork of a file or directory at least: four extents, two or
/// three names. A fork that is less than that becomes a tree too easily.
const DATA_MIN: usize = 64;

/// Calls `f` with each attribute from key `from` on until it breaks.
pub(super) fn scan<B>(
    bytes: &[u8],
    from: u64,
    mut f: impl FnMut(Attr<'_>) -> ControlFlow<B>,
) -> Option<B> {
    for attr in attrs(bytes).filter(|attr| attr.key >= from) {
        if let ControlFlow::Break(found) = f(attr) {
            return Some(found);
        }
    }
    None
}

/// The records as bytes.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    attrs(bytes).map_while(move |attr| {
        let start = at;
        at += attr.record_len();
        bytes.get(start..at)
    })
}

/// Bytes of the literal area that attributes may take now.
pub(super) fn room(inner: &InodeInner) -> usize {
    let data = &inner.data;
    let used = if data.format.is_tree() {
        0
    } else {
        data.inline.len()
    };
    let keep = match inner.core.ftype() {
        Some(FileType::Regular | FileType::Directory) => used.max(DATA_MIN),
        _ => used,
    };
    // Writes that are under way count on their records' being inline, and have no blocks for a
    // tree: what they need is not taken.
    let promised = if data.format == ForkFormat::InlineExtents {
        let records = reserve::records(&inner.index.counts());
        let after = usize::try_from(records)
            .unwrap_or(usize::MAX)
            .saturating_mul(EXTENT_SIZE)
            .saturating_add(used);
        if after <= usize::from(data.limit) {
            after
        } else {
            0
        }
    } else {
        0
    };
    let free = LITERAL_SIZE.saturating_sub(keep.max(promised));
    free - free % 8
}

/// The records with that of `key` replaced, or added, or left out without a `record`. ENOMEM.
pub(super) fn edited(bytes: &[u8], key: u64, record: &[u8]) -> Result<sys::Vec<u8>> {
    let mut out = sys::Vec::new();
    out.try_reserve(bytes.len().saturating_add(record.len()))?;
    let mut pending = record;
    for (attr, old) in attrs(bytes).zip(records(bytes)) {
        if attr.key >= key {
            out.must_extend_from_slice(core::mem::take(&mut pending));
        }
        if attr.key != key {
            out.must_extend_from_slice(old);
        }
    }
    out.must_extend_from_slice(pending);
    Ok(out)
}

/// Appends an attribute whose key is above all others'. There is memory for it.
pub(super) fn append(out: &mut sys::Vec<u8>, attr: &Attr<'_>) {
    out.must_extend_from_slice(&attr.head());
    out.must_extend_from_slice(attr.name);
    out.must_extend_from_slice(attr.payload());
}
