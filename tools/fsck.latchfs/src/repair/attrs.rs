// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: what can be read is written anew.

use std::collections::{BTreeMap, BTreeSet};

use latchfs_engine::format::{
    hash,
    header::reseal,
    limits::{ATTR_VALUE_BYTES, LITERAL_SIZE, MAX_ATTR_RECORD},
    xattr::{attr_hash, attrs, pack_run, ATTR_HEAD},
    Attr, AttrBlock, AttrSpace, AttrValue, BlockRange, ForkFormat, Ino, InodeSlot, Owner, TreeKind,
    TreeRoot, BLOCK_SIZE,
};
use latchfs_tool::bulk::{attr_record, Record};

use super::{Done, Surgeon};
use crate::problem::{FileId, Problem};

impl Surgeon<'_> {
    /// Drops attributes that are broken, and gives the others a fork of their own.
    pub(super) fn repair_attrs(&mut self) -> Done {
        let mut redo: BTreeMap<Ino, Vec<usize>> = BTreeMap::new();
        for (n, problem) in self.problems() {
            let ino = match problem {
                Problem::AttrBlocks { ino, found, .. } => {
                    let fits = u32::try_from(found);
                    if let Ok(found) = fits {
                        self.edit_slot(ino, |slot| slot.attr_blocks.set(found))?;
                        self.note(n, "corrected");
                    }
                    continue;
                }
                Problem::AttrHash { ino, .. }
                | Problem::AttrDuplicate { ino, .. }
                | Problem::AttrValue { ino, .. }
                | Problem::AttrAcl { ino, .. } => ino,
                Problem::NodeDamaged {
                    file: FileId::Attrs(ino),
                    ..
                }
                | Problem::NodeLevel {
                    file: FileId::Attrs(ino),
                    ..
                }
                | Problem::NodeKind {
                    file: FileId::Attrs(ino),
                    ..
                }
                | Problem::NodeKeys {
                    file: FileId::Attrs(ino),
                    ..
                } => ino,
                Problem::BlockShared {
                    file: file @ FileId::Attrs(ino),
                    range,
                } if self.c.late.contains(&(file, range)) => ino,
                _ => continue,
            };
            redo.entry(ino).or_default().push(n);
        }
        for (ino, problems) in redo {
            let Some(slot) = self.c.slot(ino) else {
                continue;
            };
            let values = self.c.readable_attrs(ino, &slot);
            if self.write_attrs(ino, &slot, values)? {
                for n in problems {
                    self.note(n, "attributes rebuilt from what can be read");
                }
            }
        }
        Ok(())
    }

    /// Writes the attributes of an inode anew. False if there is no room.
    fn write_attrs(
        &mut self,
        ino: Ino,
        slot: &InodeSlot,
        values: Vec<(AttrSpace, Vec<u8>, Vec<u8>)>,
    ) -> Done<bool> {
        let seed = self.c.sb.hash_seed.get();
        let mut next: BTreeMap<u32, u32> = BTreeMap::new();
        let mut records: Vec<Record> = Vec::new();
        let mut blocks = 0_u64;
        for (space, name, value) in &values {
            let hash = attr_hash(seed, *space, name);
            let disambiguator = next.entry(hash).or_default();
            let key = hash::key(hash, *disambiguator);
            *disambiguator += 1;
            let here = ATTR_HEAD + name.len() + value.len() <= MAX_ATTR_RECORD;
            let runs = match here {
                true => Vec::new(),
                false => {
                    let Some(runs) = self.write_value(ino, key, value)? else {
                        return Ok(false);
                    };
                    blocks += value.len().div_ceil(ATTR_VALUE_BYTES) as u64;
                    runs
                }
            };
            records.push(attr_record(&Attr {
                key,
                space: *space as u8,
                name,
                len: value.len() as u32,
                value: match here {
                    true => AttrValue::Here(value),
                    false => AttrValue::Blocks(&runs),
                },
            }));
        }
        records.sort();
        let bytes: Vec<u8> = records.iter().flat_map(|(_, b)| b.clone()).collect();
        let room = LITERAL_SIZE.saturating_sub(usize::from(slot.data_len.get())) & !7;
        let (format, root, bytes) = if records.is_empty() {
            (ForkFormat::None, TreeRoot::default(), Vec::new())
        } else if blocks == 0 && bytes.len() <= room {
            (ForkFormat::InlineAttrs, TreeRoot::default(), bytes)
        } else {
            let built = self.write_tree(ino, TreeKind::Attrs, &records)?;
            let Some((root, nodes)) = built else {
                return Ok(false);
            };
            blocks += nodes;
            (ForkFormat::AttrTree, root, Vec::new())
        };
        let before = u64::from(slot.attr_blocks.get());
        self.edit_slot(ino, |slot| {
            let data = slot.blocks.get().saturating_sub(before);
            slot.blocks.set(data + blocks);
            slot.set_attrs(format, root, blocks as u32, &bytes);
        })
    }

    /// Writes a value to free blocks; its runs, packed. [`None`] if there are not enough.
    fn write_value(&mut self, ino: Ino, key: u64, value: &[u8]) -> Done<Option<Vec<u8>>> {
        let mut runs: Vec<BlockRange> = Vec::new();
        for (index, part) in (0..).zip(value.chunks(ATTR_VALUE_BYTES)) {
            let Some(at) = self.allocate(ino.ag()) else {
                return Ok(None);
            };
            let mut block = Box::new([0; BLOCK_SIZE]);
            let owner = Owner::inode(ino);
            AttrBlock::format(&mut block, &self.c.context, at, owner, key, index, part);
            reseal(&mut block, &self.c.context);
            self.write(at, &block)?;
            match runs.last_mut() {
                Some(last) if last.end() == at => last.len += 1,
                _ => runs.push(BlockRange::new(at, 1)),
            }
        }
        Ok(runs
            .into_iter()
            .map(|run| pack_run(run).map(Vec::from))
            .collect::<Option<Vec<Vec<u8>>>>()
            .map(|runs| runs.concat()))
    }

    /// Keeps of the attribute fork of a slot what its verifier takes.
    pub(super) fn reset_attrs(&self, slot: &mut InodeSlot) {
        let geometry = self.c.context.geometry;
        if let Some(root) = slot.attr_tree() {
            if root.depth > 0 && root.verify(&geometry).is_ok() {
                let most = u32::try_from(slot.blocks.get()).unwrap_or(u32::MAX).max(1);
                let blocks = slot.attr_blocks.get().clamp(1, most);
                slot.blocks.set(slot.blocks.get().max(1));
                clear(slot);
                slot.set_attrs(ForkFormat::AttrTree, root, blocks, &[]);
                return;
            }
        }
        let mut bytes = Vec::new();
        let mut keys = BTreeSet::new();
        for attr in attrs(slot.attrs()) {
            let (_, record) = attr_record(&attr);
            let legal = Attr::verify(&record, &geometry).is_ok() && attr.runs().next().is_none();
            if legal && keys.last().is_none_or(|last| attr.key > *last) {
                keys.insert(attr.key);
                bytes.extend(record);
            }
        }
        clear(slot);
        if !bytes.is_empty() {
            slot.set_attrs(ForkFormat::InlineAttrs, TreeRoot::default(), 0, &bytes);
        }
    }
}

/// Leaves no attributes.
fn clear(slot: &mut InodeSlot) {
    (slot.attr_format, slot.attr_depth) = (0, 0);
    slot.attr_len.set(0);
    slot.attr_off.set(LITERAL_SIZE as u16);
    slot.attr_block.set(0);
    slot.attr_blocks.set(0);
}
