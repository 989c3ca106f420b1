// SPDX-License-Identifier: GPL-2.0

//! An image as a crash leaves it: with a log.

use latchfs_engine::engine::{
    inode,
    mount::{Mount, MountOpts},
    namespace::{self, Change, NewInode},
    xattr::{self, How, Name},
    Result,
};
use latchfs_engine::format::AttrSpace;
use latchfs_host::{Block, Device};

/// A copy of a device.
pub fn copy(dev: &Device) -> Device {
    let to = Device::memory(dev.blocks());
    let mut block = Block::must_zeroed();
    for at in 0..dev.blocks() {
        dev.read_block(at, &mut block).expect("the image is read");
        if block.iter().any(|byte| *byte != 0) {
            to.write_block(at, &block).expect("memory does not fail");
        }
    }
    to
}

/// Mounts the file system on `dev`, changes this and that, and stops in the middle: everything is
/// durable in the log, hardly anything is in its place. The mount is never freed; its memory is the
/// price of a crash.
///
/// Unlike the rest of this crate, this uses the engine: generations are random, nothing else is.
pub fn crash(dev: &Device) {
    let m = Mount::open(dev.clone(), MountOpts::default()).expect("the image is sound");
    change(&m).expect("the image is sound");
    std::mem::forget(m);
}

fn change(m: &std::sync::Arc<Mount>) -> Result {
    let root = inode::iget(m, m.root_ino())?;
    let node = |mode: u16, n: i64| NewInode {
        mode,
        now: latchfs_host::Time { secs: n, nanos: 1 },
        ..NewInode::default()
    };
    let count = m.superblock(|sb| sb.mount_count.get())?;
    let name = format!("made before crash {count}");
    let dir = namespace::create(m, &root, name.as_bytes(), &node(0o040_755, 1))?;
    m.checkpoint()?;
    // More than fits into an inode, and into one block.
    for n in 0..120 {
        let name = format!("a name of some length, so that leaves fill up, number {n}");
        namespace::create(m, &dir, name.as_bytes(), &node(0o100_644, n))?;
        if n % 40 == 0 {
            m.checkpoint()?;
        }
    }
    // Attributes in inodes, in a tree, in blocks of their own; some of them replaced.
    for n in 0..30_u8 {
        let name = format!("attribute {n}");
        let name = Name::new(AttrSpace::User, name.as_bytes());
        let value = vec![n; usize::from(n) * 150];
        let change = Change::default();
        xattr::set(m, &dir, name, &value, How::Any, &change)?;
        if n % 7 == 0 {
            m.checkpoint()?;
            xattr::set(m, &dir, name, &[n; 3000], How::Any, &change)?;
        }
        if n % 4 == 0 {
            xattr::remove(m, &dir, name, &change)?;
        }
    }
    let long = [b'x'; 1000];
    namespace::symlink(m, &dir, b"long symlink", &node(0o120_777, 3), &long)?;
    namespace::tmpfile(m, &root, &node(0o100_600, 4))?;
    m.checkpoint()?;
    // And away with much of it: blocks are freed whose images are in the log.
    for n in 0..100 {
        let name = format!("a name of some length, so that leaves fill up, number {n}");
        if let Some(victim) = namespace::lookup(m, &dir, name.as_bytes())? {
            let now = latchfs_host::Time { secs: n, nanos: 2 };
            namespace::unlink(m, &dir, name.as_bytes(), &victim, now)?;
        }
    }
    m.checkpoint()
}
