// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{AgNumber, Defect, DefectKind, DiskBlock};
use latchfs_fsck::{check, Fatal, Options, Problem};
use latchfs_host::Device;
use latchfs_image::{Builder, Image};

use super::common::{finds, sample};

fn defect(field: &'static str, kind: DefectKind) -> Defect {
    Defect::new(field, kind)
}

fn fatal(image: &Image) -> Fatal {
    check(&image.dev, &Options::default()).expect_err("should not be checked")
}

#[test]
fn superblock_damaged() {
    for (byte, field, kind) in [
        (0, "magic", DefectKind::Magic),
        (20, "crc", DefectKind::Checksum),
        (100, "crc", DefectKind::Checksum),
    ] {
        let s = sample();
        s.image.edit_raw(DiskBlock(0), |block| block[byte] ^= 0x55);
        let problem = Problem::SuperblockDamaged {
            defect: defect(field, kind),
            copy: AgNumber(1),
        };
        finds(&s.image, &[problem]);
    }
}

#[test]
fn superblock_copy_damaged() {
    let s = sample();
    s.image
        .edit_raw(DiskBlock(3 * 4096), |block| block[20] ^= 1);
    let problem = Problem::SuperblockCopyDamaged {
        ag: AgNumber(3),
        defect: defect("crc", DefectKind::Checksum),
    };
    finds(&s.image, &[problem]);
}

#[test]
fn superblock_copy_differs() {
    let s = sample();
    s.image.edit_superblock(|sb| sb.label[0] = b'!');
    let differs = |ag| Problem::SuperblockCopyDiffers {
        ag: AgNumber(ag),
        field: "label",
    };
    finds(&s.image, &[differs(1), differs(3)]);
}

#[test]
fn superblock_count() {
    for (field, offset) in [
        ("free_blocks", 112),
        ("inodes", 120),
        ("free_inodes", 128),
        ("orphans", 136),
    ] {
        let s = sample();
        let mut found = 0;
        s.image.edit_superblock(|sb| {
            let count = match offset {
                112 => &mut sb.free_blocks,
                120 => &mut sb.inodes,
                128 => &mut sb.free_inodes,
                _ => &mut sb.orphans,
            };
            found = count.get();
            count.set(found + 1);
        });
        let problem = Problem::SuperblockCount {
            field,
            stored: found + 1,
            found,
        };
        finds(&s.image, std::slice::from_ref(&problem));

        // After a crash they are those of the newest checkpoint; the log has none.
        s.image.edit_superblock(|sb| sb.state.set(0));
        finds(&s.image, &[problem]);
    }
}

#[test]
fn log_damaged() {
    let s = sample();
    let block = s.image.context.geometry.log().start;
    s.image.edit_raw(block, |data| data[60] ^= 1);
    let problem = Problem::LogDamaged {
        block,
        defect: defect("crc", DefectKind::Checksum),
    };
    finds(&s.image, &[problem]);
}

#[test]
fn not_a_latchfs() {
    let image = Builder::new(4096, None).build();
    image.put(DiskBlock(0), &[0; 4096]);
    let text = fatal(&image).to_string();
    assert_eq!(text, "no latchfs found");

    let empty = check(&Device::memory(0), &Options::default()).unwrap_err();
    assert!(!empty.is_damage());
    let tiny = check(&Device::memory(3), &Options::default()).unwrap_err();
    assert!(!tiny.is_damage());
}

#[test]
fn no_copy_left() {
    let s = sample();
    s.image.edit_raw(DiskBlock(0), |block| block[20] ^= 1);
    s.image.edit_raw(DiskBlock(4096), |block| block[20] ^= 1);
    s.image
        .edit_raw(DiskBlock(3 * 4096), |block| block[20] ^= 1);
    assert!(fatal(&s.image).to_string().contains("no usable copy"));
}

#[test]
fn unsupported() {
    let s = sample();
    s.image.edit_superblock(|sb| sb.format_rev.set(999));
    assert!(fatal(&s.image).to_string().contains("revision 999"));
    let s = sample();
    s.image.edit_superblock(|sb| sb.incompat.set(1 << 40));
    assert!(matches!(fatal(&s.image), Fatal::Unsupported { .. }));
}

#[test]
fn too_short() {
    let s = sample();
    let short = Device::memory(10_000);
    let mut block = latchfs_host::Block::must_zeroed();
    s.image.dev.read_block(0, &mut block).unwrap();
    short.write_block(0, &block).unwrap();
    let fatal = check(&short, &Options::default()).unwrap_err();
    let expected = Fatal::TooShort {
        device: 10_000,
        needed: 16_384,
    };
    assert_eq!(fatal, expected);
    assert!(fatal.is_damage());
}

/// An error of the device in each place.
#[test]
fn read_error() {
    use latchfs_host::{device::Backend, Errno, SysResult};
    use std::sync::Arc;

    struct Failing(Device, u64);
    impl Backend for Failing {
        fn blocks(&self) -> u64 {
            self.0.blocks()
        }
        fn read(&self, block: u64, buf: &mut [u8; 4096]) -> SysResult<()> {
            if block == self.1 {
                return Err(Errno::IO);
            }
            let mut from = latchfs_host::Block::must_zeroed();
            self.0.read_block(block, &mut from)?;
            buf.copy_from_slice(&from[..]);
            Ok(())
        }
        fn write(&self, _: u64, _: &[u8; 4096]) -> SysResult<()> {
            Err(Errno::ROFS)
        }
        fn flush(&self) -> SysResult<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> SysResult<()> {
            Ok(())
        }
    }

    let s = sample();
    let g = s.image.context.geometry;
    for (block, what) in [
        (4096, "superblock copy"),
        (g.log().start.0, "log header"),
        (s.image.header_block(2).0, "AG header"),
        (g.bitmap_block(AgNumber(0), 0).unwrap().0, "bitmap"),
        (s.image.map_block(1, 0).0, "inode map"),
        (s.image.slot_block(s.file).0, "inode block"),
        (s.image.tree(s.big).0, "tree node"),
        (
            s.image.slot(s.long).extents()[0].unpack().disk.0,
            "symlink target",
        ),
    ] {
        let dev = Device::new(Arc::new(Failing(s.image.dev.clone(), block)), true);
        let report = check(&dev, &Options::default()).unwrap();
        let expected = Problem::ReadError {
            block: DiskBlock(block),
            error: Errno::IO,
            what,
        };
        assert!(
            report.problems.contains(&expected),
            "{:#?}",
            report.messages
        );
    }
    let dev = Device::new(Arc::new(Failing(s.image.dev.clone(), 0)), true);
    assert!(matches!(
        check(&dev, &Options::default()),
        Err(Fatal::Read { .. })
    ));
}
