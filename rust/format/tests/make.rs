// SPDX-License-Identifier: GPL-2.0

//! What `make` makes is what the verifiers accept.

use std::collections::BTreeMap;

use crate::format::{
    make::{make, MakeParams, ROOT_INO},
    *,
};

/// A file system in memory: its blocks by number.
pub(super) type Image = BTreeMap<u64, Box<Block>>;

pub(super) fn params() -> MakeParams<'static> {
    MakeParams {
        uuid: *b"0123456789abcdef",
        instance: 0x1122_3344_5566_7788,
        hash_seed: 42,
        label: b"label",
        now: (1_000_000_000, 5),
        uid: 0,
        gid: 0,
        root_mode: 0o755,
        root_generation: 7,
    }
}

pub(super) fn image(geometry: &Geometry) -> (Superblock, Image) {
    let mut image = Image::new();
    let mut block = Box::new([0; BLOCK_SIZE]);
    let sb = make::<()>(geometry, &params(), &mut block, &mut |at, block| {
        assert!(image.insert(at.0, Box::new(*block)).is_none(), "{at} twice");
        Ok(())
    });
    (sb.unwrap().unwrap(), image)
}

fn check(geometry: &Geometry) {
    let (_, image) = image(geometry);
    let sb = Superblock::of(&image[&0][..]).unwrap();
    let context = sb.verify(DiskBlock(0)).unwrap();
    assert_eq!(context.geometry, *geometry);
    assert_eq!(sb.label(), b"label");

    let mut free = 0;
    for ag in geometry.ags() {
        if let Some(at) = geometry.superblock_copy(ag) {
            Superblock::of(&image[&at.0][..])
                .unwrap()
                .verify(at)
                .unwrap();
        }
        let at = geometry.header_block(ag).unwrap();
        let header = &image[&at.0];
        verify_block(
            header,
            BlockKind::AgHeader,
            &context,
            at,
            Some(Owner::ag(ag)),
        )
        .unwrap();
        free += u64::from(geometry.dynamic_blocks(ag));
        for index in 0..AgHeader::of(header).bitmap_init.get() {
            let at = geometry.bitmap_block(ag, index).unwrap();
            let owner = Some(Owner::ag(ag));
            verify_block(&image[&at.0], BlockKind::Bitmap, &context, at, owner).unwrap();
        }
    }
    assert_eq!(sb.free_blocks.get(), free - 9);
    let log = geometry.log().start;
    verify_block(&image[&log.0], BlockKind::Log, &context, log, None).unwrap();

    let header = AgHeader::of(&image[&geometry.header_block(AgNumber(0)).unwrap().0]);
    let map = header.inode_map.extents()[0].unpack().disk;
    let owner = Some(Owner::inode_map(AgNumber(0)));
    verify_block(&image[&map.0], BlockKind::InodeMap, &context, map, owner).unwrap();
    let file = header.inode_file.extents()[0].unpack();
    assert_eq!((file.len, file.file.0), (8, 0));
    for index in 0..64 {
        let ino = Ino(index);
        let at = file.map(ino.file_block()).unwrap();
        let slot = InodeSlot::of(&image[&at.0], ino).unwrap();
        slot.verify(&context, ino).unwrap();
        assert_eq!(slot.is_free(), ino != ROOT_INO);
    }
}

#[test]
fn sizes() {
    for blocks in [
        4096,
        4097,
        4352,
        16384,
        65536,
        1 << 20,
        1 << 24,
        (1 << 24) + 17,
    ] {
        check(&Geometry::for_device(blocks, None).unwrap());
    }
}

#[test]
fn odd_groups() {
    for ag_blocks in [1024, 1500, 4096, 32256, 32257, 40000, 300_000] {
        for blocks in [4096, 5000, 70_000, 1 << 19] {
            if let Some(geometry) = Geometry::for_device(blocks, Some(ag_blocks)) {
                check(&geometry);
            }
        }
    }
}

/// 17 TB: the number of blocks written is small.
#[test]
fn huge() {
    let geometry = Geometry::for_device(17_000_000_000_000 / 4096, None).unwrap();
    assert!(geometry.ag_count() <= 1024);
    let (_, image) = image(&geometry);
    assert!(image.len() < 1100, "{}", image.len());
}
