// SPDX-License-Identifier: GPL-2.0

//! What the commands show. Field names are those of Documentation/format.rst, and those of the JSON.

use serde::Serialize;

/// A remembered error.
#[derive(Debug, Serialize)]
pub struct ErrorRecord {
    pub time: String,
    pub ino: u64,
    pub block: u64,
    pub code: u32,
    pub errno: u32,
}

/// The superblock.
#[derive(Debug, Serialize)]
pub struct Super {
    pub version: u16,
    pub format_rev: u16,
    pub uuid: String,
    pub label: String,
    pub instance: String,
    pub hash_seed: String,
    pub block_size: u32,
    pub block_count: u64,
    pub ag_blocks: u32,
    pub ag_count: u32,
    pub compat: u64,
    pub ro_compat: u64,
    pub incompat: u64,
    pub root_ino: u64,
    pub log_start: u64,
    pub log_blocks: u32,
    pub state: Vec<&'static str>,
    pub free_blocks: u64,
    pub inodes: u64,
    pub free_inodes: u64,
    pub orphans: u64,
    pub created: String,
    pub mounted: String,
    pub written: String,
    pub checked: String,
    pub mount_count: u32,
    pub error_count: u32,
    pub first_error: Option<ErrorRecord>,
    pub last_error: Option<ErrorRecord>,
    pub lsn: u64,
}

/// An allocation group in short.
#[derive(Debug, Serialize)]
pub struct GroupLine {
    pub ag: u32,
    pub start: u64,
    pub length: u32,
    pub free: u64,
    pub inodes: u32,
    pub free_inodes: u32,
    pub orphans: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

/// A bitmap block.
#[derive(Debug, Serialize)]
pub struct Bitmap {
    pub index: u32,
    pub block: u64,
    pub written: bool,
    pub free: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

/// A block of an inode map.
#[derive(Debug, Serialize)]
pub struct Map {
    pub index: u32,
    pub block: u64,
    pub present: u16,
    pub free: u16,
    pub orphans: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

/// An extent.
#[derive(Debug, Serialize)]
pub struct Extent {
    pub file_block: u64,
    pub start: u64,
    pub len: u32,
    pub unwritten: bool,
}

/// An allocation group in full.
#[derive(Debug, Serialize)]
pub struct Group {
    #[serde(flatten)]
    pub line: GroupLine,
    pub header: u64,
    pub lsn: u64,
    pub bitmap_start: u32,
    pub bitmap_count: u32,
    pub bitmap_init: u32,
    pub map_blocks: u32,
    pub inode_file: Vec<Extent>,
    pub inode_map: Vec<Extent>,
    pub bitmaps: Vec<Bitmap>,
    pub maps: Vec<Map>,
}

/// A directory entry.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub key: u64,
    pub hash: String,
    pub disambiguator: u32,
    pub ino: u64,
    #[serde(rename = "type")]
    pub ftype: String,
    pub name: String,
}

/// An extended attribute.
#[derive(Debug, Serialize)]
pub struct Attribute {
    pub name: String,
    pub len: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<String>>,
}

/// An inode as it is on disk.
#[derive(Debug, Serialize)]
pub struct Inode {
    pub ino: u64,
    pub block: u64,
    pub offset: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
    pub lsn: u64,
    pub generation: u32,
    pub mode: String,
    #[serde(rename = "type")]
    pub ftype: String,
    pub uid: u32,
    pub gid: u32,
    pub projid: u32,
    pub nlink: u32,
    pub size: u64,
    pub blocks: u64,
    pub atime: String,
    pub mtime: String,
    pub ctime: String,
    pub btime: String,
    pub version: u64,
    pub flags: Vec<String>,
    pub rdev: u32,
    pub data_format: String,
    pub data_len: u16,
    pub data_depth: u8,
    pub attr_format: String,
    pub attr_len: u16,
    pub attr_off: u16,
    pub attr_depth: u8,
    pub attr_blocks: u32,
    pub parent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attr_block: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extents: Vec<Extent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A node of a tree.
#[derive(Debug, Serialize)]
pub struct Node {
    pub block: u64,
    pub level: u8,
    pub kind: String,
    pub lsn: u64,
    pub count: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap_start: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap_free: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extents: Vec<Extent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// An entry of an interior node.
#[derive(Debug, Serialize)]
pub struct Child {
    pub key: u64,
    pub child: u64,
}

/// A tree.
#[derive(Debug, Serialize)]
pub struct Tree {
    pub owner: String,
    pub depth: u8,
    pub nodes: Vec<Node>,
}

/// What a block is.
#[derive(Debug, Serialize)]
pub struct Block {
    pub block: u64,
    pub ag: u32,
    pub ag_block: u32,
    pub is_static: bool,
    pub used: Option<bool>,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

/// What stat(2) would say.
#[derive(Debug, Serialize)]
pub struct Stat {
    pub ino: u64,
    #[serde(rename = "type")]
    pub ftype: String,
    pub mode: String,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// In units of 512 bytes, as stat(2) has it.
    pub blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub atime: String,
    pub mtime: String,
    pub ctime: String,
    pub btime: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

/// A line of a directory listing.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    #[serde(flatten)]
    pub stat: Stat,
}

/// A directory listing.
#[derive(Debug, Serialize)]
pub struct Listing {
    pub path: String,
    pub entries: Vec<Line>,
}

/// The log.
#[derive(Debug, Serialize)]
pub struct Log {
    pub start: u64,
    pub blocks: u32,
    pub lower_bound: u64,
    pub epoch: u32,
    pub tail: u64,
    pub head: u64,
    pub head_block: u64,
    pub head_index: u32,
    pub clean: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
    pub checkpoints: Vec<Checkpoint>,
}

/// A checkpoint in the log.
#[derive(Debug, Serialize)]
pub struct Checkpoint {
    pub lsn: u64,
    pub block: u64,
    pub blocks: u32,
    pub epoch: u32,
    pub replayed: bool,
    pub seq: Option<u64>,
    pub tail: Option<u64>,
    pub time: Option<String>,
    pub free_blocks: Option<u64>,
    pub inodes: Option<u64>,
    pub free_inodes: Option<u64>,
    pub orphans: Option<u64>,
    pub records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<Vec<LogRecord>>,
}

/// A record of a checkpoint.
#[derive(Debug, Serialize)]
pub struct LogRecord {
    pub kind: &'static str,
    pub block: Option<u64>,
    pub ino: Option<u64>,
    pub what: String,
}
