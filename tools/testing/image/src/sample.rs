// SPDX-License-Identifier: GPL-2.0

//! A small file system with one of everything.

use latchfs_engine::format::{AttrSpace, FileType, Ino};

use crate::{Builder, Content, Image};

/// A sound file system, and the numbers of its inodes.
pub struct Sample {
    /// The image.
    pub image: Image,
    /// Root directory.
    pub root: Ino,
    /// Regular file with three inline extents: 0-3, 8-9, 12 (unwritten); two attributes in the inode.
    pub file: Ino,
    /// Regular file with a tree of three levels.
    pub big: Ino,
    /// Directory with `sub`, `inner` and a second name of `file`; a tree of 22 attributes with two levels,
    /// two of the values in blocks of their own.
    pub dir: Ino,
    /// Directory in `dir`, empty.
    pub sub: Ino,
    /// Empty file in `dir`.
    pub inner: Ino,
    /// Directory with a tree of three levels, 120 files `n0`...
    pub many: Ino,
    /// Symlink of 4 bytes.
    pub short: Ino,
    /// Symlink of 4095 bytes.
    pub long: Ino,
    /// Block device.
    pub device: Ino,
    /// File without a name, marked orphan.
    pub orphan: Ino,
    /// Directory in group 1.
    /// Directory in group 1, with a file.
    pub far: Ino,
}

/// user::rwx, group::r-x, other::r-x.
const ACL: [u8; 28] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255,
    255, 255, 255,
];

/// A value of this length, mostly zeroes.
fn value(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| {
            if n % 1000 == 7 {
                (n / 1000) as u8 + 1
            } else {
                0
            }
        })
        .collect()
}

/// The sample: 64 MiB, four groups.
pub fn sample() -> Sample {
    let mut b = Builder::new(16384, Some(4096));
    b.fanout = 5;
    b.leaf_records = 6;
    let root = b.root();
    let runs = vec![(0, 4, false), (8, 2, false), (12, 1, true)];
    let file = b.add(root, b"file", Content::File(runs, 40_000));
    let runs = (0..100)
        .map(|n| (n * 3, 1 + n as u32 % 2, n % 7 == 0))
        .collect();
    let big = b.add(root, b"big", Content::File(runs, 300 * 4096));
    let dir = b.add(root, b"dir", Content::Dir);
    let sub = b.add(dir, b"sub", Content::Dir);
    let inner = b.add(dir, b"inner", Content::File(vec![], 0));
    b.link(dir, b"other name", file);
    let many = b.add(root, b"many", Content::Dir);
    for n in 0..120 {
        let name = format!("n{n}");
        b.add(
            many,
            name.as_bytes(),
            Content::File(vec![(0, 1, false)], 10),
        );
    }
    let short = b.add(root, b"short", Content::Symlink(b"file".to_vec()));
    let long = b.add(root, b"long", Content::Symlink(vec![b'x'; 4095]));
    let device = b.add(
        root,
        b"device",
        Content::Device(FileType::BlockDevice, 0x801),
    );
    b.add(root, b"fifo", Content::Special(FileType::Fifo));
    b.attr(file, AttrSpace::User, b"mime", b"text/plain");
    b.attr(file, AttrSpace::Security, b"capability", &[1; 20]);
    b.attr(dir, AttrSpace::AclDefault, b"", &ACL);
    for n in 0..19_u8 {
        let name = format!("attribute {n}");
        b.attr(
            dir,
            AttrSpace::User,
            name.as_bytes(),
            &vec![n; usize::from(n) * 7],
        );
    }
    b.attr(dir, AttrSpace::Trusted, b"large", &value(65536));
    b.attr(dir, AttrSpace::Trusted, b"middle", &value(4033));
    b.attr(device, AttrSpace::Security, b"label", b"device");
    let orphan = b.anonymous(0, Content::File(vec![(0, 2, false)], 8192));
    let far = b.add_in(1, root, b"far", Content::Dir);
    b.add_in(1, far, b"file", Content::File(vec![(0, 10, false)], 40_960));
    Sample {
        image: b.build(),
        root,
        file,
        big,
        dir,
        sub,
        inner,
        many,
        short,
        long,
        device,
        orphan,
        far,
    }
}
