// SPDX-License-Identifier: GPL-2.0

//! A fingerprint of the on-disk types: names, offsets and sizes of all fields, and the constants
//! that give bytes a meaning. A change of any of them changes the format: raise `FORMAT_REV`,
//! regenerate the golden image, change Documentation/format.rst, then the number here.

use core::mem::{offset_of, size_of};
use std::fmt::Write;

use crate::format::{
    ag::*, bitmap::*, btree::*, dirent::*, extent::*, hash::*, header::*, imap::*, inode::*,
    limits::*, log::block::*, log::record::*, log::*, superblock::*, symlink::*, xattr::*, *,
};

/// The fingerprint of `FORMAT_REV`.
const EXPECTED: (u16, u32) = (3, 182275351);

/// Size of the field a pointer points at.
fn size_behind<T>(_: *const T) -> usize {
    size_of::<T>()
}

macro_rules! describe {
    ($out:ident, $type:ident { $($field:ident),* $(,)? }) => {{
        writeln!($out, "{} {}", stringify!($type), size_of::<$type>()).unwrap();
        let base = core::mem::MaybeUninit::<$type>::zeroed();
        let mut end = 0;
        $(
            let at = offset_of!($type, $field);
            // Only the type of the field is used; nothing is read.
            let size = size_behind(field_of(&base, |b: &$type| &b.$field));
            writeln!($out, "  {} {} {}", stringify!($field), at, size).unwrap();
            assert_eq!(at, end, "a gap or a missing field before {}", stringify!($field));
            end = at + size;
        )*
        assert_eq!(end, size_of::<$type>(), "missing fields of {}", stringify!($type));
    }};
}

/// Never calls `get`: its type tells that of the field.
fn field_of<T, F>(_: &core::mem::MaybeUninit<T>, _get: fn(&T) -> &F) -> *const F {
    core::ptr::null()
}

fn description() -> String {
    let mut out = String::new();

    describe!(
        out,
        ErrorRecord {
            time,
            ino,
            block,
            code,
            errno
        }
    );
    describe!(
        out,
        Superblock {
            magic,
            crc,
            version,
            format_rev,
            uuid,
            instance,
            hash_seed,
            block_count,
            ag_blocks,
            ag_count,
            compat,
            ro_compat,
            incompat,
            root_ino,
            log_start,
            log_blocks,
            block_log,
            inode_log,
            state,
            free_blocks,
            inodes,
            free_inodes,
            orphans,
            label,
            created,
            mounted,
            written,
            mount_count,
            error_count,
            first_error,
            last_error,
            lsn,
            block,
            checked,
            spare,
        }
    );
    describe!(
        out,
        BlockHeader {
            magic,
            crc,
            instance,
            block,
            owner,
            lsn
        }
    );
    describe!(
        out,
        FileRoot {
            format,
            depth,
            len,
            spare,
            area
        }
    );
    describe!(
        out,
        AgHeader {
            header,
            ag,
            length,
            bitmap_start,
            bitmap_count,
            map_blocks,
            inodes,
            free_inodes,
            orphans,
            spare,
            inode_file,
            inode_map,
            spare_roots,
            features,
            spare_tail,
            bitmap_init,
            tail,
        }
    );
    describe!(
        out,
        BitmapBlock {
            header,
            index,
            free,
            spare,
            bits
        }
    );
    describe!(out, ChunkMasks { alloc, orphan });
    describe!(
        out,
        MapBlock {
            header,
            index,
            free,
            orphans,
            present,
            spare,
            chunks,
            masks
        }
    );
    describe!(
        out,
        InodeSlot {
            magic,
            crc,
            instance,
            ino,
            lsn,
            generation,
            mode,
            data_format,
            attr_format,
            uid,
            gid,
            projid,
            nlink,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            btime,
            atime_ns,
            mtime_ns,
            ctime_ns,
            btime_ns,
            version,
            flags,
            flags2,
            generation_hi,
            rdev,
            data_len,
            data_depth,
            attr_depth,
            attr_len,
            attr_off,
            parent,
            attr_block,
            attr_blocks,
            spare,
            literal,
        }
    );
    describe!(out, ExtentRecord { file_block, packed });
    describe!(out, NodeEntry { key, child });
    describe!(
        out,
        TreeBlock {
            header,
            level,
            kind,
            count,
            heap_start,
            heap_free,
            last_insert,
            spare,
            body,
        }
    );
    describe!(
        out,
        SymlinkBlock {
            header,
            index,
            len,
            spare,
            target
        }
    );
    describe!(
        out,
        AttrBlock {
            header,
            key,
            index,
            len,
            spare,
            value
        }
    );
    describe!(
        out,
        LogHeader {
            header,
            version,
            spare,
            blocks,
            rest
        }
    );
    describe!(
        out,
        LogBlockHead {
            magic,
            crc,
            lsn,
            start,
            epoch,
            used,
            flags
        }
    );
    describe!(out, LogBlock { head, payload });
    describe!(
        out,
        RecordHead {
            kind,
            flags,
            len,
            block
        }
    );
    describe!(
        out,
        BufBody {
            block_kind,
            spare,
            chunks,
            owner
        }
    );
    describe!(
        out,
        InodeBody {
            ino,
            generation,
            fields,
            literal
        }
    );
    describe!(out, CancelBody { count, spare });
    describe!(
        out,
        InodeInitBody {
            count,
            ag,
            index,
            spare
        }
    );
    describe!(
        out,
        CommitBody {
            seq,
            tail,
            free_blocks,
            inodes,
            free_inodes,
            orphans,
            time,
            records,
            spare,
        }
    );

    constants(&mut out);
    out
}

/// The numbers of record kinds and of block kinds in records, a digit each.
fn log_kinds() -> u64 {
    let records = [
        RecordKind::Buf,
        RecordKind::Inode,
        RecordKind::Cancel,
        RecordKind::InodeInit,
        RecordKind::Commit,
    ];
    let blocks = [
        BlockKind::AgHeader,
        BlockKind::Bitmap,
        BlockKind::InodeMap,
        BlockKind::Tree,
        BlockKind::Symlink,
        BlockKind::AttrValue,
    ];
    let records = records.iter().map(|kind| *kind as u64);
    let blocks = blocks
        .iter()
        .map(|kind| u64::from(block_kind_code(*kind).unwrap()));
    records.chain(blocks).fold(0, |n, code| n << 4 | code)
}

fn constants(out: &mut String) {
    let kinds = [
        BlockKind::AgHeader,
        BlockKind::Bitmap,
        BlockKind::InodeMap,
        BlockKind::Tree,
        BlockKind::Symlink,
        BlockKind::AttrValue,
        BlockKind::Log,
    ];
    for kind in kinds {
        writeln!(out, "{kind:?} {:?}", kind.magic().unwrap().to_le_bytes()).unwrap();
    }
    writeln!(out, "{MAGIC:?} {INODE_MAGIC:x}").unwrap();
    for (name, value) in [
        ("version", u64::from(VERSION)),
        ("format_rev", u64::from(FORMAT_REV)),
        ("log_version", u64::from(LOG_VERSION)),
        ("log_magic", u64::from(LOG_BLOCK_MAGIC)),
        ("log_part", u64::from(CHECKPOINT_PART)),
        ("log_flags", u64::from(LOG_FIRST) | u64::from(LOG_LAST) << 8),
        (
            "log_fields",
            u64::from(LOG_CORE) | u64::from(LOG_LITERAL) << 8,
        ),
        ("log_core", (CORE_OFFSET | CORE_SIZE << 16) as u64),
        ("log_chunk", LOG_CHUNK as u64),
        ("log_kinds", log_kinds()),
        ("block", BLOCK_SIZE as u64),
        ("head", u64::from(RESERVED_HEAD)),
        ("tail", u64::from(RESERVED_TAIL)),
        ("bitmap_bits", u64::from(BITMAP_BITS)),
        ("map_chunks", u64::from(MAP_CHUNKS)),
        ("depth", u64::from(MAX_TREE_DEPTH)),
        ("dirent_head", DIRENT_HEAD as u64),
        ("attr_head", (ATTR_HEAD | MAX_ATTR_RECORD << 16) as u64),
        ("attr_value", u64::from(MAX_ATTR_VALUE)),
        (
            "attr_spaces",
            (0..8).fold(0, |n, s| {
                n << 1 | u64::from(AttrSpace::from_disk(s).is_some())
            }),
        ),
        (
            "attr_hash",
            u64::from(attr_hash(
                0x0123_4567_89ab_cdef,
                AttrSpace::User,
                b"latchfs",
            )),
        ),
        ("dirent_key", key(0x8001_0203, 0x7fff_fffe)),
        ("owner_ag", Owner::ag(AgNumber(5)).0),
        ("owner_file", Owner::inode_file(AgNumber(5)).0),
        ("owner_map", Owner::inode_map(AgNumber(5)).0),
        ("owner_log", Owner::log().0),
        (
            "state",
            u64::from(STATE_CLEAN) | u64::from(STATE_ERRORS) << 16,
        ),
        ("flags", FLAG_ALL),
        ("features", COMPAT_ALL | RO_COMPAT_ALL | INCOMPAT_ALL),
        (
            "kinds",
            TreeKind::Extents as u64
                | (TreeKind::Dirents as u64) << 8
                | (TreeKind::Attrs as u64) << 16,
        ),
        (
            "formats",
            (0..9).fold(0, |n, f| {
                n << 1 | u64::from(ForkFormat::from_disk(f).is_some())
            }),
        ),
    ] {
        writeln!(out, "{name} {value:x}").unwrap();
    }
    let extent = Extent {
        file: FileBlock(1),
        disk: DiskBlock(2),
        len: 3,
        unwritten: true,
    };
    writeln!(out, "extent {:?}", extent.pack().unwrap()).unwrap();
    let mut dirent = [0; 32];
    let entry = Dirent {
        key: 1,
        ino: Ino(2),
        ftype: 3,
        name: b"name",
    };
    let len = entry.encode(&mut dirent).unwrap();
    writeln!(out, "dirent {:?}", &dirent[..len]).unwrap();
    let mut record = [0; 64];
    for value in [
        AttrValue::Here(b"value"),
        AttrValue::Blocks(&pack_run(BlockRange::new(DiskBlock(6), 2)).unwrap()),
    ] {
        let attr = Attr {
            key: 1,
            space: AttrSpace::Security as u8,
            name: b"name",
            len: 5,
            value,
        };
        let len = attr.encode(&mut record).unwrap();
        writeln!(out, "attr {:?}", &record[..len]).unwrap();
    }
}

#[test]
fn unchanged() {
    let text = description();
    let got = (FORMAT_REV, crate::sys::crc32c(0, text.as_bytes()));
    assert_eq!(got, EXPECTED, "on-disk format changed:\n{text}");
}

/// The tables of Documentation/format.rst are those of the types.
#[test]
fn documented() {
    let page = include_str!("../../../Documentation/format.rst");
    let mut table: Vec<&str> = Vec::new();
    for line in description().lines() {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        match (line.starts_with("  "), &words[..]) {
            (false, [name, size]) => {
                let title = format!("``{name}``, {size} bytes:");
                let at = page.find(&title);
                // Constants come after the types.
                let Some(at) = at else {
                    assert!(size.parse::<u32>().is_err() || !name.starts_with(char::is_uppercase));
                    break;
                };
                table = page[at..].lines().skip(5).collect();
                let end = table.iter().position(|row| row.starts_with("===")).unwrap();
                table.truncate(end);
                // Rows without an offset continue the text above.
                table.retain(|row| !row.starts_with("             "));
                table.reverse();
            }
            (true, [field, offset, size]) => {
                let row = table.pop().unwrap_or_default();
                let found: Vec<&str> = row.split_whitespace().take(3).collect();
                assert_eq!(found, [*offset, *size, *field], "Documentation/format.rst");
            }
            _ => break,
        }
    }
}
