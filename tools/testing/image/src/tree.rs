// SPDX-License-Identifier: GPL-2.0

//! Builds a tree bottom-up from sorted records.

use latchfs_engine::format::{
    header::reseal, limits::NODE_ENTRIES, Block, BlockRange, Context, Dirent, DiskBlock,
    ExtentRecord, NodeEntry, Owner, TreeBlock, TreeKind, TreeRoot, BLOCK_SIZE,
};
use zerocopy::{
    little_endian::{U16, U64},
    IntoBytes,
};

/// A record: key and bytes.
pub(crate) type Record = (u64, Vec<u8>);

/// Where finished nodes go and blocks come from.
pub(crate) struct Sink<'a> {
    pub context: &'a Context,
    pub owner: Owner,
    pub blocks: &'a mut dyn FnMut() -> BlockRange,
    pub write: &'a mut dyn FnMut(DiskBlock, &Block),
    /// Entries of an interior node, to make deep trees of few records.
    pub fanout: usize,
    /// Records of a leaf.
    pub leaf_records: usize,
}

/// Writes the tree; returns its root and the number of nodes.
pub(crate) fn build(sink: &mut Sink<'_>, kind: TreeKind, records: &[Record]) -> (TreeRoot, u64) {
    let mut nodes = 0;
    let mut level = leaves(sink, kind, records);
    nodes += level.len() as u64;
    let mut depth = 1;
    while level.len() > 1 {
        level = interior(sink, kind, depth, &level);
        nodes += level.len() as u64;
        depth += 1;
    }
    let block = DiskBlock(level[0].child.get());
    (TreeRoot { block, depth }, nodes)
}

fn leaves(sink: &mut Sink<'_>, kind: TreeKind, records: &[Record]) -> Vec<NodeEntry> {
    let mut nodes = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut room = BLOCK_SIZE - 64;
        let fits = rest
            .iter()
            .take(sink.leaf_records)
            .take_while(|(_, bytes)| {
                let cost = bytes.len() + if kind.is_slotted() { 2 } else { 0 };
                let ok = cost <= room;
                room -= cost.min(room);
                ok
            })
            .count();
        let (here, next) = rest.split_at(fits);
        rest = next;

        // The leftmost node begins at 0 whatever its first key is.
        let low = if nodes.is_empty() { 0 } else { here[0].0 };
        nodes.push(emit(sink, kind, 0, low, &mut |node| {
            fill_leaf(node, kind, here)
        }));
    }
    nodes
}

fn fill_leaf(node: &mut TreeBlock, kind: TreeKind, records: &[Record]) {
    node.count = U16::new(records.len() as u16);
    if !kind.is_slotted() {
        for (n, (_, bytes)) in records.iter().enumerate() {
            node.body[n * 16..n * 16 + 16].copy_from_slice(bytes);
        }
        return;
    }
    let mut heap = BLOCK_SIZE;
    for (n, (_, bytes)) in records.iter().enumerate() {
        heap -= bytes.len();
        node.body[heap - 64..heap - 64 + bytes.len()].copy_from_slice(bytes);
        node.body[n * 2..n * 2 + 2].copy_from_slice(&(heap as u16).to_le_bytes());
    }
    node.heap_start = U16::new(heap as u16);
}

fn interior(
    sink: &mut Sink<'_>,
    kind: TreeKind,
    level: u8,
    children: &[NodeEntry],
) -> Vec<NodeEntry> {
    let fanout = sink.fanout.min(NODE_ENTRIES);
    let mut nodes = Vec::new();
    for chunk in children.chunks(fanout) {
        let low = chunk[0].key.get();
        nodes.push(emit(sink, kind, level, low, &mut |node| {
            node.count = U16::new(chunk.len() as u16);
            for (n, entry) in chunk.iter().enumerate() {
                node.body[n * 16..n * 16 + 16].copy_from_slice(entry.as_bytes());
            }
        }));
    }
    nodes
}

fn emit(
    sink: &mut Sink<'_>,
    kind: TreeKind,
    level: u8,
    low: u64,
    fill: &mut dyn FnMut(&mut TreeBlock),
) -> NodeEntry {
    let at = (sink.blocks)().start;
    let mut block = [0; BLOCK_SIZE];
    TreeBlock::format(&mut block, sink.context, at, sink.owner, kind, level);
    fill(TreeBlock::of_mut(&mut block));
    reseal(&mut block, sink.context);
    (sink.write)(at, &block);
    NodeEntry {
        key: U64::new(low),
        child: U64::new(at.0),
    }
}

/// The record of an extent.
pub(crate) fn extent_record(record: &ExtentRecord) -> Record {
    (record.file_block.get(), record.as_bytes().to_vec())
}

/// The record of a directory entry.
pub(crate) fn dirent_record(entry: &Dirent<'_>) -> Record {
    let mut bytes = vec![0; entry.len()];
    entry.encode(&mut bytes).expect("the name is too long");
    (entry.key, bytes)
}
