// SPDX-License-Identifier: GPL-2.0

//! The kinds of trees there are.

use zerocopy::FromBytes;

use super::{
    Shape,
    TreeKind, //
};
use crate::format::{
    btree,
    dirent::{
        Dirent,
        MAX_DIRENT, //
    },
    extent::{
        Extent,
        ExtentRecord,
        EXTENT_SIZE, //
    },
    limits::MAX_ATTR_RECORD,
    xattr::{
        Attr,
        ATTR_HEAD, //
    },
};

/// The extents of a file, by file block.
pub struct Extents;

impl TreeKind for Extents {
    const KIND: u8 = btree::TreeKind::Extents as u8;
    const SHAPE: Shape = Shape::Fixed(EXTENT_SIZE);
    type Record<'a> = Extent;

    fn decode(bytes: &[u8]) -> Option<Extent> {
        let record = ExtentRecord::read_from_bytes(bytes).ok()?;
        Some(record.unpack())
    }
}

/// The extended attributes of an inode, by name hash and disambiguator.
pub struct Attrs;

const _: () = assert!(MAX_ATTR_RECORD == super::page::MAX_RECORD);
const _: () = assert!(ATTR_HEAD >= super::page::MIN_RECORD);

impl TreeKind for Attrs {
    const KIND: u8 = btree::TreeKind::Attrs as u8;
    const SHAPE: Shape = Shape::Slotted(Attr::measure);
    type Record<'a> = Attr<'a>;

    fn decode(bytes: &[u8]) -> Option<Attr<'_>> {
        Attr::parse(bytes).map(|(attr, _)| attr)
    }
}

/// The entries of a directory, by name hash and disambiguator.
pub struct Dirents;

const _: () = assert!(MAX_DIRENT <= super::page::MAX_RECORD);
const _: () = assert!(crate::format::dirent::DIRENT_HEAD >= super::page::MIN_RECORD);

impl TreeKind for Dirents {
    const KIND: u8 = btree::TreeKind::Dirents as u8;
    const SHAPE: Shape = Shape::Slotted(Dirent::measure);
    type Record<'a> = Dirent<'a>;

    fn decode(bytes: &[u8]) -> Option<Dirent<'_>> {
        Dirent::parse(bytes).map(|(entry, _)| entry)
    }
}
