// SPDX-License-Identifier: GPL-2.0

//! An image with one of everything.

use latchfs_engine::format::{FileType, Ino};
use latchfs_fsck::{check, repair, FileId, Options, Problem, Report};
use latchfs_host::{Block, Device};
use latchfs_image::{Builder, Content, Image};

/// A sound file system, and the numbers of its inodes.
pub struct Sample {
    pub image: Image,
    pub root: Ino,
    /// Regular file with three inline extents: 0-3, 8-9, 12 (unwritten).
    pub file: Ino,
    /// Regular file with a tree of three levels.
    pub big: Ino,
    /// Directory with `sub`, `inner` and a second name of `file`.
    pub dir: Ino,
    pub sub: Ino,
    pub inner: Ino,
    /// Directory with a tree of three levels, 120 files `n0`...
    pub many: Ino,
    pub short: Ino,
    /// Symlink of 4095 bytes.
    pub long: Ino,
    pub device: Ino,
    /// File without a name, marked orphan.
    pub orphan: Ino,
    /// Directory in group 1.
    #[allow(dead_code)]
    pub far: Ino,
}

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

/// Checks; and repairs a copy, which must be sound then.
#[track_caller]
pub fn fsck(image: &Image) -> Report {
    let report = check(&image.dev, &Options::default()).expect("there is a superblock");
    let copy = copy(&image.dev);
    let outcome = repair(&copy, &Options::default()).expect("memory does not fail");
    let hopeless = report.problems.iter().any(hopeless);
    assert!(
        outcome.last.is_clean() || hopeless,
        "{:#?} {:#?}",
        outcome.done,
        outcome.last.messages
    );
    assert_eq!(outcome.changed, !outcome.done.is_empty());
    assert!(outcome.changed || hopeless || report.is_clean());

    let again = repair(&copy, &Options::default()).expect("memory does not fail");
    assert!(again.done.is_empty(), "{:#?}", again.done);
    report
}

/// What is not repaired: the hidden files are not guessed.
fn hopeless(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::ReadError { .. }
            | Problem::MapBlockMissing { .. }
            | Problem::ChunkScattered { .. }
            | Problem::ExtentUnwritten {
                file: FileId::InodeMap(_) | FileId::InodeFile(_),
                ..
            }
    )
}

/// A copy of a device.
pub fn copy(dev: &Device) -> Device {
    let to = Device::memory(dev.blocks());
    let mut block = Block::must_zeroed();
    for at in 0..dev.blocks() {
        dev.read_block(at, &mut block)
            .expect("memory does not fail");
        if block.iter().any(|byte| *byte != 0) {
            to.write_block(at, &block).expect("memory does not fail");
        }
    }
    to
}

/// Checks that exactly these problems are found.
#[track_caller]
pub fn finds(image: &Image, expected: &[Problem]) {
    let report = fsck(image);
    assert_eq!(report.problems, expected, "{:#?}", report.messages);
}
