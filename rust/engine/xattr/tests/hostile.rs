// SPDX-License-Identifier: GPL-2.0

//! What verifiers of single blocks cannot see: blocks that do not belong together.

use super::*;
use crate::engine::{faults::OnError, mount::MountOpts};
use crate::format::{
    header::{reseal, BlockKind},
    units::{Block, DiskBlock},
    xattr::value::AttrBlock,
};
use crate::sys::device::Backend;

/// A file with a large value, unmounted: its number, the blocks of the value.
fn sample(f: &Fixture) -> (Ino, Vec<DiskBlock>) {
    let a = file(&f.m, b"a");
    put_attr(&f.m, &a, user(b"v"), &pattern(20_000, 1)).unwrap();
    put_attr(&f.m, &a, user(b"w"), &pattern(3_000, 2)).unwrap();
    let ino = a.ino;
    drop(a);
    f.m.unmount().unwrap();
    let mut parts: Vec<(u32, u64, DiskBlock)> = Vec::new();
    for (at, block) in f.disk.snapshot() {
        if block[..4] == *b"LfXV" {
            let part = AttrBlock::of(&block);
            parts.push((part.index.get(), part.key.get(), DiskBlock(at)));
        }
    }
    parts.sort_by_key(|(index, key, _)| (*key, *index));
    assert_eq!(parts.len(), 6);
    (ino, parts.into_iter().map(|(_, _, at)| at).collect())
}

fn edit(f: &Fixture, at: DiskBlock, change: impl FnOnce(&mut Block)) {
    let mut block = crate::sys::Block::must_zeroed();
    f.disk.read(at.0, &mut block).unwrap();
    change(&mut block);
    reseal(&mut block, f.m.context());
    f.disk.write(at.0, &block).unwrap();
}

#[test]
fn parts_that_do_not_belong_together() {
    // Other part, other attribute, other length.
    for (offset, byte) in [(48, 9), (40, 7), (52, 1)] {
        let mut f = Fixture::new(8192);
        let (ino, blocks) = sample(&f);
        for at in blocks {
            edit(&f, at, |block| block[offset] ^= byte);
        }
        let opts = MountOpts {
            errors: OnError::Continue,
            ..MountOpts::default()
        };
        f.m = Mount::open(Device::new(f.disk.clone(), false), opts).unwrap();
        let a = inode::iget(&f.m, ino).unwrap();
        for name in [b"v", b"w"] {
            let read = value_of(&f.m, &a, user(name));
            assert_eq!(errno(read), Errno::UCLEAN, "offset {offset}");
        }
        // What is broken can be removed, and the file system goes on.
        del_attr(&f.m, &a, user(b"v")).unwrap();
        put_attr(&f.m, &a, user(b"w"), b"good").unwrap();
        assert_eq!(value_of(&f.m, &a, user(b"w")).unwrap(), b"good");
    }
}

#[test]
fn a_bad_checksum_is_told() {
    let mut f = Fixture::new(8192);
    let (ino, blocks) = sample(&f);
    for at in blocks {
        let mut block = crate::sys::Block::must_zeroed();
        f.disk.read(at.0, &mut block).unwrap();
        block[1000] ^= 1;
        f.disk.write(at.0, &block).unwrap();
    }
    f.remount_only();
    let a = inode::iget(&f.m, ino).unwrap();
    assert_eq!(errno(value_of(&f.m, &a, user(b"v"))), Errno::BADMSG);
}

/// A verifier of its own: every single wrong field.
#[test]
fn value_blocks_are_verified() {
    let f = Fixture::new(8192);
    let context = *f.m.context();
    let (at, owner) = (DiskBlock(3000), Owner::inode(Ino(9)));
    let key = crate::format::hash::key(5, 0);
    let mut sound = crate::sys::Block::must_zeroed();
    AttrBlock::format(&mut sound, &context, at, owner, key, 16, &[7; 1024]);
    reseal(&mut sound, &context);
    let verify = |block: &Block| {
        crate::format::verify_block(block, BlockKind::AttrValue, &context, at, None)
    };
    assert_eq!(verify(&sound), Ok(()));
    for (field, offset, bytes) in [
        ("owner", 24, u64::MAX),
        ("key", 40, 0),
        ("key", 40, u64::MAX),
        ("index", 48, 17 | 1024 << 32),
        ("len", 48, 16),
        ("len", 48, 16 | 1025 << 32),
        ("len", 48, 15 | 4033 << 32),
    ] {
        let mut block = crate::sys::Block::must_zeroed();
        block.copy_from_slice(&sound[..]);
        block[offset..offset + 8].copy_from_slice(&bytes.to_le_bytes());
        reseal(&mut block, &context);
        assert_eq!(verify(&block).unwrap_err().field, field);
    }
}
