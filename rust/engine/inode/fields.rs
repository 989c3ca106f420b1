// SPDX-License-Identifier: GPL-2.0

//! The fields of an inode, and their way to and from its slot.

use crate::{
    engine::fork::Fork,
    format::units::Ino,
    sys::Time, //
};

/// `S_IFMT`: the bits of a mode that say what the inode is.
pub const S_IFMT: u16 = 0o170000;
/// `S_ISVTX` and everything below: what chmod(2) can change.
pub const S_IALLUGO: u16 = 0o7777;

/// What an inode is. Values are `mode >> 12`, also those of `d_type` and of the file type in a
/// directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    /// Named pipe.
    Fifo = 1,
    /// Character device.
    Char = 2,
    /// Directory.
    Dir = 4,
    /// Block device.
    Block = 6,
    /// Regular file.
    Regular = 8,
    /// Symbolic link.
    Symlink = 10,
    /// Socket.
    Socket = 12,
}

impl FileKind {
    /// The kind in `mode`; `None` if it is not a legal one.
    pub const fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            1 => Self::Fifo,
            2 => Self::Char,
            4 => Self::Dir,
            6 => Self::Block,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The value in a directory entry.
    pub const fn ftype(self) -> u8 {
        self as u8
    }

    /// Whether the inode has a device number.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Char | Self::Block)
    }
}

/// The fields of an inode that are in its slot, beside its forks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Drawn at random for each use of the number; part of file handles. 0 is never drawn.
    pub generation: u32,
    /// Kind and permissions; 0 in a free slot.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project, 0 if none.
    pub projid: u32,
    /// Links: directory entries, and for a directory 2 + its subdirectories.
    pub nlink: u32,
    /// Device number in Linux's new encoding; 0 unless a device.
    pub rdev: u32,
    /// Size in bytes that the disk may know: for a regular file never beyond data that is not
    /// there (rules M15); for a directory the sum of its entries' lengths; for a symlink the
    /// length of the target.
    pub disk_size: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Change counter: `i_version`.
    pub version: u64,
    /// `FLAG_*`: immutable, append-only, and so on.
    pub flags: u64,
    /// Reserved flags, kept as they are.
    pub flags2: u64,
    /// Parent of a directory (its ".."), 0 for everything else.
    pub parent: Ino,
}

impl Core {
    /// What the inode is; `None` for a free slot.
    pub const fn kind(&self) -> Option<FileKind> {
        FileKind::of_mode(self.mode)
    }

    /// Whether it is a directory.
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind(), Some(FileKind::Dir))
    }

    /// Whether it is a regular file.
    pub const fn is_regular(&self) -> bool {
        matches!(self.kind(), Some(FileKind::Regular))
    }

    /// Sets the times a change of the inode moves, and counts the change.
    pub fn touch(&mut self, now: Time, content: bool) {
        if content {
            self.mtime = now;
        }
        self.ctime = now;
        self.bump();
    }

    /// Counts a change.
    pub fn bump(&mut self) {
        self.version = self.version.wrapping_add(1);
    }
}

/// What stat(2) and its relatives want to know, in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    /// Inode number.
    pub ino: u64,
    /// Kind and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Project.
    pub projid: u32,
    /// Links.
    pub nlink: u32,
    /// Device number, Linux's new encoding.
    pub rdev: u32,
    /// Generation.
    pub generation: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 4096 bytes, trees included; delayed ones not.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Change counter.
    pub version: u64,
    /// `FLAG_*`.
    pub flags: u64,
}

impl Attrs {
    /// The attributes of inode `ino` with these fields. `size` is what users see.
    pub(crate) fn of(ino: Ino, core: &Core, data: &Fork, size: u64) -> Self {
        Self {
            ino: ino.0,
            mode: core.mode,
            uid: core.uid,
            gid: core.gid,
            projid: core.projid,
            nlink: core.nlink,
            rdev: core.rdev,
            generation: core.generation,
            size,
            blocks: data.root.blocks,
            atime: core.atime,
            mtime: core.mtime,
            ctime: core.ctime,
            btime: core.btime,
            version: core.version,
            flags: core.flags,
        }
    }
}
