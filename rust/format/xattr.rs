// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! An attribute is a record: name space, name, value. The same bytes stand in the literal area of
//! an inode with few attributes and in the leaves of the attribute tree of one with many, in the
//! order of their keys. A value that does not fit in a record is in blocks of its own
//! ([`value`]), of which the record has a list.
//!
//!   0 key u64 | 8 length of the value u32 | 12 name space u8 | 13 length of the name u8 |
//!   14 number of runs u8 | 15 zero | 16 name | value, or runs of 8 bytes
//!
//! * [`fork`]: the attribute fork of an inode slot;
//! * [`value`]: blocks of a large value.

pub mod fork;
pub mod value;

use super::{
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    hash::{key_is_legal, name_hash},
    limits::{MAX_ATTR_NAME, MAX_ATTR_RECORD, MAX_ATTR_VALUE},
    units::{BlockRange, DiskBlock},
};
use value::{value_blocks, MAX_VALUE_BLOCKS};

/// Bytes of a record before its name.
pub const ATTR_HEAD: usize = 16;
/// Bytes of a run of value blocks in a record.
pub const RUN_SIZE: usize = 8;
/// Bits of a run that are its first block; its length is above them.
const RUN_BLOCK_BITS: u32 = 48;

/// Name space of an attribute. Those of POSIX ACLs have one attribute each, whose name is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AttrSpace {
    /// `user.`: for everybody.
    User = 1,
    /// `trusted.`: for the administrator.
    Trusted = 2,
    /// `security.`: labels, file capabilities.
    Security = 3,
    /// `system.posix_acl_access`: who may access the inode.
    AclAccess = 4,
    /// `system.posix_acl_default`: what new entries of a directory get.
    AclDefault = 5,
}

impl AttrSpace {
    /// All of them.
    pub const ALL: [Self; 5] = [
        AttrSpace::User,
        AttrSpace::Trusted,
        AttrSpace::Security,
        AttrSpace::AclAccess,
        AttrSpace::AclDefault,
    ];

    /// The name space with this number.
    pub const fn from_disk(space: u8) -> Option<Self> {
        Some(match space {
            1 => AttrSpace::User,
            2 => AttrSpace::Trusted,
            3 => AttrSpace::Security,
            4 => AttrSpace::AclAccess,
            5 => AttrSpace::AclDefault,
            _ => return None,
        })
    }

    /// What xattr(7) has before the name; of an ACL, all of it.
    pub const fn prefix(self) -> &'static str {
        match self {
            AttrSpace::User => "user.",
            AttrSpace::Trusted => "trusted.",
            AttrSpace::Security => "security.",
            AttrSpace::AclAccess => "system.posix_acl_access",
            AttrSpace::AclDefault => "system.posix_acl_default",
        }
    }

    /// Whether the name space has a single attribute without a name.
    pub const fn is_acl(self) -> bool {
        matches!(self, AttrSpace::AclAccess | AttrSpace::AclDefault)
    }

    /// Whether an attribute of the name space can have this name: with its prefix it has at most
    /// 255 bytes, none of them NUL; that of an ACL is empty, the others are not.
    pub fn name_is_legal(self, name: &[u8]) -> bool {
        if self.is_acl() {
            return name.is_empty();
        }
        let whole = name.len().saturating_add(self.prefix().len());
        !name.is_empty() && whole <= MAX_ATTR_NAME && !name.contains(&0)
    }
}

/// Hash of an attribute's name, in the upper half of its key. Seeded like that of directories, by
/// name space: no name is built for it.
pub fn attr_hash(seed: u64, space: AttrSpace, name: &[u8]) -> u32 {
    name_hash(seed.wrapping_add(space as u64), name)
}

/// Where the value of an attribute is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrValue<'a> {
    /// In the record.
    Here(&'a [u8]),
    /// In blocks: packed runs.
    Blocks(&'a [u8]),
}

/// An attribute; name and value are where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Hash and disambiguator, see [`super::hash`].
    pub key: u64,
    /// [`AttrSpace`] as stored.
    pub space: u8,
    /// The name without its prefix.
    pub name: &'a [u8],
    /// Bytes of the value.
    pub len: u32,
    /// The value.
    pub value: AttrValue<'a>,
}

impl<'a> Attr<'a> {
    /// The record at the start of `bytes` and what follows it; [`None`] if it is cut off. Values
    /// are not checked.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (key, rest) = bytes.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let ([space, name_len, runs, _], rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(usize::from(*name_len))?;
        let len = u32::from_le_bytes(*len);
        let here = *runs == 0;
        let bytes = if here {
            usize::try_from(len).ok()?
        } else {
            usize::from(*runs).saturating_mul(RUN_SIZE)
        };
        let (value, rest) = rest.split_at_checked(bytes)?;
        let attr = Self {
            key: u64::from_le_bytes(*key),
            space: *space,
            name,
            len,
            value: if here {
                AttrValue::Here(value)
            } else {
                AttrValue::Blocks(value)
            },
        };
        Some((attr, rest))
    }

    /// What is behind the name: the value, or the runs.
    pub const fn payload(&self) -> &'a [u8] {
        match self.value {
            AttrValue::Here(bytes) | AttrValue::Blocks(bytes) => bytes,
        }
    }

    /// Number of runs of value blocks.
    const fn run_count(&self) -> usize {
        match self.value {
            AttrValue::Here(_) => 0,
            AttrValue::Blocks(bytes) => bytes.len() / RUN_SIZE,
        }
    }

    /// Bytes of the record.
    pub const fn record_len(&self) -> usize {
        ATTR_HEAD
            .saturating_add(self.name.len())
            .saturating_add(self.payload().len())
    }

    /// Whether it is the attribute of this name.
    pub fn is(&self, space: AttrSpace, name: &[u8]) -> bool {
        self.space == space as u8 && self.name == name
    }

    /// The name space, if there is one of this number.
    pub const fn space(&self) -> Option<AttrSpace> {
        AttrSpace::from_disk(self.space)
    }

    /// The runs of blocks that have the value, in order; none if it is in the record.
    pub fn runs(&self) -> impl Iterator<Item = BlockRange> + 'a {
        let bytes = match self.value {
            AttrValue::Here(_) => &[],
            AttrValue::Blocks(bytes) => bytes,
        };
        let (runs, _) = bytes.as_chunks::<RUN_SIZE>();
        runs.iter().map(|run| unpack_run(*run))
    }

    /// What is before the name. Names of more than 255 bytes and values of more than 255 runs are
    /// not legal.
    pub fn head(&self) -> [u8; ATTR_HEAD] {
        let mut head = [0; ATTR_HEAD];
        let bytes = self
            .key
            .to_le_bytes()
            .into_iter()
            .chain(self.len.to_le_bytes())
            .chain([self.space, self.name.len() as u8, self.run_count() as u8]);
        for (to, from) in head.iter_mut().zip(bytes) {
            *to = from;
        }
        head
    }

    /// Writes the record to the start of `out` and returns its length; [`None`], and nothing
    /// written, if there is no room.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..self.record_len())?;
        let (head, body) = out.split_first_chunk_mut::<ATTR_HEAD>()?;
        let (name, payload) = body.split_at_mut_checked(self.name.len())?;
        *head = self.head();
        name.copy_from_slice(self.name);
        let from = self.payload();
        payload.get_mut(..from.len())?.copy_from_slice(from);
        Some(self.record_len())
    }

    /// Length of the record at the start of `bytes`; [`None`] if it is cut off.
    pub fn measure(bytes: &[u8]) -> Option<usize> {
        Attr::parse(bytes).map(|(attr, _)| attr.record_len())
    }

    /// Checks the record at the start of `bytes`; returns it. Whether the hash in the key is that
    /// of the name is for fsck.
    pub fn verify(bytes: &'a [u8], geometry: &Geometry) -> Result<Self, Defect> {
        use DefectKind::{Mismatch, Range};

        let (attr, _) = Attr::parse(bytes).ok_or(Defect::new("attr.length", Range))?;
        ensure(key_is_legal(attr.key), "attr.key", Range)?;
        let space = attr.space().ok_or(Defect::new("attr.space", Range))?;
        ensure(space.name_is_legal(attr.name), "attr.name", Range)?;
        ensure(bytes.get(15) == Some(&0), "attr.spare", Range)?;
        ensure(attr.len <= MAX_ATTR_VALUE, "attr.value_len", Range)?;
        ensure(
            attr.record_len() <= MAX_ATTR_RECORD,
            "attr.value_len",
            Range,
        )?;
        if let AttrValue::Blocks(_) = attr.value {
            ensure(
                attr.run_count() <= MAX_VALUE_BLOCKS as usize,
                "attr.runs",
                Range,
            )?;
            let mut blocks = 0_u32;
            for run in attr.runs() {
                geometry.check_range(run, "attr.run")?;
                blocks = blocks.saturating_add(run.len);
            }
            ensure(blocks == value_blocks(attr.len), "attr.runs", Mismatch)?;
        }
        Ok(attr)
    }
}

/// A run of value blocks as a record has it; [`None`] if it does not fit.
pub fn pack_run(run: BlockRange) -> Option<[u8; RUN_SIZE]> {
    let len = u16::try_from(run.len).ok()?;
    if run.start.0 >> RUN_BLOCK_BITS != 0 {
        return None;
    }
    Some((run.start.0 | u64::from(len) << RUN_BLOCK_BITS).to_le_bytes())
}

/// The run that these bytes of a record are.
pub fn unpack_run(bytes: [u8; RUN_SIZE]) -> BlockRange {
    let packed = u64::from_le_bytes(bytes);
    let start = packed & ((1 << RUN_BLOCK_BITS) - 1);
    BlockRange::new(DiskBlock(start), (packed >> RUN_BLOCK_BITS) as u32)
}

/// The records packed in `bytes`, as in the literal area of an inode. Ends at the first one that is
/// cut off.
pub fn attrs(bytes: &[u8]) -> impl Iterator<Item = Attr<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (attr, next) = Attr::parse(rest)?;
        rest = next;
        Some(attr)
    })
}

/// Checks packed records: each by itself, ascending keys, nothing left over, all values here.
pub fn verify_attrs(bytes: &[u8], geometry: &Geometry) -> Result<(), Defect> {
    let mut rest = bytes;
    let mut last = None;
    while !rest.is_empty() {
        let attr = Attr::verify(rest, geometry)?;
        ensure(
            last.is_none_or(|last| attr.key > last),
            "attr.key",
            DefectKind::Order,
        )?;
        ensure(
            matches!(attr.value, AttrValue::Here(_)),
            "attr.runs",
            DefectKind::Range,
        )?;
        last = Some(attr.key);
        rest = rest.get(attr.record_len()..).unwrap_or(&[]);
    }
    Ok(())
}
