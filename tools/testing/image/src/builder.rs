// SPDX-License-Identifier: GPL-2.0

//! The builder: what files there shall be, then one pass that writes them.

use std::collections::BTreeMap;

use latchfs_engine::format::{
    dirent::FileType,
    hash,
    header::reseal,
    limits::{BITMAP_BITS, MAP_CHUNKS, SYMLINK_BYTES},
    make::{make, MakeParams, ROOT_INO},
    units::{CHUNK_INODES, INODES_PER_BLOCK},
    AgHeader, AgNumber, AttrSpace, BitmapBlock, Block, BlockRange, Context, Dirent, DiskBlock,
    Extent, FileBlock, FileRoot, ForkFormat, Geometry, Ino, InodeSlot, Lsn, MapBlock, Owner,
    Superblock, SymlinkBlock, TreeKind, BLOCK_SIZE,
};
use latchfs_host::{Block as Buf, Device};
use latchfs_tool::bulk::{build, dirent_record, extent_record, Record, Sink};
use zerocopy::{
    little_endian::{I64, U16, U32, U64},
    IntoBytes,
};

use crate::attrs::{self, Attribute};
use crate::edit::Image;
use crate::place::Group;

/// What an inode holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// A regular file: runs of (first file block, blocks, unwritten), and the size in bytes.
    File(Vec<(u64, u32, bool)>, u64),
    /// A symlink.
    Symlink(Vec<u8>),
    /// A directory; entries come with the inodes below it.
    Dir,
    /// A device.
    Device(FileType, u32),
    /// A fifo or socket.
    Special(FileType),
}

impl Content {
    fn file_type(&self) -> FileType {
        match self {
            Content::File(..) => FileType::Regular,
            Content::Symlink(_) => FileType::Symlink,
            Content::Dir => FileType::Directory,
            Content::Device(ftype, _) | Content::Special(ftype) => *ftype,
        }
    }
}

struct Node {
    ino: Ino,
    parent: Ino,
    nlink: u32,
    orphan: bool,
    content: Content,
    entries: Vec<(Vec<u8>, Ino)>,
    attrs: Vec<Attribute>,
}

/// A file system to be.
pub struct Builder {
    geometry: Geometry,
    nodes: BTreeMap<Ino, Node>,
    groups: Vec<Group>,
    /// Entries of an interior node; small numbers make deep trees.
    pub fanout: usize,
    /// Records of a leaf; small numbers make deep trees.
    pub leaf_records: usize,
    /// Key of the name hash.
    pub hash_seed: u64,
}

const TIME: i64 = 1_700_000_000;

impl Builder {
    /// A file system of `blocks` blocks with nothing but the root directory.
    pub fn new(blocks: u64, ag_blocks: Option<u32>) -> Self {
        let geometry = Geometry::for_device(blocks, ag_blocks).expect("no such geometry");
        let mut groups: Vec<Group> = geometry.ags().map(|_| Group::default()).collect();
        // Index 0 of group 0 does not exist; the root is 1.
        let zero = groups[0].inode(&geometry, AgNumber(0));
        let root = groups[0].inode(&geometry, AgNumber(0));
        assert_eq!((zero, root), (Ino(0), ROOT_INO));
        let node = Node {
            ino: root,
            parent: root,
            nlink: 2,
            orphan: false,
            content: Content::Dir,
            entries: Vec::new(),
            attrs: Vec::new(),
        };
        Self {
            geometry,
            nodes: BTreeMap::from([(root, node)]),
            groups,
            fanout: usize::MAX,
            leaf_records: usize::MAX,
            hash_seed: 0x5eed,
        }
    }

    /// The root directory.
    pub fn root(&self) -> Ino {
        ROOT_INO
    }

    /// Adds an inode in group `ag` under a name; returns its number.
    pub fn add_in(&mut self, ag: u32, dir: Ino, name: &[u8], content: Content) -> Ino {
        let ino = self.anonymous(ag, content);
        let node = self.nodes.get_mut(&ino).expect("just added");
        node.orphan = false;
        node.nlink = 1;
        if node.content.file_type() == FileType::Directory {
            node.nlink = 2;
            node.parent = dir;
            self.dir(dir).nlink += 1;
        }
        self.dir(dir).entries.push((name.to_vec(), ino));
        ino
    }

    /// Adds an inode in group 0 under a name.
    pub fn add(&mut self, dir: Ino, name: &[u8], content: Content) -> Ino {
        self.add_in(0, dir, name, content)
    }

    /// Adds an orphan: an inode without name and links, open when the machine went down.
    pub fn anonymous(&mut self, ag: u32, content: Content) -> Ino {
        let group = &mut self.groups[ag as usize];
        let ino = group.inode(&self.geometry, AgNumber(ag));
        let node = Node {
            ino,
            parent: ROOT_INO,
            nlink: 0,
            orphan: true,
            content,
            entries: Vec::new(),
            attrs: Vec::new(),
        };
        self.nodes.insert(ino, node);
        ino
    }

    /// Another name for a file.
    pub fn link(&mut self, dir: Ino, name: &[u8], ino: Ino) {
        self.nodes.get_mut(&ino).expect("no such inode").nlink += 1;
        self.dir(dir).entries.push((name.to_vec(), ino));
    }

    /// Gives an inode an attribute.
    pub fn attr(&mut self, ino: Ino, space: AttrSpace, name: &[u8], value: &[u8]) {
        let node = self.nodes.get_mut(&ino).expect("no such inode");
        node.attrs.push((space, name.to_vec(), value.to_vec()));
    }

    /// Takes blocks of a group.
    pub(crate) fn take_blocks(&mut self, ag: AgNumber, len: u32) -> BlockRange {
        self.groups[ag.0 as usize].blocks(&self.geometry, ag, len)
    }

    fn dir(&mut self, ino: Ino) -> &mut Node {
        self.nodes.get_mut(&ino).expect("no such directory")
    }

    /// Writes everything to a new device in memory.
    pub fn build(mut self) -> Image {
        let dev = Device::memory(self.geometry.block_count());
        let params = MakeParams {
            uuid: *b"latchfs test img",
            instance: 0x1234_5678_9abc_def1,
            hash_seed: self.hash_seed,
            label: b"test",
            now: (TIME, 0),
            uid: 0,
            gid: 0,
            root_mode: 0o755,
            root_generation: 1,
        };
        let mut block = Box::new([0; BLOCK_SIZE]);
        let mut store = |at: DiskBlock, block: &Block| write(&dev, at, block);
        let sb = make::<()>(&self.geometry, &params, &mut block, &mut |at, block| {
            store(at, block);
            Ok(())
        });
        let mut sb = sb.unwrap().expect("no room for the root directory");
        let context = sb.verify(DiskBlock(0)).expect("make is sound");

        let nodes = std::mem::take(&mut self.nodes);
        let types: BTreeMap<Ino, FileType> = nodes
            .iter()
            .map(|(ino, node)| (*ino, node.content.file_type()))
            .collect();
        let mut slots = BTreeMap::new();
        for node in nodes.values() {
            let slot = self.slot(&context, node, &types, &mut store);
            slots.insert(node.ino, slot);
            if node.orphan {
                let group = &mut self.groups[node.ino.ag().0 as usize];
                group.inodes.insert(node.ino.index(), true);
            }
        }
        self.write_groups(&context, &slots, &mut store);
        self.totals(&context, &mut sb);
        sb.store(&mut block);
        store(DiskBlock(0), &block);
        Image::new(dev, context, sb)
    }

    /// Makes the slot of a node, and writes its blocks.
    fn slot(
        &mut self,
        context: &Context,
        node: &Node,
        types: &BTreeMap<Ino, FileType>,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) -> InodeSlot {
        let mut slot = InodeSlot::new(context, node.ino, node.ino.index() + 100);
        let ftype = node.content.file_type();
        let perms = if ftype == FileType::Directory {
            0o755
        } else {
            0o644
        };
        slot.mode = U16::new(ftype.mode() | perms);
        slot.nlink = U32::new(node.nlink);
        let time = I64::new(TIME);
        (slot.atime, slot.mtime, slot.ctime, slot.btime) = (time, time, time, time);
        slot.version = U64::new(1);
        let attr_blocks = self.write_attrs(context, &node.attrs, &mut slot, store);
        match &node.content {
            Content::File(runs, size) => {
                slot.size = U64::new(*size);
                self.file(context, node.ino, runs, &mut slot, store);
            }
            Content::Symlink(target) => self.symlink(context, node.ino, target, &mut slot, store),
            Content::Dir => {
                slot.parent = U64::new(node.parent.0);
                self.directory(context, node, types, &mut slot, store);
            }
            Content::Device(_, rdev) => slot.rdev = U32::new(*rdev),
            Content::Special(_) => {}
        }
        attrs::add_blocks(&mut slot, attr_blocks);
        slot.seal(context, Lsn(0));
        slot
    }

    fn file(
        &mut self,
        context: &Context,
        ino: Ino,
        runs: &[(u64, u32, bool)],
        slot: &mut InodeSlot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        let ag = ino.ag();
        let mut records = Vec::new();
        let mut blocks = 0;
        for (file, len, unwritten) in runs {
            let range = self.groups[ag.0 as usize].blocks(&self.geometry, ag, *len);
            let extent = Extent {
                file: FileBlock(*file),
                disk: range.start,
                len: *len,
                unwritten: *unwritten,
            };
            if !unwritten {
                for n in 0..u64::from(*len) {
                    store(range.start.saturating_add(n), &pattern(ino, file + n));
                }
            }
            blocks += u64::from(*len);
            records.push(extent_record(&extent).expect("a legal extent"));
        }
        if records.len() * 16 <= usize::from(slot.attr_off.get()) {
            let bytes: Vec<u8> = records.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert!(slot.set_data(ForkFormat::InlineExtents, 0, &bytes));
        } else {
            let owner = Owner::inode(ino);
            blocks += self.tree(context, ag, owner, TreeKind::Extents, &records, slot, store);
        }
        slot.blocks = U64::new(blocks);
    }

    #[allow(clippy::too_many_arguments)]
    fn tree(
        &mut self,
        context: &Context,
        ag: AgNumber,
        owner: Owner,
        kind: TreeKind,
        records: &[Record],
        slot: &mut InodeSlot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) -> u64 {
        let geometry = self.geometry;
        let group = &mut self.groups[ag.0 as usize];
        let mut sink = Sink {
            context,
            owner,
            blocks: &mut || Some(group.blocks(&geometry, ag, 1).start),
            write: store,
            fanout: self.fanout.max(2),
            leaf_records: self.leaf_records.max(1),
        };
        let (root, nodes) = build(&mut sink, kind, records).expect("there is room");
        let format = match kind {
            TreeKind::Extents => ForkFormat::ExtentTree,
            TreeKind::Dirents => ForkFormat::DirTree,
            TreeKind::Attrs => panic!("not a data fork"),
        };
        assert!(slot.set_data(format, root.depth, &root.to_bytes()));
        nodes
    }

    fn symlink(
        &mut self,
        context: &Context,
        ino: Ino,
        target: &[u8],
        slot: &mut InodeSlot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        slot.size = U64::new(target.len() as u64);
        slot.mode = U16::new(FileType::Symlink.mode() | 0o777);
        if target.len() <= usize::from(slot.attr_off.get()) {
            assert!(slot.set_data(ForkFormat::InlineSymlink, 0, target));
            return;
        }
        let len = target.len().div_ceil(SYMLINK_BYTES) as u32;
        let ag = ino.ag();
        let range = self.groups[ag.0 as usize].blocks(&self.geometry, ag, len);
        for (n, part) in target.chunks(SYMLINK_BYTES).enumerate() {
            let mut block = [0; BLOCK_SIZE];
            let at = range.start.saturating_add(n as u64);
            SymlinkBlock::format(&mut block, context, at, Owner::inode(ino), n as u32, part);
            reseal(&mut block, context);
            store(at, &block);
        }
        let extent = Extent {
            file: FileBlock(0),
            disk: range.start,
            len,
            unwritten: false,
        };
        let record = extent.pack().expect("a legal extent");
        assert!(slot.set_data(ForkFormat::InlineExtents, 0, record.as_bytes()));
        slot.blocks = U64::new(u64::from(len));
    }

    fn directory(
        &mut self,
        context: &Context,
        node: &Node,
        types: &BTreeMap<Ino, FileType>,
        slot: &mut InodeSlot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        let mut next: BTreeMap<u32, u32> = BTreeMap::new();
        let mut records: Vec<Record> = Vec::new();
        for (name, ino) in &node.entries {
            let hash = hash::name_hash(self.hash_seed, name);
            let disambiguator = next.entry(hash).or_default();
            let entry = Dirent {
                key: hash::key(hash, *disambiguator),
                ino: *ino,
                ftype: types[ino] as u8,
                name,
            };
            *disambiguator += 1;
            records.push(dirent_record(&entry).expect("a legal name"));
        }
        records.sort();
        let bytes: usize = records.iter().map(|(_, bytes)| bytes.len()).sum();
        slot.size = U64::new(bytes as u64);
        if bytes <= usize::from(slot.attr_off.get()) {
            let bytes: Vec<u8> = records.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert!(slot.set_data(ForkFormat::InlineDir, 0, &bytes));
            return;
        }
        let (ag, owner) = (node.ino.ag(), Owner::inode(node.ino));
        let blocks = self.tree(context, ag, owner, TreeKind::Dirents, &records, slot, store);
        slot.blocks = U64::new(blocks);
    }

    /// Writes inode blocks, inode maps, headers and bitmaps.
    fn write_groups(
        &mut self,
        context: &Context,
        slots: &BTreeMap<Ino, InodeSlot>,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        let geometry = self.geometry;
        for ag in geometry.ags() {
            if self.groups[ag.0 as usize].chunks.is_empty() {
                // Blocks without inodes: none, files are in the group of their inode.
                continue;
            }
            let maps = self.write_map(context, ag, store);
            let group = &self.groups[ag.0 as usize];
            write_chunks(context, ag, group, slots, store);
            self.write_header(context, ag, &maps, store);
        }
    }

    /// Writes the inode map of a group; returns where its blocks are.
    fn write_map(
        &mut self,
        context: &Context,
        ag: AgNumber,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) -> BlockRange {
        let geometry = self.geometry;
        let group = &mut self.groups[ag.0 as usize];
        let count = (group.chunks.len() as u32).div_ceil(MAP_CHUNKS);
        let maps = group.blocks(&geometry, ag, count);
        for index in 0..count {
            let mut block = [0; BLOCK_SIZE];
            let at = maps.start.saturating_add(u64::from(index));
            MapBlock::format(&mut block, context, at, ag, index);
            let map = MapBlock::of_mut(&mut block);
            let first = index * MAP_CHUNKS;
            let last = (group.chunks.len() as u32).min(first + MAP_CHUNKS);
            for chunk in first..last {
                map.set_chunk(chunk - first, true);
                let masks = map.chunk_mut(chunk - first).expect("just set");
                for bit in 0..CHUNK_INODES {
                    if let Some(orphan) = group.inodes.get(&(chunk * CHUNK_INODES + bit)) {
                        masks.alloc = U64::new(masks.alloc.get() | 1 << bit);
                        let orphan = u64::from(*orphan) << bit;
                        masks.orphan = U64::new(masks.orphan.get() | orphan);
                    }
                }
            }
            let (present, free, orphans) = map.count();
            map.present = U16::new(present as u16);
            map.free = U16::new(free as u16);
            map.orphans = U16::new(orphans as u16);
            reseal(&mut block, context);
            store(at, &block);
        }
        maps
    }

    fn write_header(
        &mut self,
        context: &Context,
        ag: AgNumber,
        maps: &BlockRange,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        let geometry = self.geometry;
        let chunks = self.groups[ag.0 as usize].chunks.clone();
        let mut block = [0; BLOCK_SIZE];
        AgHeader::format(&mut block, context, ag).expect("no such group");
        let header = AgHeader::of_mut(&mut block);

        header.map_blocks = U32::new(maps.len);
        self.hidden_root(
            context,
            ag,
            Owner::inode_map(ag),
            &[*maps],
            &mut header.inode_map,
            store,
        );
        self.hidden_root(
            context,
            ag,
            Owner::inode_file(ag),
            &chunks,
            &mut header.inode_file,
            store,
        );
        let group = &self.groups[ag.0 as usize];
        let (inodes, free) = group.counts();
        header.inodes = U32::new(inodes);
        header.free_inodes = U32::new(free);
        header.orphans = U32::new(group.inodes.values().filter(|orphan| **orphan).count() as u32);

        let last = write_bitmaps(context, &geometry, ag, group, store);
        header.bitmap_init = U32::new(last + 1);
        reseal(&mut block, context);
        store(geometry.header_block(ag).expect("no such group"), &block);
    }

    /// Puts the extents of a hidden file into its root.
    fn hidden_root(
        &mut self,
        context: &Context,
        ag: AgNumber,
        owner: Owner,
        runs: &[BlockRange],
        root: &mut FileRoot,
        store: &mut dyn FnMut(DiskBlock, &Block),
    ) {
        let mut file = 0;
        let mut records: Vec<Record> = Vec::new();
        for run in runs {
            let extent = Extent {
                file: FileBlock(file),
                disk: run.start,
                len: run.len,
                unwritten: false,
            };
            file += u64::from(run.len);
            records.push(extent_record(&extent).expect("a legal extent"));
        }
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        if root.set(ForkFormat::InlineExtents, 0, &bytes) {
            return;
        }
        let mut slot = InodeSlot::new(context, Ino(0), 0);
        self.tree(
            context,
            ag,
            owner,
            TreeKind::Extents,
            &records,
            &mut slot,
            store,
        );
        let tree = slot.tree().expect("just made");
        assert!(root.set(ForkFormat::ExtentTree, tree.depth, &tree.to_bytes()));
    }

    fn totals(&self, context: &Context, sb: &mut Superblock) {
        let used: u64 = self
            .groups
            .iter()
            .flat_map(|group| &group.used)
            .map(|range| u64::from(range.len))
            .sum();
        let sum = |f: fn(&Group) -> u32| self.groups.iter().map(|g| u64::from(f(g))).sum();
        sb.free_blocks = U64::new(context.geometry.total_dynamic_blocks() - used);
        sb.inodes = U64::new(sum(|group| group.counts().0));
        sb.free_inodes = U64::new(sum(|group| group.counts().1));
        sb.orphans = U64::new(sum(|group| {
            group.inodes.values().filter(|orphan| **orphan).count() as u32
        }));
        sb.seal(DiskBlock(0));
    }
}

fn write_chunks(
    context: &Context,
    ag: AgNumber,
    group: &Group,
    slots: &BTreeMap<Ino, InodeSlot>,
    store: &mut dyn FnMut(DiskBlock, &Block),
) {
    for (chunk, range) in group.chunks.iter().enumerate() {
        for n in 0..range.len {
            let mut block = [0; BLOCK_SIZE];
            for k in 0..INODES_PER_BLOCK {
                let index = chunk as u32 * CHUNK_INODES + n * INODES_PER_BLOCK + k;
                let ino = Ino::new(ag, index);
                let mut free = InodeSlot::new(context, ino, 0);
                free.seal(context, Lsn(0));
                let slot = slots.get(&ino).copied().unwrap_or(free);
                *InodeSlot::of_mut(&mut block, ino).expect("in the block") = slot;
            }
            store(range.start.saturating_add(u64::from(n)), &block);
        }
    }
}

/// Writes the bitmap blocks that have something in them, and those before; returns the last.
fn write_bitmaps(
    context: &Context,
    geometry: &Geometry,
    ag: AgNumber,
    group: &Group,
    store: &mut dyn FnMut(DiskBlock, &Block),
) -> u32 {
    let place = |at: DiskBlock| {
        let (_, inside) = geometry.locate(at).expect("on the device");
        Geometry::bitmap_position(inside)
    };
    let last = group.used.iter().map(|range| place(range.start).0).max();
    let last = last.unwrap_or(0);
    for index in 0..=last {
        let mut block = [0; BLOCK_SIZE];
        BitmapBlock::format(&mut block, context, ag, index).expect("no such bitmap");
        let bitmap = BitmapBlock::of_mut(&mut block);
        for range in &group.used {
            let (part, bit) = place(range.start);
            if part == index {
                assert!(bit + range.len <= BITMAP_BITS);
                bitmap.set_range(bit, range.len, true);
            }
        }
        bitmap.free = U32::new(bitmap.count_free());
        reseal(&mut block, context);
        let at = geometry.bitmap_block(ag, index).expect("no such bitmap");
        store(at, &block);
    }
    last
}

/// Content of a file block: tells file and place.
pub(crate) fn pattern(ino: Ino, block: u64) -> Block {
    let mut bytes = [0; BLOCK_SIZE];
    bytes[..8].copy_from_slice(&ino.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&block.to_le_bytes());
    bytes[BLOCK_SIZE - 1] = 0xff;
    bytes
}

fn write(dev: &Device, at: DiskBlock, block: &Block) {
    let mut buf = Buf::must_zeroed();
    buf.copy_from_slice(block);
    dev.write_block(at.0, &buf).expect("memory");
}
