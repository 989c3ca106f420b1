// SPDX-License-Identifier: GPL-2.0

//! Every verifier rejects every single-field corruption - with the checksum repaired, or the
//! checksum would do the work - and no verifier minds what it is given.

use super::make::{image, params, Image};
use crate::format::{
    btree::*,
    extent::EXTENT_SIZE,
    hash,
    header::{reseal, BODY_OFFSET},
    inode::*,
    limits::*,
    *,
};
use zerocopy::IntoBytes;

/// A small file system with two groups.
struct Sample {
    context: Context,
    image: Image,
}

impl Sample {
    fn new() -> Self {
        let geometry = Geometry::for_device(8192, Some(4096)).unwrap();
        let (sb, image) = image(&geometry);
        let context = sb.verify(DiskBlock(0)).unwrap();
        Self { context, image }
    }

    fn header(&self) -> &AgHeader {
        let at = self.context.geometry.header_block(AgNumber(0)).unwrap();
        AgHeader::of(&self.image[&at.0])
    }

    /// A block that is not static metadata.
    fn free_block(&self, n: u32) -> DiskBlock {
        DiskBlock(4096 + 100 + u64::from(n))
    }
}

/// What is done to a sound block, and the field that the verifier must name.
type Damage<'a> = (&'static str, &'a dyn Fn(&mut Block));

fn set(block: &mut Block, at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Checks that the block is sound, and that each damage is found and named.
fn rejects(
    s: &Sample,
    kind: BlockKind,
    at: DiskBlock,
    owner: Owner,
    sound: &Block,
    damages: &[Damage<'_>],
) {
    let verify = |block: &Block| verify_block(block, kind, &s.context, at, Some(owner));
    assert_eq!(verify(sound), Ok(()));
    for (field, damage) in damages {
        let mut block = Box::new(*sound);
        damage(&mut block);
        reseal(&mut block, &s.context);
        let defect = verify(&block).expect_err(field);
        assert_eq!(defect.field, *field, "{defect}");
    }
    every_kind(s, kind, at, owner, sound);
}

/// What is the same in all kinds: the header, the checksum, the place.
fn every_kind(s: &Sample, kind: BlockKind, at: DiskBlock, owner: Owner, sound: &Block) {
    let verify = |block: &Block| verify_block(block, kind, &s.context, at, Some(owner));
    for (field, offset, problem) in [
        ("magic", 0, DefectKind::Magic),
        ("instance", 8, DefectKind::Foreign),
        ("block", 16, DefectKind::Misplaced),
        ("owner", 24, DefectKind::Owner),
    ] {
        let mut block = Box::new(*sound);
        block[offset] ^= 0x40;
        reseal(&mut block, &s.context);
        assert_eq!(verify(&block), Err(Defect::new(field, problem)));
    }
    // Any byte: only what precedes the checksum in the order of tests has another name.
    for byte in 0..BLOCK_SIZE {
        let mut block = Box::new(*sound);
        block[byte] ^= 1;
        assert!(verify(&block).is_err(), "byte {byte}");
    }
    let elsewhere = DiskBlock(at.0 + 1);
    assert!(verify_block(sound, kind, &s.context, elsewhere, Some(owner)).is_err());
    let other = Context::new(s.context.instance + 1, s.context.geometry);
    let defect = verify_block(sound, kind, &other, at, Some(owner)).unwrap_err();
    assert_eq!(defect.kind, DefectKind::Foreign);
}

#[test]
fn ag_header() {
    let s = Sample::new();
    let at = s.context.geometry.header_block(AgNumber(0)).unwrap();
    let edit = |f: fn(&mut AgHeader)| move |block: &mut Block| f(AgHeader::of_mut(block));
    let damages: &[Damage<'_>] = &[
        ("ag", &edit(|h| h.ag.set(1))),
        ("length", &edit(|h| h.length.set(4095))),
        ("bitmap_start", &edit(|h| h.bitmap_start.set(17))),
        ("bitmap_count", &edit(|h| h.bitmap_count.set(2))),
        ("bitmap_init", &edit(|h| h.bitmap_init.set(2))),
        ("map_blocks", &edit(|h| h.map_blocks.set(0))),
        ("map_blocks", &edit(|h| h.map_blocks.set(u32::MAX))),
        ("inodes", &edit(|h| h.inodes.set(63))),
        ("inodes", &edit(|h| h.inodes.set(!63))),
        ("free_inodes", &edit(|h| h.free_inodes.set(65))),
        ("orphans", &edit(|h| h.orphans.set(3))),
        ("root.format", &edit(|h| h.inode_file.format = 3)),
        ("root.format", &edit(|h| h.inode_map.format = 0)),
        ("root.depth", &edit(|h| h.inode_file.depth = 1)),
        ("root.len", &edit(|h| h.inode_file.len.set(15))),
        ("root.len", &edit(|h| h.inode_map.len.set(176))),
        ("extent.start", &edit(|h| h.inode_file.area[8..16].fill(0))),
        ("extent.file_block", &edit(|h| h.inode_map.area[7] = 0xff)),
        (
            "root.len",
            &edit(|h| (h.inode_file.format, h.inode_file.depth) = (2, 1)),
        ),
        (
            "root.depth",
            &edit(|h| assert!(h.inode_file.set(ForkFormat::ExtentTree, 9, &[1; 8]))),
        ),
        (
            "root.block",
            &edit(|h| assert!(h.inode_file.set(ForkFormat::ExtentTree, 1, &[1; 8]))),
        ),
        (
            "root.block",
            &edit(|h| assert!(h.inode_file.set(ForkFormat::ExtentTree, 0, &[1; 8]))),
        ),
    ];
    let owner = Owner::ag(AgNumber(0));
    rejects(&s, BlockKind::AgHeader, at, owner, &s.image[&at.0], damages);
}

#[test]
fn bitmap() {
    let s = Sample::new();
    let at = s.context.geometry.bitmap_block(AgNumber(0), 0).unwrap();
    let damages: &[Damage<'_>] = &[
        ("index", &|b| set(b, 40, &[1])),
        ("free", &|b| b[44] ^= 1),
        ("free", &|b| b[BODY_OFFSET + 400] ^= 1),
        // The superblock marked free, and the count right.
        ("bits", &|b| {
            b[BODY_OFFSET] &= !1;
            let free = BitmapBlock::of(b).free.get() + 1;
            BitmapBlock::of_mut(b).free.set(free);
        }),
        // A block behind the end of the group.
        ("bits", &|b| {
            b[BODY_OFFSET + 4096 / 8] &= !1;
            let free = BitmapBlock::of(b).free.get() + 1;
            BitmapBlock::of_mut(b).free.set(free);
        }),
    ];
    let owner = Owner::ag(AgNumber(0));
    rejects(&s, BlockKind::Bitmap, at, owner, &s.image[&at.0], damages);
}

#[test]
fn inode_map() {
    let s = Sample::new();
    let at = s.header().inode_map.extents()[0].unpack().disk;
    let damages: &[Damage<'_>] = &[
        ("index", &|b| set(b, 40, &[0xff; 4])),
        ("index", &|b| set(b, 40, &[3])),
        ("free", &|b| b[44] ^= 1),
        ("orphans", &|b| b[46] ^= 1),
        ("present", &|b| b[48] ^= 1),
        ("chunks", &|b| b[64 + 31] = 4),
        ("present", &|b| b[64] = 3),
        ("masks.alloc", &|b| b[96 + 16] = 1),
        ("masks.orphan", &|b| b[96 + 8] = 4),
        ("free", &|b| b[96] = 7),
    ];
    let owner = Owner::inode_map(AgNumber(0));
    rejects(&s, BlockKind::InodeMap, at, owner, &s.image[&at.0], damages);
}

#[test]
fn log() {
    let s = Sample::new();
    let at = s.context.geometry.log().start;
    let edit = |f: fn(&mut LogHeader)| move |block: &mut Block| f(LogHeader::of_mut(block));
    let damages: &[Damage<'_>] = &[
        ("version", &edit(|h| h.version.set(3))),
        ("blocks", &edit(|h| h.blocks.set(1))),
    ];
    rejects(
        &s,
        BlockKind::Log,
        at,
        Owner::log(),
        &s.image[&at.0],
        damages,
    );
}

#[test]
fn symlink() {
    let s = Sample::new();
    let (at, owner) = (s.free_block(0), Owner::inode(Ino(9)));
    let mut block = Box::new([0; BLOCK_SIZE]);
    SymlinkBlock::format(&mut block, &s.context, at, owner, 1, b"target");
    reseal(&mut block, &s.context);
    assert_eq!(SymlinkBlock::of(&block).bytes(), b"target");
    let damages: &[Damage<'_>] = &[
        ("index", &|b| set(b, 40, &[2])),
        ("len", &|b| set(b, 44, &[0])),
        ("len", &|b| set(b, 44, &[0xff; 4])),
        ("target", &|b| set(b, 44, &[7])),
        ("target", &|b| b[66] = 0),
    ];
    rejects(&s, BlockKind::Symlink, at, owner, &block, damages);
}

/// An extent of the sample.
fn extent(s: &Sample, file: u64, n: u32, len: u32) -> ExtentRecord {
    let extent = Extent {
        file: FileBlock(file),
        disk: s.free_block(n),
        len,
        unwritten: false,
    };
    extent.pack().unwrap()
}

#[test]
fn extent_leaf() {
    let s = Sample::new();
    let (at, owner) = (s.free_block(0), Owner::inode(Ino(9)));
    let mut block = Box::new([0; BLOCK_SIZE]);
    TreeBlock::format(&mut block, &s.context, at, owner, TreeKind::Extents, 0);
    let node = TreeBlock::of_mut(&mut block);
    for (n, record) in [
        extent(&s, 0, 10, 5),
        extent(&s, 5, 20, 5),
        extent(&s, 20, 30, 1),
    ]
    .iter()
    .enumerate()
    {
        node.body[n * EXTENT_SIZE..][..EXTENT_SIZE].copy_from_slice(record.as_bytes());
        node.count.set(n as u16 + 1);
    }
    reseal(&mut block, &s.context);
    let damages: &[Damage<'_>] = &[
        ("level", &|b| b[LEVEL] = 8),
        ("kind", &|b| b[KIND] = 0),
        ("kind", &|b| b[KIND] = 4),
        ("count", &|b| set(b, COUNT, &[0, 0])),
        ("count", &|b| set(b, COUNT, &[253, 0])),
        // One more than there are: the next record is all zero.
        ("extent.start", &|b| set(b, COUNT, &[4, 0])),
        ("heap_start", &|b| b[HEAP_START] = 1),
        ("heap_free", &|b| b[HEAP_FREE] = 1),
        ("extent.file_block", &|b| b[64 + 16] = 4),
        ("extent.file_block", &|b| b[64 + 7] = 0xff),
        ("extent.start", &|b| set(b, 64 + 8, &[0; 6])),
        ("extent.start", &|b| set(b, 64 + 8, &[0xff; 6])),
        ("extent.start", &|b| set(b, 64 + 14, &[0, 0])),
        ("extent.start", &|b| set(b, 64 + 14, &[0xff, 0x7f])),
    ];
    rejects(&s, BlockKind::Tree, at, owner, &block, damages);
}

#[test]
fn interior() {
    let s = Sample::new();
    let (at, owner) = (s.free_block(0), Owner::inode(Ino(9)));
    let mut block = Box::new([0; BLOCK_SIZE]);
    TreeBlock::format(&mut block, &s.context, at, owner, TreeKind::Extents, 2);
    let node = TreeBlock::of_mut(&mut block);
    for n in 0..3_u64 {
        let entry = NodeEntry {
            key: (n * 100).into(),
            child: s.free_block(n as u32 + 1).0.into(),
        };
        node.body[n as usize * 16..][..16].copy_from_slice(entry.as_bytes());
    }
    node.count.set(3);
    reseal(&mut block, &s.context);
    let damages: &[Damage<'_>] = &[
        ("count", &|b| set(b, COUNT, &[0, 0])),
        ("count", &|b| set(b, COUNT, &[0xff, 0xff])),
        ("entry.key", &|b| b[64 + 16] = 0),
        ("entry.key", &|b| b[64 + 7] = 0xff),
        ("entry.child", &|b| set(b, 64 + 8, &[0; 8])),
        ("entry.child", &|b| set(b, 64 + 8, &[0xff; 8])),
        ("entry.child", &|b| set(b, 64 + 8, &8191_u64.to_le_bytes())),
    ];
    rejects(&s, BlockKind::Tree, at, owner, &block, damages);
}

/// A leaf with these names.
fn dirent_leaf(s: &Sample, at: DiskBlock, owner: Owner, names: &[&[u8]]) -> Box<Block> {
    let mut block = Box::new([0; BLOCK_SIZE]);
    TreeBlock::format(&mut block, &s.context, at, owner, TreeKind::Dirents, 0);
    let mut heap = BLOCK_SIZE;
    for (n, name) in names.iter().enumerate() {
        let entry = Dirent {
            key: hash::key(5 + n as u32, 0),
            ino: Ino(1),
            ftype: 1,
            name,
        };
        heap -= entry.len();
        entry.encode(&mut block[heap..]).unwrap();
        set(
            &mut block,
            BODY_OFFSET + 2 * n,
            &(heap as u16).to_le_bytes(),
        );
    }
    let node = TreeBlock::of_mut(&mut block);
    node.count.set(names.len() as u16);
    node.heap_start.set(heap as u16);
    reseal(&mut block, &s.context);
    block
}

#[test]
fn slotted_leaf() {
    let s = Sample::new();
    let (at, owner) = (s.free_block(0), Owner::inode(Ino(9)));
    let block = dirent_leaf(&s, at, owner, &[b"aaaa", b"bb", &[0xff; 255]]);
    let first = BLOCK_SIZE - 22;
    let damages: &[Damage<'_>] = &[
        ("count", &|b| set(b, COUNT, &[0, 0])),
        ("count", &|b| set(b, COUNT, &[0xff, 0xff])),
        ("heap_start", &|b| set(b, HEAP_START, &[0xff, 0xff])),
        ("heap_free", &|b| b[HEAP_FREE] = 1),
        // The heap begins later or earlier than its lowest record.
        ("slot", &|b| b[HEAP_START] = b[HEAP_START].wrapping_add(1)),
        ("heap_free", &|b| {
            b[HEAP_START] = b[HEAP_START].wrapping_sub(1)
        }),
        ("slot", &|b| set(b, BODY_OFFSET, &[0, 0])),
        ("slot", &|b| set(b, BODY_OFFSET, &[0xff, 0xff])),
        ("record.key", &|b| {
            let slot = [b[BODY_OFFSET], b[BODY_OFFSET + 1]];
            set(b, BODY_OFFSET + 2, &slot);
        }),
        ("dirent.key", &|b| set(b, first, &[0; 8])),
        ("dirent.key", &|b| set(b, first, &[0xff; 8])),
        ("dirent.ino", &|b| set(b, first + 8, &[0; 8])),
        ("dirent.ino", &|b| set(b, first + 8, &[0xff; 8])),
        ("dirent.type", &|b| b[first + 16] = 0),
        ("dirent.type", &|b| b[first + 16] = 8),
        ("dirent.name", &|b| b[first + 17] = 0),
        ("dirent.name_len", &|b| b[first + 17] = 5),
        ("heap_free", &|b| b[first + 17] = 3),
        ("dirent.name", &|b| b[first + 18] = b'/'),
        ("dirent.name", &|b| b[first + 18] = 0),
    ];
    rejects(&s, BlockKind::Tree, at, owner, &block, damages);
}

#[test]
fn names() {
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
        assert!(!dirent::name_is_legal(bad));
    }
    for good in [&b"..."[..], b".a", b"\xff\x01 \n", &[b'x'; 255]] {
        assert!(dirent::name_is_legal(good));
    }
}

/// A slot with this content.
fn slot(s: &Sample, mode: u16, format: ForkFormat, data: &[u8]) -> InodeSlot {
    let mut slot = InodeSlot::new(&s.context, Ino(5), 3);
    slot.mode.set(mode);
    slot.nlink.set(1);
    slot.size.set(data.len() as u64);
    if mode & 0o170000 == 0o040000 {
        slot.parent.set(1);
    }
    assert!(slot.set_data(format, u8::from(format.is_tree()), data));
    slot.seal(&s.context, Lsn(7));
    slot
}

#[test]
fn inode() {
    type SlotDamage = (&'static str, fn(&mut InodeSlot));

    let s = Sample::new();
    let file = slot(
        &s,
        0o100644,
        ForkFormat::InlineExtents,
        extent(&s, 0, 5, 2).as_bytes(),
    );
    let dir = slot(&s, 0o040755, ForkFormat::InlineDir, &[]);
    let link = slot(&s, 0o120777, ForkFormat::InlineSymlink, b"target");
    let device = slot(&s, 0o020600, ForkFormat::None, &[]);
    let tree = slot(
        &s,
        0o100644,
        ForkFormat::ExtentTree,
        &TreeRoot {
            block: s.free_block(1),
            depth: 1,
        }
        .to_bytes(),
    );
    let common: &[SlotDamage] = &[
        ("magic", |i| i.magic.set(0)),
        ("instance", |i| i.instance.set(1)),
        ("ino", |i| i.ino.set(6)),
        ("mode", |i| i.mode.set(0o150644)),
        ("nlink", |i| i.nlink.set(u32::MAX)),
        ("size", |i| i.size.set(1 << 63)),
        ("blocks", |i| i.blocks.set(u64::MAX)),
        ("flags", |i| i.flags.set(1)),
        ("flags2", |i| i.flags2.set(1)),
        ("generation_hi", |i| i.generation_hi.set(1)),
        ("atime_ns", |i| i.atime_ns.set(1_000_000_000)),
        ("mtime_ns", |i| i.mtime_ns.set(u32::MAX)),
        ("ctime_ns", |i| i.ctime_ns.set(u32::MAX)),
        ("btime_ns", |i| i.btime_ns.set(u32::MAX)),
        ("attr_format", |i| i.attr_format = 1),
        ("attr_format", |i| i.attr_format = 8),
        ("attr_len", |i| i.attr_len.set(321)),
        ("attr_off", |i| i.attr_off.set(319)),
        ("attr_off", |i| i.attr_off.set(0xffff)),
        ("data_format", |i| i.data_format = 6),
        ("data_format", |i| i.data_format = 7),
        ("data_format", |i| i.data_format = 8),
        ("data_len", |i| i.data_len.set(321)),
    ];
    let special: &[(&InodeSlot, &[SlotDamage])] = &[
        (
            &file,
            &[
                ("rdev", |i| i.rdev.set(1)),
                ("parent", |i| i.parent.set(1)),
                ("data_format", |i| i.data_format = 3),
                ("data_depth", |i| i.data_depth = 1),
                ("data_len", |i| i.data_len.set(15)),
                ("extent.start", |i| i.literal[8..14].fill(0)),
                ("extent.start", |i| i.data_len.set(32)),
            ],
        ),
        (
            &dir,
            &[
                ("parent", |i| i.parent.set(0)),
                ("parent", |i| i.parent.set(u64::MAX)),
                ("size", |i| i.size.set(1)),
                ("dirent.name_len", |i| {
                    i.data_len.set(18);
                    i.size.set(18);
                    i.literal[17] = 1;
                }),
            ],
        ),
        (
            &link,
            &[
                ("size", |i| i.size.set(5)),
                ("data.target", |i| i.literal[3] = 0),
                ("data_len", |i| i.data_len.set(0)),
                ("size", |i| {
                    i.data_format = 1;
                    i.data_len.set(0);
                }),
            ],
        ),
        (&device, &[("data_len", |i| i.size.set(1))]),
        (
            &tree,
            &[
                ("root.depth", |i| i.data_depth = 9),
                ("root.block", |i| i.data_depth = 0),
                ("root.block", |i| i.literal[..8].fill(0)),
                ("data_len", |i| i.data_len.set(7)),
            ],
        ),
    ];
    for (sound, own) in special {
        assert_eq!(sound.verify(&s.context, Ino(5)), Ok(()));
        for (field, damage) in common.iter().chain(own.iter()) {
            let mut slot = **sound;
            damage(&mut slot);
            // Changes that leave the checksum alone are found by the checksum.
            let unsealed = slot.verify(&s.context, Ino(5)).expect_err(field);
            let early = ["magic", "instance"].contains(&unsealed.field);
            assert!(unsealed.is_checksum() || early);
            slot.seal(&s.context, Lsn(7));
            let defect = slot.verify(&s.context, Ino(5)).expect_err(field);
            assert_eq!(defect.field, *field, "{defect}");
        }
    }
    assert!(file.verify(&s.context, Ino(6)).is_err());
}

#[test]
fn superblock() {
    type SuperDamage = (&'static str, fn(&mut Superblock));

    let s = Sample::new();
    let sound = *Superblock::of(&s.image[&0][..]).unwrap();
    let damages: &[SuperDamage] = &[
        ("magic", |b| b.magic[0] = 0),
        ("version", |b| b.version.set(2)),
        ("format_rev", |b| b.format_rev.set(FORMAT_REV + 1)),
        ("instance", |b| b.instance.set(0)),
        ("block_count", |b| b.block_count.set(0)),
        ("ag_count", |b| b.block_count.set(8193)),
        ("ag_blocks", |b| b.ag_blocks.set(0)),
        ("ag_count", |b| b.ag_count.set(3)),
        ("incompat", |b| b.incompat.set(1)),
        ("root_ino", |b| b.root_ino.set(0)),
        ("root_ino", |b| b.root_ino.set(u64::MAX)),
        ("log_start", |b| b.log_start.set(0)),
        ("log_blocks", |b| b.log_blocks.set(0)),
        ("log_blocks", |b| b.log_blocks.set(5000)),
        ("block_log", |b| b.block_log = 13),
        ("inode_log", |b| b.inode_log = 8),
        ("state", |b| b.state.set(1 << 15)),
        ("free_blocks", |b| b.free_blocks.set(8192)),
        ("inodes", |b| b.inodes.set(1 << 20)),
        ("free_inodes", |b| b.free_inodes.set(65)),
        ("orphans", |b| b.orphans.set(65)),
        ("spare", |b| b.spare[0] = 1),
    ];
    assert!(sound.verify(DiskBlock(0)).is_ok());
    for (field, damage) in damages {
        let mut sb = sound;
        damage(&mut sb);
        assert!(sb.verify(DiskBlock(0)).is_err());
        sb.seal(DiskBlock(0));
        let defect = sb.verify(DiskBlock(0)).expect_err(field);
        assert_eq!(defect.field, *field, "{defect}");
    }
    assert_eq!(sound.verify(DiskBlock(1)).unwrap_err().field, "block");
    for byte in 0..512 {
        let mut bytes = *s.image[&0];
        bytes[byte] ^= 1;
        let sb = Superblock::of(&bytes).unwrap();
        assert!(sb.verify(DiskBlock(0)).is_err(), "byte {byte}");
    }
    assert!(Superblock::of(&[0; 511]).is_none());
}

/// Random blocks with sound headers: verifiers give an answer, and every accessor stays inside.
#[test]
fn nonsense() {
    let s = Sample::new();
    let mut state = params().instance;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let kinds = [
        BlockKind::AgHeader,
        BlockKind::Bitmap,
        BlockKind::InodeMap,
        BlockKind::Tree,
        BlockKind::Symlink,
        BlockKind::Log,
        BlockKind::Inodes,
    ];
    for n in 0..20_000 {
        let kind = kinds[n % kinds.len()];
        let at = s.free_block(0);
        let mut block = Box::new([0; BLOCK_SIZE]);
        let sparse = random() % 4;
        for chunk in block.chunks_mut(8) {
            if random() % (1 << (2 * sparse)) == 0 {
                chunk.copy_from_slice(&random().to_le_bytes());
            }
        }
        let owner = Owner::inode(Ino(9));
        *BlockHeader::of_mut(&mut block) = BlockHeader::new(kind, s.context.instance, at, owner);
        block[LEVEL] %= 10;
        block[KIND] %= 4;
        reseal(&mut block, &s.context);
        let _ = verify_block(&block, kind, &s.context, at, None);

        let node = TreeBlock::of(&block);
        let _ = (node.entries(), node.extents());
        for n in 0..node.count().min(3000) {
            let _ = (node.slot(n), node.dirent(n));
        }
        let header = AgHeader::of(&block);
        let _ = (header.inode_file.extents(), header.inode_file.tree());
        let map = MapBlock::of(&block);
        let _ = (map.count(), map.chunk(n as u32));
        let _ = SymlinkBlock::of(&block).bytes();
        let bitmap = BitmapBlock::of(&block);
        let _ = (bitmap.find(n as u32, true), bitmap.count_free());
        for n in 0..8 {
            let slot = InodeSlot::of(&block, Ino(n)).unwrap();
            let _ = slot.verify(&s.context, Ino(n));
            let _ = (slot.data(), slot.extents(), slot.tree(), slot.file_type());
            for entry in dirent::entries(slot.data()) {
                assert!(entry.name.len() < 256);
            }
        }
    }
}

#[test]
fn extent_round_trip() {
    let s = Sample::new();
    for (file, disk, len, unwritten) in [
        (0, 0, 1, false),
        (MAX_FILE_BLOCKS, (1 << 48) - 1, MAX_EXTENT_LEN, true),
        (12345, 67890, 111, true),
    ] {
        let extent = Extent {
            file: FileBlock(file),
            disk: DiskBlock(disk),
            len,
            unwritten,
        };
        assert_eq!(extent.pack().unwrap().unpack(), extent);
        assert_eq!(extent.map(extent.file), Some(extent.disk));
        assert_eq!(extent.map(extent.end()), None);
    }
    let mut bad = extent(&s, 0, 1, 1).unpack();
    bad.len = MAX_EXTENT_LEN + 1;
    assert_eq!(bad.pack(), None);
    bad.len = 0;
    assert_eq!(bad.pack(), None);
    (bad.len, bad.disk) = (1, DiskBlock(1 << 48));
    assert_eq!(bad.pack(), None);
}

#[test]
fn bitmap_operations() {
    let mut block = Box::new([0; BLOCK_SIZE]);
    let bitmap = BitmapBlock::of_mut(&mut block);
    for (start, len) in [(0, 1), (5, 20), (63, 2), (1000, 1000), (BITMAP_BITS - 3, 3)] {
        bitmap.set_range(start, len, true);
        assert!(bitmap.range_is(start, len, true));
        assert_eq!(
            bitmap.find(start, false),
            start.checked_add(len).filter(|e| *e < BITMAP_BITS)
        );
        assert_eq!(bitmap.count_free(), BITMAP_BITS - len);
        assert_eq!(bitmap.find(0, true), Some(start));
        bitmap.set_range(start, len, false);
        assert!(bitmap.range_is(0, BITMAP_BITS, false));
    }
    bitmap.set_range(BITMAP_BITS - 1, u32::MAX, true);
    assert_eq!(bitmap.count_free(), BITMAP_BITS - 1);
    assert!(bitmap.is_used(BITMAP_BITS) && !bitmap.range_is(BITMAP_BITS - 1, 2, true));
}
