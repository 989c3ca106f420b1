// SPDX-License-Identifier: GPL-2.0

//! The golden images are read by everything that reads.

use latchfs_engine::engine::{
    file,
    inode::{self, InodeRef},
    mount::{Mount, MountOpts},
    namespace, xattr,
};
use latchfs_engine::format::{limits::FORMAT_REV, DiskBlock, FileType, Superblock};
use latchfs_golden::{
    besides, fresh, listing, pack, replayed, summary, unpack, unpack_over, CRASHED,
    CRASHED_LISTING, IMAGE, LISTING,
};
use latchfs_host::{Block, Device, Errno};
use latchfs_tool::Volume;

const BLOCKS: u64 = 16384;

fn golden() -> Device {
    unpack(IMAGE, BLOCKS).unwrap()
}

/// The image as a crash left it.
fn crashed() -> Device {
    let dev = golden();
    unpack_over(CRASHED, &dev).unwrap();
    dev
}

fn superblock(dev: &Device) -> Superblock {
    let mut block = Block::must_zeroed();
    dev.read_block(0, &mut block).unwrap();
    *Superblock::of(&block[..]).unwrap()
}

/// It is of this revision; if not: `cargo run -p latchfs-golden`.
#[test]
fn revision() {
    assert_eq!(superblock(&golden()).format_rev.get(), FORMAT_REV);
    assert!(IMAGE.len() < 64 << 10, "{} bytes", IMAGE.len());
}

/// The code that makes images still makes this one.
#[test]
fn made_the_same() {
    assert!(pack(&fresh().dev).unwrap() == IMAGE, "run latchfs-golden");
}

#[test]
fn fsck() {
    let report = latchfs_fsck::check(&golden(), &latchfs_fsck::Options::default()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.messages);
}

#[test]
fn read_unmounted() {
    let volume = Volume::open(golden()).unwrap();
    assert_eq!(listing(&volume).unwrap(), LISTING);
}

/// The engine finds each line of the listing: through names, inodes and maps of blocks.
#[test]
fn read_by_the_engine() {
    for read_only in [true, false] {
        let dev = golden();
        let opts = MountOpts {
            read_only,
            ..MountOpts::default()
        };
        let m = Mount::open(dev.clone(), opts).unwrap();
        let root = inode::iget(&m, m.root_ino()).unwrap();
        for line in LISTING.lines() {
            let (path, rest) = line.split_once(" ino ").unwrap_or_else(|| {
                let at = line.find(" attributes ").unwrap();
                (&line[..at], &line[at + 1..])
            });
            let mut at: InodeRef = root.clone();
            for name in path.split('/').skip(1) {
                at = namespace::lookup(&m, &at, name.as_bytes())
                    .unwrap()
                    .unwrap();
            }
            if rest.starts_with("attributes ") {
                assert_eq!(attributes(&m, &at), rest, "{path}");
                continue;
            }
            let attrs = at.attrs();
            let crc = content(&m, &dev, &at);
            let kind = match FileType::from_mode(attrs.mode).unwrap() {
                FileType::Regular => format!("crc {crc:08x}"),
                FileType::Symlink => format!("target crc {crc:08x}"),
                FileType::Directory => {
                    format!("parent {}", namespace::parent(&m, &at).unwrap().ino)
                }
                _ => format!("rdev {:#x}", attrs.rdev),
            };
            let found = format!(
                "{} mode {:o} uid {} gid {} nlink {} size {} blocks {} mtime {} {kind}",
                attrs.ino,
                attrs.mode,
                attrs.uid,
                attrs.gid,
                attrs.nlink,
                attrs.size,
                attrs.blocks,
                attrs.mtime.secs,
            );
            assert_eq!(found, rest, "{path}");
        }
        drop(root);
        m.unmount().unwrap();
    }
}

/// What the listing says of an inode's attributes, by way of the engine.
fn attributes(m: &std::sync::Arc<Mount>, inode: &InodeRef) -> String {
    let mut names = Vec::new();
    xattr::list(m, inode, |space, name| names.push((space, name.to_vec()))).unwrap();
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = names
        .iter()
        .map(|(space, name)| {
            let mut value = vec![0; 65536];
            let found = xattr::Name::new(*space, name);
            let len = xattr::get(m, inode, found, &mut value).unwrap();
            value.truncate(len);
            let full = [space.prefix().as_bytes(), name].concat();
            (full, value)
        })
        .collect();
    summary(&mut all).unwrap()
}

/// Checksum of the content of a file or symlink, by way of the engine.
fn content(m: &std::sync::Arc<Mount>, dev: &Device, inode: &InodeRef) -> u32 {
    let attrs = inode.attrs();
    let mut crc = 0;
    match FileType::from_mode(attrs.mode) {
        Some(FileType::Symlink) => {
            let mut target = vec![0; 4096];
            let len = namespace::readlink(m, inode, &mut target).unwrap();
            crc = latchfs_host::crc32c(0, &target[..len]);
        }
        Some(FileType::Regular) => {
            let mut block = Block::must_zeroed();
            let mut pos = 0;
            while pos < attrs.size {
                let map = file::bmap_read(m, inode, pos, 4096).unwrap();
                if map.kind == file::BmapKind::Mapped {
                    dev.read_block((map.addr + pos - map.offset) / 4096, &mut block)
                        .unwrap();
                } else {
                    block.fill(0);
                }
                let len = (attrs.size - pos).min(4096);
                crc = latchfs_host::crc32c(crc, &block[..len as usize]);
                pos += len;
            }
        }
        _ => {}
    }
    crc
}

/// It was not unmounted, and hardly anything is where it belongs.
#[test]
fn crashed_is_one() {
    assert!(!superblock(&crashed()).is_clean());
    assert!(CRASHED.len() < 192 << 10, "{} bytes", CRASHED.len());
    assert!(CRASHED_LISTING.lines().count() > 20);
    let unreplayed = listing(&Volume::open(crashed()).unwrap());
    assert!(unreplayed.is_err() || besides(LISTING, &unreplayed.unwrap()).unwrap().is_empty());
}

/// fsck replays the log of the crashed image in memory, and finds nothing wrong.
#[test]
fn crashed_is_checked() {
    let report = latchfs_fsck::check_device(&crashed()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.messages);
    let recovered = report.recovered.unwrap();
    assert!(
        recovered.checkpoints > 3 && recovered.blocks > 5,
        "{recovered:?}"
    );
}

/// fsck and the mount replay it to the same files.
#[test]
fn crashed_is_replayed() {
    let by_fsck = crashed();
    latchfs_fsck::repair(&by_fsck, &latchfs_fsck::Options::default()).unwrap();
    let by_fsck = listing(&Volume::open(by_fsck).unwrap()).unwrap();
    let mounted = crashed();
    let by_mount = replayed(&mounted).unwrap();
    for listing in [by_fsck, by_mount] {
        assert_eq!(besides(LISTING, &listing).unwrap(), CRASHED_LISTING);
    }
    let report = latchfs_fsck::check_device(&mounted).unwrap();
    assert!(
        report.is_clean() && report.recovered.is_none(),
        "{:#?}",
        report.messages
    );
}

/// Another revision is refused with a line that says what to do.
#[test]
fn old_revisions_are_refused() {
    for rev in [0, FORMAT_REV + 1] {
        let dev = golden();
        let mut sb = superblock(&dev);
        sb.format_rev.set(rev);
        sb.seal(DiskBlock(0));
        let mut block = Block::must_zeroed();
        sb.store(&mut block);
        dev.write_block(0, &block).unwrap();

        let fatal = latchfs_fsck::check(&dev, &latchfs_fsck::Options::default()).unwrap_err();
        assert!(
            fatal.to_string().contains(&format!("revision {rev}")),
            "{fatal}"
        );
        let refused = Mount::open(dev, MountOpts::default());
        assert_eq!(refused.err().map(|error| error.errno()), Some(Errno::INVAL));
    }
}
