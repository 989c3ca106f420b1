// SPDX-License-Identifier: GPL-2.0

//! The commands: each reads what it needs and makes a value of the model.

use std::io::Write;

use latchfs_engine::format::{
    self,
    bitmap::BitmapBlock,
    hash,
    inode::*,
    superblock::{STATE_CLEAN, STATE_ERRORS},
    xattr, AgHeader, AgNumber, BlockHeader, BlockKind, DiskBlock, FileType, ForkFormat, Geometry,
    Ino, InodeSlot, MapBlock, Owner, Superblock, TreeKind, TreeRoot, BLOCK_SIZE,
};
use latchfs_tool::volume::{self, Node, Volume};
use latchfs_tool::xattr as xattr_tool;
use latchfs_tool::Failure;

use crate::model::*;

type Result<T> = std::result::Result<T, Failure>;

pub fn superblock(volume: &Volume) -> Result<Super> {
    let sb = &volume.sb;
    let state = sb.state.get();
    let states = [(STATE_CLEAN, "clean"), (STATE_ERRORS, "errors")];
    Ok(Super {
        version: sb.version.get(),
        format_rev: sb.format_rev.get(),
        uuid: uuid::Uuid::from_bytes(sb.uuid).to_string(),
        label: name(sb.label()),
        instance: format!("{:#018x}", sb.instance.get()),
        hash_seed: format!("{:#018x}", sb.hash_seed.get()),
        block_size: BLOCK_SIZE as u32,
        block_count: sb.block_count.get(),
        ag_blocks: sb.ag_blocks.get(),
        ag_count: sb.ag_count.get(),
        compat: sb.compat.get(),
        ro_compat: sb.ro_compat.get(),
        incompat: sb.incompat.get(),
        root_ino: sb.root_ino.get(),
        log_start: sb.log_start.get(),
        log_blocks: sb.log_blocks.get(),
        state: states
            .iter()
            .filter(|(bit, _)| state & bit != 0)
            .map(|(_, name)| *name)
            .collect(),
        free_blocks: sb.free_blocks.get(),
        inodes: sb.inodes.get(),
        free_inodes: sb.free_inodes.get(),
        orphans: sb.orphans.get(),
        created: time(sb.created.get(), 0),
        mounted: time(sb.mounted.get(), 0),
        written: time(sb.written.get(), 0),
        checked: time(sb.checked.get(), 0),
        mount_count: sb.mount_count.get(),
        error_count: sb.error_count.get(),
        first_error: error_record(&sb.first_error),
        last_error: error_record(&sb.last_error),
        lsn: sb.lsn.get(),
    })
}

fn error_record(record: &format::superblock::ErrorRecord) -> Option<ErrorRecord> {
    (record.time.get() != 0).then(|| ErrorRecord {
        time: time(record.time.get(), 0),
        ino: record.ino.get(),
        block: record.block.get(),
        code: record.code.get(),
        errno: record.errno.get(),
    })
}

pub fn groups(volume: &Volume) -> Result<Vec<GroupLine>> {
    volume
        .context
        .geometry
        .ags()
        .map(|ag| {
            let (header, defect) = volume.header(ag)?;
            let bitmaps = bitmaps(volume, ag, AgHeader::of(&header))?;
            group_line(volume, ag, AgHeader::of(&header), &bitmaps, defect)
        })
        .collect()
}

fn group_line(
    volume: &Volume,
    ag: AgNumber,
    header: &AgHeader,
    bitmaps: &[Bitmap],
    defect: Option<format::Defect>,
) -> Result<GroupLine> {
    let geometry = &volume.context.geometry;
    Ok(GroupLine {
        ag: ag.0,
        start: geometry.ag_start(ag).map_or(0, |start| start.0),
        length: geometry.ag_len(ag),
        free: bitmaps.iter().map(|bitmap| u64::from(bitmap.free)).sum(),
        inodes: header.inodes.get(),
        free_inodes: header.free_inodes.get(),
        orphans: header.orphans.get(),
        defect: defect.map(|defect| defect.to_string()),
    })
}

fn bitmaps(volume: &Volume, ag: AgNumber, header: &AgHeader) -> Result<Vec<Bitmap>> {
    let geometry = &volume.context.geometry;
    let mut bitmaps = Vec::new();
    for index in 0..geometry.bitmap_count(ag) {
        let Some(at) = geometry.bitmap_block(ag, index) else {
            break;
        };
        let written = index < header.bitmap_init.get();
        let mut defect = None;
        let free = if written {
            let block = volume.block(at)?;
            defect = volume.verify(&block, BlockKind::Bitmap, at, Owner::ag(ag));
            BitmapBlock::of(&block).free.get()
        } else {
            let mut block = Box::new([0; BLOCK_SIZE]);
            let _ = BitmapBlock::format(&mut block, &volume.context, ag, index);
            BitmapBlock::of(&block).free.get()
        };
        bitmaps.push(Bitmap {
            index,
            block: at.0,
            written,
            free,
            defect: defect.map(|defect| defect.to_string()),
        });
    }
    Ok(bitmaps)
}

pub fn group(volume: &Volume, ag: u32) -> Result<Group> {
    let ag = AgNumber(ag);
    let geometry = &volume.context.geometry;
    let (block, defect) = volume.header(ag)?;
    let header = AgHeader::of(&block);
    let bitmaps = bitmaps(volume, ag, header)?;
    let map = volume.hidden_extents(&header.inode_map, Owner::inode_map(ag))?;
    let mut maps = Vec::new();
    for extent in &map {
        for n in 0..u64::from(extent.len) {
            let at = extent.disk.saturating_add(n);
            let block = volume.block(at)?;
            let defect = volume.verify(&block, BlockKind::InodeMap, at, Owner::inode_map(ag));
            let block = MapBlock::of(&block);
            maps.push(Map {
                index: block.index.get(),
                block: at.0,
                present: block.present.get(),
                free: block.free.get(),
                orphans: block.orphans.get(),
                defect: defect.map(|defect| defect.to_string()),
            });
        }
    }
    let file = volume.hidden_extents(&header.inode_file, Owner::inode_file(ag))?;
    Ok(Group {
        line: group_line(volume, ag, header, &bitmaps, defect)?,
        header: geometry.header_block(ag).map_or(0, |at| at.0),
        lsn: header.header.lsn.get(),
        bitmap_start: header.bitmap_start.get(),
        bitmap_count: header.bitmap_count.get(),
        bitmap_init: header.bitmap_init.get(),
        map_blocks: header.map_blocks.get(),
        inode_file: file.iter().map(extent).collect(),
        inode_map: map.iter().map(extent).collect(),
        bitmaps,
        maps,
    })
}

pub fn inode(volume: &Volume, file: &str) -> Result<Inode> {
    let ino = volume.resolve(file.as_bytes())?;
    let block = volume.slot_block(ino)?;
    let (slot, defect) = volume.slot(ino)?;
    let is_dir = slot.data_format() == Some(ForkFormat::InlineDir);
    let entries = match is_dir {
        true => volume.entries(ino)?.iter().map(entry).collect(),
        false => Vec::new(),
    };
    Ok(Inode {
        ino: ino.0,
        block: block.0,
        offset: ino.slot_offset(),
        defect: defect.map(|defect| defect.to_string()),
        lsn: slot.lsn.get(),
        generation: slot.generation.get(),
        mode: format!("{:07o}", slot.mode.get()),
        ftype: type_name(slot.file_type()),
        uid: slot.uid.get(),
        gid: slot.gid.get(),
        projid: slot.projid.get(),
        nlink: slot.nlink.get(),
        size: slot.size.get(),
        blocks: slot.blocks.get(),
        atime: time(slot.atime.get(), slot.atime_ns.get()),
        mtime: time(slot.mtime.get(), slot.mtime_ns.get()),
        ctime: time(slot.ctime.get(), slot.ctime_ns.get()),
        btime: time(slot.btime.get(), slot.btime_ns.get()),
        version: slot.version.get(),
        flags: flags(slot.flags.get()),
        rdev: slot.rdev.get(),
        data_format: match slot.data_format() {
            Some(format) => format_name(format).into(),
            None => format!("{} (none that exists)", slot.data_format),
        },
        data_len: slot.data_len.get(),
        data_depth: slot.data_depth,
        attr_format: match slot.attr_format() {
            Some(format) => format_name(format).into(),
            None => format!("{} (none that exists)", slot.attr_format),
        },
        attr_len: slot.attr_len.get(),
        attr_off: slot.attr_off.get(),
        attr_depth: slot.attr_depth,
        attr_blocks: slot.attr_blocks.get(),
        attr_block: slot.attr_tree().map(|root| root.block.0),
        attributes: xattr::attrs(slot.attrs())
            .map(|attr| attribute(&xattr_tool::Attribute::of(&attr)))
            .collect(),
        parent: slot.parent.get(),
        root: slot.tree().map(|root| root.block.0),
        extents: slot.extents().iter().map(|e| extent(&e.unpack())).collect(),
        entries,
        target: match slot.data_format() {
            Some(ForkFormat::InlineSymlink) => Some(name(slot.data())),
            _ => None,
        },
    })
}

pub fn tree(volume: &Volume, file: &str) -> Result<Tree> {
    let (root, owner) = find_tree(volume, file)?;
    let mut nodes = Vec::new();
    volume.walk(root, owner, &mut |node| nodes.push(tree_node(node)))?;
    Ok(Tree {
        owner: owner_name(owner),
        depth: root.depth,
        nodes,
    })
}

/// The tree of an inode, or of a hidden file.
fn find_tree(volume: &Volume, file: &str) -> Result<(TreeRoot, Owner)> {
    let none = || Failure::new(format!("{file}: has no tree; see latchfs inode"));
    let parts: Vec<&str> = file.split(':').collect();
    if let ["ag", number, which] = parts[..] {
        let ag = number
            .parse()
            .map(AgNumber)
            .map_err(|_| Failure::new(format!("{number}: not the number of a group")))?;
        let (header, _) = volume.header(ag)?;
        let header = AgHeader::of(&header);
        let (root, owner) = match which {
            "inodes" => (&header.inode_file, Owner::inode_file(ag)),
            "map" => (&header.inode_map, Owner::inode_map(ag)),
            _ => return Err(Failure::new(format!("{which}: neither inodes nor map"))),
        };
        return Ok((root.tree().ok_or_else(none)?, owner));
    }
    let (path, attrs) = match file.strip_suffix(":attrs") {
        Some(path) => (path, true),
        None => (file, false),
    };
    let ino = volume.resolve(path.as_bytes())?;
    let (slot, _) = volume.slot(ino)?;
    let root = if attrs { slot.attr_tree() } else { slot.tree() };
    Ok((root.ok_or_else(none)?, Owner::inode(ino)))
}

fn tree_node(visit: &Node<'_>) -> crate::model::Node {
    let node = visit.node;
    let sound = visit.defect.is_none();
    let kind = TreeKind::from_disk(node.kind);
    let leaf = sound && node.level == 0;
    let slotted = leaf && kind.is_some_and(TreeKind::is_slotted);
    crate::model::Node {
        block: visit.at.0,
        level: node.level,
        kind: match kind {
            Some(TreeKind::Extents) => "extents".into(),
            Some(TreeKind::Dirents) => "entries".into(),
            Some(TreeKind::Attrs) => "attributes".into(),
            None => format!("{} (none that exists)", node.kind),
        },
        lsn: node.header.lsn.get(),
        count: node.count.get(),
        heap_start: slotted.then(|| node.heap_start.get()),
        heap_free: slotted.then(|| node.heap_free.get()),
        defect: visit.defect.map(|defect| defect.to_string()),
        children: if sound && node.level > 0 {
            let children = node.entries().iter();
            children
                .map(|entry| Child {
                    key: entry.key.get(),
                    child: entry.child.get(),
                })
                .collect()
        } else {
            Vec::new()
        },
        extents: if leaf && !slotted {
            node.extents().iter().map(|e| extent(&e.unpack())).collect()
        } else {
            Vec::new()
        },
        attributes: if leaf && kind == Some(TreeKind::Attrs) {
            let attrs = (0..node.count()).filter_map(|n| node.attr(n));
            attrs
                .map(|attr| attribute(&xattr_tool::Attribute::of(&attr)))
                .collect()
        } else {
            Vec::new()
        },
        entries: if leaf && kind == Some(TreeKind::Dirents) {
            let entries = (0..node.count()).filter_map(|n| node.dirent(n));
            entries
                .map(|e| {
                    entry(&volume::Entry {
                        key: e.key,
                        ino: e.ino,
                        ftype: e.ftype,
                        name: e.name.to_vec(),
                    })
                })
                .collect()
        } else {
            Vec::new()
        },
    }
}

pub fn block(volume: &Volume, number: u64) -> Result<Block> {
    let geometry = &volume.context.geometry;
    let at = DiskBlock(number);
    let (ag, inside) = geometry.locate(at).ok_or_else(|| {
        let count = geometry.block_count();
        Failure::new(format!("there are {count} blocks, 0 to {}", count - 1))
    })?;
    let data = volume.block(at)?;
    let header = BlockHeader::of(&data);
    let kinds = [
        BlockKind::AgHeader,
        BlockKind::Bitmap,
        BlockKind::InodeMap,
        BlockKind::Tree,
        BlockKind::Symlink,
        BlockKind::AttrValue,
        BlockKind::Log,
    ];
    let kind = kinds
        .into_iter()
        .find(|kind| kind.magic() == Some(header.magic.get()));
    let own = kind.filter(|_| header.instance.get() == volume.context.instance);

    let (group_header, _) = volume.header(ag)?;
    let (index, bit) = Geometry::bitmap_position(inside);
    let written = index < AgHeader::of(&group_header).bitmap_init.get();
    let used = match geometry.bitmap_block(ag, index).filter(|_| written) {
        Some(at) => {
            let bitmap = volume.block(at)?;
            Some(BitmapBlock::of(&bitmap).is_used(bit))
        }
        None => Some(geometry.is_static(ag, inside)),
    };
    let content = if Superblock::is_latchfs(&data[..]) {
        "superblock"
    } else if header.magic.get() == INODE_MAGIC {
        "inodes"
    } else if let Some(kind) = own {
        kind.as_str()
    } else if data.iter().all(|byte| *byte == 0) {
        "zeroes"
    } else {
        "data"
    };
    Ok(Block {
        block: number,
        ag: ag.0,
        ag_block: inside.0,
        is_static: geometry.is_static(ag, inside),
        used,
        content: content.into(),
        owner: own.map(|_| owner_name(header.owner())),
        lsn: own.map(|_| header.lsn.get()),
        defect: own
            .and_then(|kind| volume.verify(&data, kind, at, header.owner()))
            .map(|defect| defect.to_string()),
    })
}

pub fn stat(volume: &Volume, file: &str) -> Result<Stat> {
    let ino = volume.resolve(file.as_bytes())?;
    let (slot, _) = volume.slot(ino)?;
    let mut attributes = Vec::new();
    for found in volume.attributes(ino, &slot)? {
        let value = match volume.attribute_value(ino, &found) {
            Ok(value) => shown(&value),
            Err(error) => format!("({error})"),
        };
        attributes.push(Attribute {
            name: name(&found.full_name()),
            len: found.len,
            value: Some(value),
            key: None,
            blocks: None,
        });
    }
    attributes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Stat {
        attributes,
        ..stat_of(volume, ino)?
    })
}

/// The beginning of a value as text.
fn shown(value: &[u8]) -> String {
    const MOST: usize = 64;
    let start = name(&value[..value.len().min(MOST)]);
    match value.len() {
        ..=MOST => start,
        _ => format!("{start}..."),
    }
}

/// The record of an attribute.
fn attribute(attr: &xattr_tool::Attribute) -> Attribute {
    let runs = attr.runs.iter();
    Attribute {
        name: name(&attr.full_name()),
        len: attr.len,
        value: attr.here.as_ref().map(|value| shown(value)),
        key: Some(attr.key),
        blocks: attr.here.is_none().then(|| {
            runs.map(|run| format!("{}+{}", run.start, run.len))
                .collect()
        }),
    }
}

fn stat_of(volume: &Volume, ino: Ino) -> Result<Stat> {
    let (slot, defect) = volume.slot(ino)?;
    let ftype = slot.file_type();
    let is_device = matches!(ftype, Some(FileType::CharDevice | FileType::BlockDevice));
    let rdev = slot.rdev.get();
    Ok(Stat {
        ino: ino.0,
        ftype: type_name(ftype),
        mode: mode(&slot),
        nlink: slot.nlink.get(),
        uid: slot.uid.get(),
        gid: slot.gid.get(),
        size: slot.size.get(),
        blocks: slot.blocks.get().saturating_mul(8),
        rdev: is_device.then(|| {
            let major = (rdev & 0xf_ff00) >> 8;
            let minor = (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00);
            format!("{major},{minor}")
        }),
        target: match ftype {
            Some(FileType::Symlink) => volume.target(ino).ok().map(|target| name(&target)),
            _ => None,
        },
        atime: time(slot.atime.get(), slot.atime_ns.get()),
        mtime: time(slot.mtime.get(), slot.mtime_ns.get()),
        ctime: time(slot.ctime.get(), slot.ctime_ns.get()),
        btime: time(slot.btime.get(), slot.btime_ns.get()),
        attributes: Vec::new(),
        defect: defect.map(|defect| defect.to_string()),
    })
}

pub fn list(volume: &Volume, file: &str, recursive: bool) -> Result<Vec<Listing>> {
    let mut listings = Vec::new();
    let first = volume.resolve(file.as_bytes())?;
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![(file.trim_end_matches('/').to_string(), first)];
    while let Some((path, dir)) = todo.pop() {
        if !seen.insert(dir) {
            continue;
        }
        let mut entries = Vec::new();
        let mut below = Vec::new();
        for found in volume.entries(dir)? {
            let text = name(&found.name);
            if recursive && found.ftype == FileType::Directory as u8 {
                below.push((format!("{path}/{text}"), found.ino));
            }
            entries.push(Line {
                name: text,
                stat: stat_of(volume, found.ino)?,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        below.sort_by(|a, b| b.0.cmp(&a.0));
        todo.extend(below);
        let path = match path.is_empty() {
            true => "/".into(),
            false => path,
        };
        listings.push(Listing { path, entries });
    }
    Ok(listings)
}

pub fn cat(volume: &Volume, file: &str, out: &mut dyn Write) -> Result<()> {
    let ino = volume.resolve(file.as_bytes())?;
    let (slot, defect) = volume.slot(ino)?;
    if let (Some(defect), None) = (defect, slot.file_type()) {
        return Err(Failure::new(format!("inode {ino}: {defect}")));
    }
    volume.content(ino, &mut |bytes| {
        out.write_all(bytes)
            .map_err(|error| Failure::io("output", &error))
    })
}

fn extent(extent: &format::Extent) -> Extent {
    Extent {
        file_block: extent.file.0,
        start: extent.disk.0,
        len: extent.len,
        unwritten: extent.unwritten,
    }
}

fn entry(entry: &volume::Entry) -> Entry {
    Entry {
        key: entry.key,
        hash: format!("{:#010x}", hash::key_hash(entry.key)),
        disambiguator: hash::key_disambiguator(entry.key),
        ino: entry.ino.0,
        ftype: type_name(FileType::from_disk(entry.ftype)),
        name: name(&entry.name),
    }
}

fn owner_name(owner: Owner) -> String {
    if let Some(ino) = owner.as_inode() {
        return format!("inode {ino}");
    }
    let ag = AgNumber(owner.0 as u32);
    let names = [
        (Owner::ag(ag), "AG"),
        (Owner::inode_file(ag), "inode file of AG"),
        (Owner::inode_map(ag), "inode map of AG"),
    ];
    match names.iter().find(|(known, _)| *known == owner) {
        Some((_, name)) => format!("{name} {ag}"),
        None if owner == Owner::log() => "log".into(),
        None => format!("{:#x}", owner.0),
    }
}

/// A name as text: printable, or escaped.
fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => bytes.escape_ascii().to_string(),
    }
}

fn type_name(ftype: Option<FileType>) -> String {
    ftype.map_or("none", FileType::as_str).into()
}

fn format_name(format: ForkFormat) -> &'static str {
    match format {
        ForkFormat::None => "none",
        ForkFormat::InlineExtents => "inline extents",
        ForkFormat::ExtentTree => "extent tree",
        ForkFormat::InlineDir => "inline directory",
        ForkFormat::DirTree => "directory tree",
        ForkFormat::InlineSymlink => "inline symlink",
        ForkFormat::InlineAttrs => "inline attributes",
        ForkFormat::AttrTree => "attribute tree",
    }
}

fn flags(flags: u64) -> Vec<String> {
    let names = [
        (FLAG_SYNC, "sync"),
        (FLAG_IMMUTABLE, "immutable"),
        (FLAG_APPEND, "append"),
        (FLAG_NODUMP, "nodump"),
        (FLAG_NOATIME, "noatime"),
        (FLAG_DIRSYNC, "dirsync"),
    ];
    let mut found: Vec<String> = names
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| (*name).into())
        .collect();
    if flags & !FLAG_ALL != 0 {
        found.push(format!("{:#x}", flags & !FLAG_ALL));
    }
    found
}

/// The mode in the manner of ls(1).
fn mode(slot: &InodeSlot) -> String {
    let mode = slot.mode.get();
    let mut text = String::with_capacity(10);
    text.push(match slot.file_type() {
        Some(FileType::Regular) => '-',
        Some(FileType::Directory) => 'd',
        Some(FileType::CharDevice) => 'c',
        Some(FileType::BlockDevice) => 'b',
        Some(FileType::Fifo) => 'p',
        Some(FileType::Socket) => 's',
        Some(FileType::Symlink) => 'l',
        None => '?',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A point in time, UTC.
pub fn time(secs: i64, nanos: u32) -> String {
    const DAY: i64 = 86400;
    let (days, rest) = (secs.div_euclid(DAY), secs.rem_euclid(DAY));
    // Days to a date of the Gregorian calendar; eras of 400 years that begin on March 1.
    let shifted = days.saturating_add(719_468);
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = if nanos == 0 {
        String::new()
    } else {
        format!(".{nanos:09}")
    };
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(0, 0), "1970-01-01 00:00:00");
        assert_eq!(time(-1, 5), "1969-12-31 23:59:59.000000005");
        assert_eq!(time(951_782_400, 0), "2000-02-29 00:00:00");
        assert_eq!(time(4_294_967_296, 0), "2106-02-07 06:28:16");
        let _ = time(i64::MAX, 0);
        let _ = time(i64::MIN, 999_999_999);
    }
}
