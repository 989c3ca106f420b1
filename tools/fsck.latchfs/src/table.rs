// SPDX-License-Identifier: GPL-2.0

//! What fsck remembers of the inodes: 24 bytes an inode in chunks that exist, a little more for
//! directories.

use std::collections::{BTreeMap, HashMap};

use latchfs_engine::format::{units::CHUNK_INODES, AgNumber, DiskBlock, FileType, Ino};

/// The inode is allocated in the map.
pub const ALLOCATED: u8 = 1 << 0;
/// Its slot is in use and passed the verifier.
pub const USABLE: u8 = 1 << 1;
/// It is marked orphan in the map.
pub const ORPHAN: u8 = 1 << 2;
/// A directory that can be reached from the root.
pub const REACHED: u8 = 1 << 3;
/// Part of its map of blocks could not be read: counts of it mean nothing.
pub const TORN: u8 = 1 << 4;
/// It is allocated, but its slot is free.
pub const EMPTY: u8 = 1 << 5;

/// An inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info {
    /// `ALLOCATED` and so on.
    pub flags: u8,
    /// [`FileType`] as a number, 0 if the slot is not usable.
    pub ftype: u8,
    /// Link count in the slot.
    pub nlink: u32,
    /// Entries that name it.
    pub refs: u32,
    /// The first directory with an entry that names it; 0 if none was found.
    pub dir: u64,
}

impl Info {
    /// Whether all of `flags` are set.
    pub fn is(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Type of a usable inode.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_disk(self.ftype)
    }
}

/// A chunk of inodes.
#[derive(Debug)]
pub struct Chunk {
    /// First of its eight blocks.
    pub at: DiskBlock,
    /// Its inodes.
    pub infos: Box<[Info; CHUNK_INODES as usize]>,
}

/// What is remembered of directories besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirInfo {
    /// Parent in the slot.
    pub parent: u64,
    /// Entries that name directories.
    pub subdirs: u32,
}

/// All inodes in chunks that exist.
#[derive(Debug, Default)]
pub struct Table {
    /// Chunks by group and number.
    pub chunks: BTreeMap<(u32, u32), Chunk>,
    /// Usable directories.
    pub dirs: HashMap<Ino, DirInfo>,
}

impl Table {
    /// Adds a chunk.
    pub fn add_chunk(&mut self, ag: AgNumber, chunk: u32, at: DiskBlock) {
        let infos = Box::new([Info::default(); CHUNK_INODES as usize]);
        self.chunks.insert((ag.0, chunk), Chunk { at, infos });
    }

    /// An inode, if its chunk exists.
    pub fn get(&self, ino: Ino) -> Option<&Info> {
        let chunk = self.chunks.get(&(ino.ag().0, ino.chunk()))?;
        chunk.infos.get(ino.chunk_bit() as usize)
    }

    /// An inode, to change it.
    pub fn get_mut(&mut self, ino: Ino) -> Option<&mut Info> {
        let chunk = self.chunks.get_mut(&(ino.ag().0, ino.chunk()))?;
        chunk.infos.get_mut(ino.chunk_bit() as usize)
    }

    /// The block with the slot of an inode, if its chunk exists.
    pub fn slot_block(&self, ino: Ino) -> Option<DiskBlock> {
        let chunk = self.chunks.get(&(ino.ag().0, ino.chunk()))?;
        chunk.at.checked_add(u64::from(ino.chunk_bit() / 8))
    }

    /// All inodes in chunks that exist, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Ino, &Info)> {
        self.chunks.iter().flat_map(|((ag, number), chunk)| {
            let first = number * CHUNK_INODES;
            let inos = (first..).map(|index| Ino::new(AgNumber(*ag), index));
            inos.zip(chunk.infos.iter())
        })
    }

    /// Numbers of the inodes with all of `flags`, of type `ftype` if given.
    pub fn select(&self, flags: u8, ftype: Option<FileType>) -> Vec<Ino> {
        self.iter()
            .filter(|(_, info)| info.is(flags))
            .filter(|(_, info)| ftype.is_none_or(|ftype| info.ftype == ftype as u8))
            .map(|(ino, _)| ino)
            .collect()
    }
}
