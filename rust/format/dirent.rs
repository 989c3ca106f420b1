// SPDX-License-Identifier: GPL-2.0

//! Directory entries.
//!
//! The same bytes in the same order stand in the literal area of a small directory and in the
//! leaves of a large one, so the conversion between the two never changes a cookie. "." and ".."
//! are not stored: the inode knows its parent.
//!
//!   0 key u64 | 8 ino u64 | 16 type u8 | 17 length of the name u8 | 18 name

use super::{
    defect::{ensure, Defect, DefectKind},
    geometry::Geometry,
    hash::key_is_legal,
    limits::MAX_NAME,
    units::Ino,
};

/// Bytes of an entry without its name.
pub const DIRENT_HEAD: usize = 18;
/// Bytes of the longest entry.
pub const MAX_DIRENT: usize = DIRENT_HEAD + MAX_NAME;

/// Type of the inode an entry points at; Linux's `FT_*` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Character device.
    CharDevice = 3,
    /// Block device.
    BlockDevice = 4,
    /// Named pipe.
    Fifo = 5,
    /// Socket.
    Socket = 6,
    /// Symbolic link.
    Symlink = 7,
}

/// Mask of the type in a mode.
pub const S_IFMT: u16 = 0o170000;

impl FileType {
    /// The type with this number.
    pub const fn from_disk(ftype: u8) -> Option<Self> {
        Some(match ftype {
            1 => FileType::Regular,
            2 => FileType::Directory,
            3 => FileType::CharDevice,
            4 => FileType::BlockDevice,
            5 => FileType::Fifo,
            6 => FileType::Socket,
            7 => FileType::Symlink,
            _ => return None,
        })
    }

    /// The type in a mode (`S_IFMT`).
    pub const fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode & S_IFMT {
            0o100000 => FileType::Regular,
            0o040000 => FileType::Directory,
            0o020000 => FileType::CharDevice,
            0o060000 => FileType::BlockDevice,
            0o010000 => FileType::Fifo,
            0o140000 => FileType::Socket,
            0o120000 => FileType::Symlink,
            _ => return None,
        })
    }

    /// The bits of a mode for the type.
    pub const fn mode(self) -> u16 {
        match self {
            FileType::Regular => 0o100000,
            FileType::Directory => 0o040000,
            FileType::CharDevice => 0o020000,
            FileType::BlockDevice => 0o060000,
            FileType::Fifo => 0o010000,
            FileType::Socket => 0o140000,
            FileType::Symlink => 0o120000,
        }
    }

    /// Name of the type for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            FileType::Regular => "file",
            FileType::Directory => "directory",
            FileType::CharDevice => "character device",
            FileType::BlockDevice => "block device",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::Symlink => "symlink",
        }
    }
}

/// A directory entry; the name is where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// Hash and disambiguator, see [`super::hash`].
    pub key: u64,
    /// The inode.
    pub ino: Ino,
    /// Type of the inode as stored; see [`FileType`].
    pub ftype: u8,
    /// Name, 1 to 255 bytes.
    pub name: &'a [u8],
}

/// Whether a directory can have an entry of this name.
pub fn name_is_legal(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name != b"."
        && name != b".."
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

impl<'a> Dirent<'a> {
    /// Bytes of the record.
    #[inline]
    pub const fn len(&self) -> usize {
        DIRENT_HEAD.saturating_add(self.name.len())
    }

    /// Never: a record has a head.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The entry at the start of `bytes` and what follows it; [`None`] if it is cut off. Values are
    /// not checked.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (key, rest) = bytes.split_first_chunk::<8>()?;
        let (ino, rest) = rest.split_first_chunk::<8>()?;
        let ([ftype, len], rest) = rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        let entry = Self {
            key: u64::from_le_bytes(*key),
            ino: Ino(u64::from_le_bytes(*ino)),
            ftype: *ftype,
            name,
        };
        Some((entry, rest))
    }

    /// Writes the record to the start of `out` and returns its length; [`None`], and nothing
    /// written, if there is no room or the name is too long.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let len = u8::try_from(self.name.len()).ok()?;
        let out = out.get_mut(..self.len())?;
        let (key, rest) = out.split_first_chunk_mut::<8>()?;
        let (ino, rest) = rest.split_first_chunk_mut::<8>()?;
        let (tail, name) = rest.split_first_chunk_mut::<2>()?;
        *key = self.key.to_le_bytes();
        *ino = self.ino.0.to_le_bytes();
        *tail = [self.ftype, len];
        name.get_mut(..self.name.len())?.copy_from_slice(self.name);
        Some(self.len())
    }

    /// Length of the record at the start of `bytes`; [`None`] if it is cut off.
    pub fn measure(bytes: &[u8]) -> Option<usize> {
        Dirent::parse(bytes).map(|(entry, _)| entry.len())
    }

    /// Checks the record at the start of `bytes`; returns its key and length. Whether the hash in
    /// the key is that of the name is for fsck: it costs a hash of every name.
    pub fn verify(bytes: &[u8], geometry: &Geometry) -> Result<(u64, usize), Defect> {
        use DefectKind::Range;

        let (entry, _) = Dirent::parse(bytes).ok_or(Defect::new("dirent.name_len", Range))?;
        ensure(key_is_legal(entry.key), "dirent.key", Range)?;
        ensure(geometry.check_ino(entry.ino), "dirent.ino", Range)?;
        ensure(
            FileType::from_disk(entry.ftype).is_some(),
            "dirent.type",
            Range,
        )?;
        ensure(name_is_legal(entry.name), "dirent.name", Range)?;
        Ok((entry.key, entry.len()))
    }
}

/// The entries packed in `bytes`, as in the literal area of a small directory. Ends at the first
/// one that is cut off.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Dirent<'_>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (entry, next) = Dirent::parse(rest)?;
        rest = next;
        Some(entry)
    })
}

/// Checks packed entries: each by itself, ascending keys, nothing left over.
pub fn verify_entries(bytes: &[u8], geometry: &Geometry) -> Result<(), Defect> {
    let mut rest = bytes;
    let mut last = None;
    while !rest.is_empty() {
        let (key, len) = Dirent::verify(rest, geometry)?;
        ensure(
            last.is_none_or(|last| key > last),
            "dirent.key",
            DefectKind::Order,
        )?;
        last = Some(key);
        rest = rest.get(len..).unwrap_or(&[]);
    }
    Ok(())
}
