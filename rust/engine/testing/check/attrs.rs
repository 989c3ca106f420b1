// SPDX-License-Identifier: GPL-2.0

//! Extended attributes of an inode on the device.

use super::{Check, Checker};
use crate::format::{
    btree::TreeKind,
    hash::key_hash,
    header::{BlockKind, Owner},
    inode::InodeSlot,
    units::{BlockRange, DiskBlock, Ino},
    xattr::{attr_hash, attrs, value::AttrBlock, Attr, AttrSpace, AttrValue},
};
use std::{collections::BTreeMap, vec::Vec};

/// Attributes by name space and name.
pub(crate) type Values = BTreeMap<(AttrSpace, Vec<u8>), Vec<u8>>;

/// A record, out of its leaf.
struct Record {
    key: u64,
    space: AttrSpace,
    name: Vec<u8>,
    len: u32,
    here: Option<Vec<u8>>,
    runs: Vec<BlockRange>,
}

fn record(ino: u64, attr: &Attr<'_>, seed: u64, forced: bool) -> Check<Record> {
    let space = attr.space().ok_or("space")?;
    if !forced && key_hash(attr.key) != attr_hash(seed, space, attr.name) {
        return Err(format!("inode {ino}: hash of attribute {:?}", attr.name));
    }
    Ok(Record {
        key: attr.key,
        space,
        name: attr.name.to_vec(),
        len: attr.len,
        here: match attr.value {
            AttrValue::Here(value) => Some(value.to_vec()),
            AttrValue::Blocks(_) => None,
        },
        runs: attr.runs().collect(),
    })
}

impl Checker<'_> {
    /// Reads all attributes; returns the number of blocks they take.
    pub(super) fn attributes(&mut self, ino: u64, slot: &InodeSlot, seed: u64) -> Check<u64> {
        let owner = Owner::inode(Ino(ino));
        let forced = crate::engine::xattr::tests_force_hashes();
        let mut records = Vec::new();
        let mut blocks = 0;
        match slot.attr_tree() {
            Some(root) => {
                blocks += self.tree(
                    root.block,
                    root.depth,
                    TreeKind::Attrs,
                    owner,
                    &mut |leaf| {
                        for n in 0..leaf.count() {
                            let attr = leaf.attr(n).ok_or("attribute")?;
                            records.push(record(ino, &attr, seed, forced)?);
                        }
                        Ok(())
                    },
                )?;
            }
            None => {
                for attr in attrs(slot.attrs()) {
                    records.push(record(ino, &attr, seed, forced)?);
                }
            }
        }
        let mut values = Values::new();
        let mut last = 0;
        for record in records {
            if record.key <= last {
                return Err(format!("inode {ino}: attributes out of order"));
            }
            last = record.key;
            let value = match record.here {
                Some(value) => value,
                None => {
                    let mut value = Vec::new();
                    let mut index = 0;
                    for run in &record.runs {
                        self.take(*run, "a value")?;
                        blocks += u64::from(run.len);
                        for n in 0..u64::from(run.len) {
                            let at = DiskBlock(run.start.0 + n);
                            let block = self.read(at, BlockKind::AttrValue, owner)?;
                            let part = AttrBlock::of(&block)
                                .part(record.key, index, record.len)
                                .ok_or_else(|| format!("block {at}: not part {index}"))?;
                            value.extend_from_slice(part);
                            index += 1;
                        }
                    }
                    value
                }
            };
            if value.len() != record.len as usize {
                return Err(format!("inode {ino}: length of an attribute"));
            }
            if values.insert((record.space, record.name), value).is_some() {
                return Err(format!("inode {ino}: an attribute twice"));
            }
        }
        if u64::from(slot.attr_blocks.get()) != blocks {
            return Err(format!(
                "inode {ino}: {} blocks of attributes, found {blocks}",
                slot.attr_blocks.get()
            ));
        }
        self.sum.attrs.insert(ino, values);
        Ok(blocks)
    }
}
