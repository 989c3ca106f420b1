// SPDX-License-Identifier: GPL-2.0

//! Recognises what is on a device before it is overwritten.
//!
//! Not a replacement for libblkid: it answers one question - is there something that someone may
//! miss? - and needs no library. Other programs (mount, fsck, udev) do use libblkid, so mkfs erases
//! the places where all of these live.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A signature at a fixed place.
struct Magic {
    name: &'static str,
    /// From the start, or from the end if negative.
    offset: i64,
    bytes: &'static [u8],
}

const fn magic(name: &'static str, offset: i64, bytes: &'static [u8]) -> Magic {
    Magic {
        name,
        offset,
        bytes,
    }
}

/// Ordered by how much it tells: what is found first is what the user is told.
const MAGICS: &[Magic] = &[
    magic("ext2/ext3/ext4", 1080, &[0x53, 0xef]),
    magic("xfs", 0, b"XFSB"),
    magic("btrfs", 0x10040, b"_BHRfS_M"),
    magic("bcachefs", 4120, &BCACHE),
    magic("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    magic("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    magic("ntfs", 3, b"NTFS    "),
    magic("exfat", 3, b"EXFAT   "),
    magic("vfat", 82, b"FAT32   "),
    magic("vfat", 54, b"FAT16   "),
    magic("vfat", 54, b"FAT12   "),
    magic("vfat", 54, b"FAT     "),
    magic("vfat", 54, b"MSDOS"),
    magic("iso9660", 0x8001, b"CD001"),
    magic("udf", 0x8001, b"BEA01"),
    magic("udf", 0x8001, b"NSR0"),
    magic("hfs", 1024, b"BD"),
    magic("hfsplus", 1024, b"H+"),
    magic("hfsplus", 1024, b"HX"),
    magic("squashfs", 0, b"hsqs"),
    magic("squashfs", 0, b"sqsh"),
    magic("cramfs", 0, &[0x45, 0x3d, 0xcd, 0x28]),
    magic("cramfs", 0, &[0x28, 0xcd, 0x3d, 0x45]),
    magic("romfs", 0, b"-rom1fs-"),
    magic("bfs", 0, &[0xce, 0xfa, 0xad, 0x1b]),
    magic("minix", 1040, &[0x7f, 0x13]),
    magic("minix", 1040, &[0x8f, 0x13]),
    magic("minix", 1040, &[0x68, 0x24]),
    magic("minix", 1040, &[0x78, 0x24]),
    magic("minix", 1048, &[0x5a, 0x4d]),
    magic("jfs", 0x8000, b"JFS1"),
    magic("reiserfs", 0x10034, b"ReIsEr"),
    magic("reiserfs", 0x2034, b"ReIsEr"),
    magic("reiser4", 0x10000, b"ReIsEr4"),
    magic("nilfs2", 1030, &[0x34, 0x34]),
    magic("gfs2", 0x10000, &[0x01, 0x16, 0x19, 0x70]),
    magic("ocfs2", 0x1000, b"OCFSV2"),
    magic("ocfs2", 0x2000, b"OCFSV2"),
    magic("ufs", 0x255c, &[0x19, 0x01, 0x54, 0x19]),
    magic("swap", 4086, b"SWAPSPACE2"),
    magic("swap", 4086, b"SWAP-SPACE"),
    magic("swap", 8182, b"SWAPSPACE2"),
    magic("swap", 16374, b"SWAPSPACE2"),
    magic("swap", 65526, b"SWAPSPACE2"),
    magic("hibernation image", 4086, b"S1SUSPEND"),
    magic("LUKS", 0, b"LUKS\xba\xbe"),
    magic("LUKS", 0x4000, b"SKUL\xba\xbe"),
    magic("LVM2 physical volume", 512, b"LABELONE"),
    magic("LVM2 physical volume", 0, b"LABELONE"),
    magic("LVM2 physical volume", 1024, b"LABELONE"),
    magic("LVM2 physical volume", 1536, b"LABELONE"),
    magic("bcache", 4120, &BCACHE_DEVICE),
    magic("md raid", 4096, &MD),
    magic("md raid", 0, &MD),
    magic("zfs", 0x20000, &[0x0c, 0xb1, 0xba, 0x00]),
    magic("zfs", 0x21000, &[0x0c, 0xb1, 0xba, 0x00]),
    magic("gpt partition table", 512, b"EFI PART"),
    magic("gpt partition table", 4096, b"EFI PART"),
    magic("gpt partition table", -512, b"EFI PART"),
    magic("gpt partition table", -4096, b"EFI PART"),
];

const MD: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
const BCACHE: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef,
];
const BCACHE_DEVICE: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];

/// What is on a device of `size` bytes: the name of the first thing recognised, or [`None`].
///
/// A latchfs is not reported: it is for mkfs.latchfs to replace.
pub fn detect(file: &File, size: u64) -> io::Result<Option<&'static str>> {
    for magic in MAGICS {
        let at = match u64::try_from(magic.offset) {
            Ok(offset) => Some(offset),
            Err(_) => size.checked_sub(magic.offset.unsigned_abs()),
        };
        if let Some(at) = at {
            if matches(file, size, at, magic.bytes)? {
                return Ok(Some(magic.name));
            }
        }
    }
    // The places of these depend on the size of the device.
    let md_090 = (size & !0xffff).checked_sub(0x10000);
    let md_10 = (size / 512)
        .checked_sub(16)
        .map(|sector| (sector & !7) * 512);
    for at in [md_090, md_10].into_iter().flatten() {
        if matches(file, size, at, &MD)? {
            return Ok(Some("md raid"));
        }
    }
    if has_partitions(file, size)? {
        return Ok(Some("dos partition table"));
    }
    Ok(None)
}

/// Whether `bytes` are at `at`.
fn matches(file: &File, size: u64, at: u64, bytes: &[u8]) -> io::Result<bool> {
    if at.saturating_add(bytes.len() as u64) > size {
        return Ok(false);
    }
    let mut found = vec![0; bytes.len()];
    file.read_exact_at(&mut found, at)?;
    Ok(found == bytes)
}

/// Whether there is a master boot record with at least one partition. Boot sectors end with the
/// same two bytes, so the entries must look like entries.
fn has_partitions(file: &File, size: u64) -> io::Result<bool> {
    let mut sector = [0; 512];
    if size < 512 {
        return Ok(false);
    }
    file.read_exact_at(&mut sector, 0)?;
    if sector[510..] != [0x55, 0xaa] {
        return Ok(false);
    }
    let entries = || sector[446..510].chunks_exact(16);
    let legal = entries().all(|entry| entry[0] == 0 || entry[0] == 0x80);
    Ok(legal && entries().any(|entry| entry[4] != 0 && entry[12..16] != [0; 4]))
}
