// SPDX-License-Identifier: GPL-2.0

//! Attributes of the builder's inodes.

use std::collections::BTreeMap;

use latchfs_engine::format::{
    hash,
    header::reseal,
    limits::{ATTR_VALUE_BYTES, MAX_ATTR_RECORD},
    xattr::{attr_hash, pack_run, value::value_blocks, ATTR_HEAD},
    AgNumber, Attr, AttrBlock, AttrSpace, AttrValue, Block, Context, DiskBlock, ForkFormat,
    InodeSlot, Owner, TreeKind, TreeRoot, BLOCK_SIZE,
};
use latchfs_tool::bulk::{attr_record, build, Record, Sink};
use zerocopy::little_endian::U64;

use crate::builder::Builder;

/// Name space, name without prefix, value.
pub type Attribute = (AttrSpace, Vec<u8>, Vec<u8>);

/// Bytes of records up to which they stand in the inode.
const INLINE: usize = 128;

impl Builder {
    /// Gives a slot its attributes; before the data fork, which gets what is left. Returns the number
    /// of blocks they take.
    pub(crate) fn write_attrs(
        &mut self,
        context: &Context,
        attrs: &[Attribute],
        slot: &mut InodeSlot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) -> u64 {
        if attrs.is_empty() {
            return 0;
        }
        let ino = latchfs_engine::format::Ino(slot.ino.get());
        let (ag, owner) = (ino.ag(), Owner::inode(ino));
        let mut next: BTreeMap<u32, u32> = BTreeMap::new();
        let mut records: Vec<Record> = Vec::new();
        let mut blocks = 0;
        for (space, name, value) in attrs {
            let hash = attr_hash(self.hash_seed, *space, name);
            let disambiguator = next.entry(hash).or_default();
            let key = hash::key(hash, *disambiguator);
            *disambiguator += 1;
            let mut runs = Vec::new();
            let here = ATTR_HEAD + name.len() + value.len() <= MAX_ATTR_RECORD;
            if !here {
                runs = self.write_value(context, ag, owner, key, value, store);
                blocks += u64::from(value_blocks(value.len() as u32));
            }
            let attr = Attr {
                key,
                space: *space as u8,
                name,
                len: value.len() as u32,
                value: match here {
                    true => AttrValue::Here(value),
                    false => AttrValue::Blocks(&runs),
                },
            };
            records.push(attr_record(&attr));
        }
        records.sort();
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        if bytes.len() <= INLINE && blocks == 0 {
            assert!(slot.set_attrs(ForkFormat::InlineAttrs, TreeRoot::default(), 0, &bytes));
            return 0;
        }
        let (fanout, leaf_records) = (self.fanout.max(2), self.leaf_records.max(1));
        let mut sink = Sink {
            context,
            owner,
            blocks: &mut || Some(self.take_blocks(ag, 1).start),
            write: store,
            fanout,
            leaf_records,
        };
        let (root, nodes) = build(&mut sink, TreeKind::Attrs, &records).expect("there is room");
        blocks += nodes;
        assert!(slot.set_attrs(ForkFormat::AttrTree, root, blocks as u32, &[]));
        blocks
    }

    /// Writes a value into two runs of blocks; returns them packed.
    fn write_value(
        &mut self,
        context: &Context,
        ag: AgNumber,
        owner: Owner,
        key: u64,
        value: &[u8],
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) -> Vec<u8> {
        let count = value_blocks(value.len() as u32);
        let second = self.take_blocks(ag, count / 2);
        let first = self.take_blocks(ag, count - count / 2);
        let runs = [first, second];
        let blocks: Vec<DiskBlock> = runs
            .iter()
            .flat_map(|run| (0..u64::from(run.len)).map(|n| run.start.saturating_add(n)))
            .collect();
        let parts = value.chunks(ATTR_VALUE_BYTES);
        for ((index, part), at) in (0..).zip(parts).zip(blocks) {
            let mut block = [0; BLOCK_SIZE];
            AttrBlock::format(&mut block, context, at, owner, key, index, part);
            reseal(&mut block, context);
            store(at, &block);
        }
        let used = runs.iter().filter(|run| !run.is_empty());
        used.flat_map(|run| pack_run(*run).expect("a legal run"))
            .collect()
    }
}

/// Counts the blocks of attributes in.
pub(crate) fn add_blocks(slot: &mut InodeSlot, attrs: u64) {
    slot.blocks = U64::new(slot.blocks.get() + attrs);
}
