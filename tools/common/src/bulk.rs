// SPDX-License-Identifier: GPL-2.0

//! Builds a tree bottom-up from sorted records: how fsck rebuilds what is damaged, and how tests make
//! images.

use latchfs_engine::format::{
    header::reseal,
    limits::{MAX_TREE_DEPTH, NODE_ENTRIES},
    Attr, Block, Context, Dirent, DiskBlock, Extent, NodeEntry, Owner, TreeBlock, TreeKind,
    TreeRoot, BLOCK_SIZE,
};
use zerocopy::{
    little_endian::{U16, U64},
    IntoBytes,
};

/// A record: key and bytes.
pub type Record = (u64, Vec<u8>);

/// Where finished nodes go and blocks come from.
pub struct Sink<'a> {
    /// Of the file system.
    pub context: &'a Context,
    /// Owner of the tree.
    pub owner: Owner,
    /// Gives a free block; [`None`] if there is none.
    pub blocks: &'a mut dyn FnMut() -> Option<DiskBlock>,
    /// Writes a sealed block.
    pub write: &'a mut dyn FnMut(DiskBlock, &Block),
    /// Entries of an interior node, to make deep trees of few records.
    pub fanout: usize,
    /// Records of a leaf.
    pub leaf_records: usize,
}

/// Writes the tree of `records`, sorted by key; returns its root and the number of nodes. [`None`] if
/// there are no records, no blocks are left, or the tree would be too deep.
pub fn build(sink: &mut Sink<'_>, kind: TreeKind, records: &[Record]) -> Option<(TreeRoot, u64)> {
    let mut nodes = 0;
    let mut level = leaves(sink, kind, records)?;
    nodes += level.len() as u64;
    let mut depth = 1;
    while level.len() > 1 {
        if depth == MAX_TREE_DEPTH {
            return None;
        }
        level = interior(sink, kind, depth, &level)?;
        nodes += level.len() as u64;
        depth += 1;
    }
    let block = DiskBlock(level.first()?.child.get());
    Some((TreeRoot { block, depth }, nodes))
}

fn leaves(sink: &mut Sink<'_>, kind: TreeKind, records: &[Record]) -> Option<Vec<NodeEntry>> {
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
        })?);
    }
    Some(nodes)
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
) -> Option<Vec<NodeEntry>> {
    let fanout = sink.fanout.min(NODE_ENTRIES);
    let mut nodes = Vec::new();
    for chunk in children.chunks(fanout) {
        let low = chunk[0].key.get();
        nodes.push(emit(sink, kind, level, low, &mut |node| {
            node.count = U16::new(chunk.len() as u16);
            for (n, entry) in chunk.iter().enumerate() {
                node.body[n * 16..n * 16 + 16].copy_from_slice(entry.as_bytes());
            }
        })?);
    }
    Some(nodes)
}

fn emit(
    sink: &mut Sink<'_>,
    kind: TreeKind,
    level: u8,
    low: u64,
    fill: &mut dyn FnMut(&mut TreeBlock),
) -> Option<NodeEntry> {
    let at = (sink.blocks)()?;
    let mut block = [0; BLOCK_SIZE];
    TreeBlock::format(&mut block, sink.context, at, sink.owner, kind, level);
    fill(TreeBlock::of_mut(&mut block));
    reseal(&mut block, sink.context);
    (sink.write)(at, &block);
    Some(NodeEntry {
        key: U64::new(low),
        child: U64::new(at.0),
    })
}

/// The record of an extent; [`None`] if it is none that can be written.
pub fn extent_record(extent: &Extent) -> Option<Record> {
    Some((extent.file.0, extent.pack()?.as_bytes().to_vec()))
}

/// The record of an attribute.
pub fn attr_record(attr: &Attr<'_>) -> Record {
    let mut bytes = vec![0; attr.record_len()];
    attr.encode(&mut bytes);
    (attr.key, bytes)
}

/// The record of a directory entry; [`None`] if the name is too long.
pub fn dirent_record(entry: &Dirent<'_>) -> Option<Record> {
    let mut bytes = vec![0; entry.len()];
    entry.encode(&mut bytes)?;
    Some((entry.key, bytes))
}
