// SPDX-License-Identifier: GPL-2.0

//! Extended attributes of an unmounted file system.

use latchfs_engine::format::{
    xattr::attrs, Attr, AttrBlock, AttrValue, BlockKind, BlockRange, ForkFormat, Ino, InodeSlot,
    Owner,
};

use crate::{volume::Volume, Failure};

/// An attribute as it is on disk.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Key of its record.
    pub key: u64,
    /// Number of its name space.
    pub space: u8,
    /// Name without its prefix.
    pub name: Vec<u8>,
    /// Bytes of its value.
    pub len: u32,
    /// The value, if it is in the record.
    pub here: Option<Vec<u8>>,
    /// The blocks of the value, if it is not.
    pub runs: Vec<BlockRange>,
}

impl Attribute {
    /// The attribute of a record.
    pub fn of(attr: &Attr<'_>) -> Self {
        Self {
            key: attr.key,
            space: attr.space,
            name: attr.name.to_vec(),
            len: attr.len,
            here: match attr.value {
                AttrValue::Here(value) => Some(value.to_vec()),
                AttrValue::Blocks(_) => None,
            },
            runs: attr.runs().collect(),
        }
    }

    /// The whole name, as xattr(7) has it.
    pub fn full_name(&self) -> Vec<u8> {
        let space = latchfs_engine::format::AttrSpace::from_disk(self.space);
        let mut name = match space {
            Some(space) => space.prefix().as_bytes().to_vec(),
            None => format!("{}.", self.space).into_bytes(),
        };
        name.extend_from_slice(&self.name);
        name
    }
}

impl Volume {
    /// The attributes of an inode, in key order.
    pub fn attributes(&self, ino: Ino, slot: &InodeSlot) -> Result<Vec<Attribute>, Failure> {
        let mut found = Vec::new();
        match (slot.attr_format(), slot.attr_tree()) {
            (Some(ForkFormat::AttrTree), Some(root)) => {
                self.walk(root, Owner::inode(ino), &mut |node| {
                    if node.defect.is_none() && node.node.level == 0 {
                        let all = (0..node.node.count()).filter_map(|n| node.node.attr(n));
                        found.extend(all.map(|attr| Attribute::of(&attr)));
                    }
                })?;
            }
            _ => found.extend(attrs(slot.attrs()).map(|attr| Attribute::of(&attr))),
        }
        Ok(found)
    }

    /// The value of an attribute.
    pub fn attribute_value(&self, ino: Ino, attr: &Attribute) -> Result<Vec<u8>, Failure> {
        if let Some(value) = &attr.here {
            return Ok(value.clone());
        }
        let mut value = Vec::new();
        let blocks = attr
            .runs
            .iter()
            .flat_map(|run| (0..u64::from(run.len)).map(|n| run.start.saturating_add(n)));
        for (index, at) in (0..).zip(blocks) {
            let block = self.block(at)?;
            let bad = |what: &str| Failure::new(format!("block {at}: {what}"));
            if let Some(defect) = self.verify(&block, BlockKind::AttrValue, at, Owner::inode(ino)) {
                return Err(bad(&defect.to_string()));
            }
            let part = AttrBlock::of(&block).part(attr.key, index, attr.len);
            value.extend_from_slice(part.ok_or_else(|| bad("another part of a value"))?);
        }
        Ok(value)
    }
}
