// SPDX-License-Identifier: GPL-2.0

//! Everything fsck can find wrong: one variant for each kind of defect.
//!
//! A variant carries what a reader needs to find the place again. The text is made here, from the
//! variant, so that what a test plants, what the program prints and what a repair handles are the
//! same thing.

use std::fmt;

use latchfs_engine::format::{
    AgNumber, BlockRange, Defect, DiskBlock, FileBlock, FileType, Ino, Owner,
};
use latchfs_host::Errno;

/// Whose blocks: an inode or one of the hidden files of an allocation group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileId {
    /// The content of an ordinary inode.
    Inode(Ino),
    /// The extended attributes of an inode.
    Attrs(Ino),
    /// The inode file of a group.
    InodeFile(AgNumber),
    /// The inode map of a group.
    InodeMap(AgNumber),
}

impl FileId {
    /// The owner in the headers of its blocks.
    pub fn owner(self) -> Owner {
        match self {
            FileId::Inode(ino) | FileId::Attrs(ino) => Owner::inode(ino),
            FileId::InodeFile(ag) => Owner::inode_file(ag),
            FileId::InodeMap(ag) => Owner::inode_map(ag),
        }
    }

    /// The inode, if it is one.
    pub fn ino(self) -> Option<Ino> {
        match self {
            FileId::Inode(ino) | FileId::Attrs(ino) => Some(ino),
            _ => None,
        }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileId::Inode(ino) => write!(f, "inode {ino}"),
            FileId::Attrs(ino) => write!(f, "attributes of inode {ino}"),
            FileId::InodeFile(ag) => write!(f, "AG {ag}: inode file"),
            FileId::InodeMap(ag) => write!(f, "AG {ag}: inode map"),
        }
    }
}

/// A name in a message: as it is where printable, else escaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(pub Vec<u8>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

/// A defect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The text of each variant, below, is its documentation.
pub enum Problem {
    // Superblock, log.
    SuperblockDamaged {
        defect: Defect,
        copy: AgNumber,
    },
    SuperblockCopyDamaged {
        ag: AgNumber,
        defect: Defect,
    },
    SuperblockCopyDiffers {
        ag: AgNumber,
        field: &'static str,
    },
    SuperblockCount {
        field: &'static str,
        stored: u64,
        found: u64,
    },
    LogDamaged {
        block: DiskBlock,
        defect: Defect,
    },
    LogUnusable {
        error: Errno,
    },
    ReadError {
        block: DiskBlock,
        error: Errno,
        what: &'static str,
    },

    // Allocation groups.
    AgHeaderDamaged {
        ag: AgNumber,
        block: DiskBlock,
        defect: Defect,
    },
    AgCount {
        ag: AgNumber,
        field: &'static str,
        stored: u32,
        found: u32,
    },
    BitmapDamaged {
        ag: AgNumber,
        index: u32,
        block: DiskBlock,
        defect: Defect,
    },
    BlocksLeaked {
        range: BlockRange,
    },
    BlocksUnmarked {
        range: BlockRange,
    },

    // Trees and extents.
    NodeDamaged {
        file: FileId,
        block: DiskBlock,
        defect: Defect,
    },
    NodeLevel {
        file: FileId,
        block: DiskBlock,
        found: u8,
        expected: u8,
    },
    NodeKind {
        file: FileId,
        block: DiskBlock,
    },
    NodeKeys {
        file: FileId,
        block: DiskBlock,
    },
    BlockShared {
        file: FileId,
        range: BlockRange,
    },
    ExtentOverlap {
        file: FileId,
        at: FileBlock,
    },
    ExtentUnwritten {
        file: FileId,
        at: FileBlock,
    },

    // Inode map and inode file.
    MapBlockDamaged {
        ag: AgNumber,
        index: u32,
        block: DiskBlock,
        defect: Defect,
    },
    MapBlockIndex {
        ag: AgNumber,
        index: u32,
        block: DiskBlock,
        found: u32,
    },
    MapBlockMissing {
        ag: AgNumber,
        index: u32,
    },
    ChunkMissing {
        ag: AgNumber,
        chunk: u32,
    },
    ChunkScattered {
        ag: AgNumber,
        chunk: u32,
    },
    ChunkUnlisted {
        ag: AgNumber,
        at: FileBlock,
    },

    // Inodes.
    InodeDamaged {
        ino: Ino,
        block: DiskBlock,
        defect: Defect,
    },
    FreeSlotDamaged {
        ino: Ino,
        block: DiskBlock,
        defect: Defect,
    },
    InodeNotAllocated {
        ino: Ino,
    },
    InodeEmpty {
        ino: Ino,
    },
    InodeZero {
        ag: AgNumber,
    },
    InodeBlocks {
        ino: Ino,
        stored: u64,
        found: u64,
    },
    InodeNotOrphan {
        ino: Ino,
    },
    SymlinkDamaged {
        ino: Ino,
        block: DiskBlock,
        defect: Defect,
    },
    SymlinkLength {
        ino: Ino,
        stored: u64,
        found: u64,
    },
    RootMissing {
        ino: Ino,
    },

    // Extended attributes.
    AttrBlocks {
        ino: Ino,
        stored: u64,
        found: u64,
    },
    AttrHash {
        ino: Ino,
        key: u64,
        name: Name,
    },
    AttrDuplicate {
        ino: Ino,
        key: u64,
        name: Name,
    },
    AttrValue {
        ino: Ino,
        name: Name,
        block: DiskBlock,
        defect: Defect,
    },
    AttrAcl {
        ino: Ino,
        key: u64,
        name: Name,
    },

    // Directories and links.
    DirSize {
        ino: Ino,
        stored: u64,
        found: u64,
    },
    DirentHash {
        dir: Ino,
        key: u64,
        name: Name,
    },
    DirentDuplicate {
        dir: Ino,
        key: u64,
        name: Name,
    },
    DirentDangling {
        dir: Ino,
        key: u64,
        name: Name,
        ino: Ino,
    },
    DirentType {
        dir: Ino,
        key: u64,
        name: Name,
        ino: Ino,
        stored: u8,
        found: FileType,
    },
    DirentSecond {
        dir: Ino,
        key: u64,
        name: Name,
        ino: Ino,
        first: Ino,
    },
    DirParent {
        ino: Ino,
        stored: Ino,
        found: Ino,
    },
    DirUnreachable {
        ino: Ino,
    },
    LinkCount {
        ino: Ino,
        stored: u32,
        found: u32,
    },
    Unreferenced {
        ino: Ino,
    },
}

impl Problem {
    /// The inode whose path makes the message clear, if there is one.
    pub fn subject(&self) -> Option<Ino> {
        use Problem::*;

        match self {
            NodeDamaged { file, .. }
            | NodeLevel { file, .. }
            | NodeKind { file, .. }
            | NodeKeys { file, .. }
            | BlockShared { file, .. }
            | ExtentOverlap { file, .. }
            | ExtentUnwritten { file, .. } => file.ino(),
            InodeDamaged { ino, .. }
            | InodeNotAllocated { ino }
            | InodeEmpty { ino }
            | InodeBlocks { ino, .. }
            | InodeNotOrphan { ino }
            | SymlinkDamaged { ino, .. }
            | SymlinkLength { ino, .. }
            | AttrBlocks { ino, .. }
            | AttrHash { ino, .. }
            | AttrDuplicate { ino, .. }
            | AttrValue { ino, .. }
            | AttrAcl { ino, .. }
            | DirSize { ino, .. }
            | DirParent { ino, .. }
            | DirUnreachable { ino }
            | LinkCount { ino, .. }
            | Unreferenced { ino } => Some(*ino),
            DirentHash { dir, .. }
            | DirentDuplicate { dir, .. }
            | DirentDangling { dir, .. }
            | DirentType { dir, .. }
            | DirentSecond { dir, .. } => Some(*dir),
            _ => None,
        }
    }

    /// The message, with `path` of [`Self::subject`] if it is known.
    pub fn render(&self, path: Option<&str>) -> String {
        let path = path.map(|path| format!(" ({path})")).unwrap_or_default();
        let (place, text) = self.parts();
        format!("{place}{path}: {text}")
    }

    /// Where, and what.
    fn parts(&self) -> (String, String) {
        if let Some(parts) = self.structure() {
            return parts;
        }
        if let Some(parts) = self.inode() {
            return parts;
        }
        self.directory()
    }

    /// Defects of superblock, groups, trees.
    fn structure(&self) -> Option<(String, String)> {
        use Problem::*;

        Some(match self {
            SuperblockDamaged { defect, copy } => (
                "superblock".into(),
                format!("{defect}; using the copy in AG {copy}"),
            ),
            SuperblockCopyDamaged { ag, defect } => {
                (format!("superblock copy in AG {ag}"), defect.to_string())
            }
            SuperblockCopyDiffers { ag, field } => (
                format!("superblock copy in AG {ag}"),
                format!("{field} is not that of the superblock"),
            ),
            SuperblockCount {
                field,
                stored,
                found,
            } => (
                "superblock".into(),
                format!("{field} is {stored}, found {found}"),
            ),
            LogUnusable { error } => ("log".into(), format!("cannot be replayed: {error:?}")),
            LogDamaged { block, defect } => {
                (format!("log header, block {block}"), defect.to_string())
            }
            ReadError { block, error, what } => (
                format!("{what}, block {block}"),
                format!("cannot be read: {error:?}"),
            ),
            AgHeaderDamaged { ag, block, defect } => (
                format!("AG {ag}: header, block {block}"),
                defect.to_string(),
            ),
            AgCount {
                ag,
                field,
                stored,
                found,
            } => (
                format!("AG {ag}: header"),
                format!("{field} is {stored}, found {found}"),
            ),
            BitmapDamaged {
                ag,
                index,
                block,
                defect,
            } => (
                format!("AG {ag}: bitmap {index}, block {block}"),
                defect.to_string(),
            ),
            BlocksLeaked { range } => (blocks(*range), "marked used, but nothing uses them".into()),
            BlocksUnmarked { range } => (blocks(*range), "in use, but marked free".into()),
            NodeDamaged {
                file,
                block,
                defect,
            } => (
                format!("{file}"),
                format!("tree node in block {block}: {defect}"),
            ),
            NodeLevel {
                file,
                block,
                found,
                expected,
            } => (
                format!("{file}"),
                format!("tree node in block {block}: level is {found}, should be {expected}"),
            ),
            NodeKind { file, block } => (
                format!("{file}"),
                format!("tree node in block {block}: is of another kind of tree"),
            ),
            NodeKeys { file, block } => (
                format!("{file}"),
                format!("tree node in block {block}: keys are outside of what its parent says"),
            ),
            BlockShared { file, range } => (
                format!("{file}"),
                format!("claims {}, which something else uses, too", blocks(*range)),
            ),
            ExtentOverlap { file, at } => {
                (format!("{file}"), format!("file block {at}: two extents"))
            }
            ExtentUnwritten { file, at } => (
                format!("{file}"),
                format!("file block {at}: unwritten extent where there can be none"),
            ),
            _ => return None,
        })
    }

    /// Defects of inode map and inodes.
    fn inode(&self) -> Option<(String, String)> {
        use Problem::*;

        Some(match self {
            MapBlockDamaged {
                ag,
                index,
                block,
                defect,
            } => (
                format!("AG {ag}: inode map {index}, block {block}"),
                defect.to_string(),
            ),
            MapBlockIndex {
                ag,
                index,
                block,
                found,
            } => (
                format!("AG {ag}: inode map {index}, block {block}"),
                format!("index is {found}"),
            ),
            MapBlockMissing { ag, index } => {
                (format!("AG {ag}: inode map {index}"), "has no block".into())
            }
            ChunkMissing { ag, chunk } => (
                format!("AG {ag}: inode chunk {chunk}"),
                "exists in the inode map, has no blocks in the inode file".into(),
            ),
            ChunkScattered { ag, chunk } => (
                format!("AG {ag}: inode chunk {chunk}"),
                "is not contiguous".into(),
            ),
            ChunkUnlisted { ag, at } => (
                format!("AG {ag}: inode file block {at}"),
                "belongs to no chunk of the inode map".into(),
            ),
            InodeDamaged { ino, block, defect } => (
                format!("inode {ino}"),
                format!("slot in block {block}: {defect}"),
            ),
            FreeSlotDamaged { ino, block, defect } => (
                format!("inode {ino}"),
                format!("free slot in block {block}: {defect}"),
            ),
            InodeNotAllocated { ino } => (
                format!("inode {ino}"),
                "in use, but free in the inode map".into(),
            ),
            InodeEmpty { ino } => (
                format!("inode {ino}"),
                "allocated in the inode map, but its slot is free".into(),
            ),
            InodeZero { ag } => (
                format!("AG {ag}: inode map"),
                "inode 0, which does not exist, is not marked".into(),
            ),
            InodeBlocks { ino, stored, found } => (
                format!("inode {ino}"),
                format!("has {stored} blocks, found {found}"),
            ),
            InodeNotOrphan { ino } => (
                format!("inode {ino}"),
                "has no links and is not marked orphan".into(),
            ),
            SymlinkDamaged { ino, block, defect } => (
                format!("inode {ino}"),
                format!("symlink target in block {block}: {defect}"),
            ),
            SymlinkLength { ino, stored, found } => (
                format!("inode {ino}"),
                format!("symlink target has {found} bytes, size is {stored}"),
            ),
            RootMissing { ino } => (
                format!("inode {ino}"),
                "is the root, but not a directory".into(),
            ),
            AttrBlocks { ino, stored, found } => (
                format!("inode {ino}"),
                format!("attributes have {stored} blocks, found {found}"),
            ),
            AttrHash { ino, name, .. } => (
                format!("inode {ino}"),
                format!("attribute '{name}': key is not that of the name"),
            ),
            AttrDuplicate { ino, name, .. } => (
                format!("inode {ino}"),
                format!("attribute '{name}': there is another one of this name"),
            ),
            AttrValue {
                ino,
                name,
                block,
                defect,
            } => (
                format!("inode {ino}"),
                format!("attribute '{name}': value in block {block}: {defect}"),
            ),
            AttrAcl { ino, name, .. } => (
                format!("inode {ino}"),
                format!("attribute '{name}': is no legal ACL"),
            ),
            _ => return None,
        })
    }

    /// Defects of directories and links.
    fn directory(&self) -> (String, String) {
        use Problem::*;

        match self {
            DirSize { ino, stored, found } => (
                format!("directory {ino}"),
                format!("size is {stored}, found {found}"),
            ),
            DirentHash { dir, name, .. } => (
                format!("directory {dir}"),
                format!("entry '{name}': key is not that of the name"),
            ),
            DirentDuplicate { dir, name, .. } => (
                format!("directory {dir}"),
                format!("entry '{name}': there is another one of this name"),
            ),
            DirentDangling { dir, name, ino, .. } => (
                format!("directory {dir}"),
                format!("entry '{name}': inode {ino} is not in use"),
            ),
            DirentType {
                dir,
                name,
                ino,
                stored,
                found,
                ..
            } => {
                let found = found.as_str();
                (
                    format!("directory {dir}"),
                    format!("entry '{name}': type is {stored}, inode {ino} is a {found}"),
                )
            }
            DirentSecond {
                dir,
                name,
                ino,
                first,
                ..
            } => (
                format!("directory {dir}"),
                format!("entry '{name}': directory {ino} is already in directory {first}"),
            ),
            DirParent { ino, stored, found } => (
                format!("directory {ino}"),
                format!("parent is {stored}, found in directory {found}"),
            ),
            DirUnreachable { ino } => (
                format!("directory {ino}"),
                "cannot be reached from the root".into(),
            ),
            LinkCount { ino, stored, found } => (
                format!("inode {ino}"),
                format!("link count is {stored}, found {found}"),
            ),
            Unreferenced { ino } => (format!("inode {ino}"), "in use, but in no directory".into()),
            // All others were handled by the caller.
            other => (String::from("file system"), format!("{other:?}")),
        }
    }
}

/// "block 5" or "blocks 5-7".
fn blocks(range: BlockRange) -> String {
    if range.len == 1 {
        format!("block {}", range.start)
    } else {
        format!("blocks {}-{}", range.start, range.end().0.saturating_sub(1))
    }
}
