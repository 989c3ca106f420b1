// SPDX-License-Identifier: GPL-2.0

//! The fields of an inode, and their way to and from its slot.

use crate::{
    engine::{
        error::{Error, Result},
        fork::{Fork, ForkFormat, TreeRoot},
        inode::InodeInner,
    },
    format::{
        self,
        dirent::FileType,
        header::Context,
        inode::InodeSlot,
        units::{Ino, Lsn},
    },
    sys::{Errno, Time},
};
use zerocopy::little_endian::{I64, U16, U32, U64};

/// `S_ISVTX`, `S_ISGID`, `S_ISUID` and permissions: what chmod(2) can change.
pub const S_IALLUGO: u16 = 0o7777;

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
    pub const fn ftype(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }

    /// Whether it is a directory.
    pub const fn is_dir(&self) -> bool {
        matches!(self.ftype(), Some(FileType::Directory))
    }

    /// Whether it is a regular file.
    pub const fn is_regular(&self) -> bool {
        matches!(self.ftype(), Some(FileType::Regular))
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
    /// Whether it has extended attributes.
    pub xattrs: bool,
}

impl Attrs {
    /// The attributes of inode `ino` with these fields. `size` is what users see.
    pub(crate) fn of(ino: Ino, inner: &InodeInner, size: u64) -> Self {
        let core = &inner.core;
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
            blocks: inner.blocks(),
            atime: core.atime,
            mtime: core.mtime,
            ctime: core.ctime,
            btime: core.btime,
            version: core.version,
            flags: core.flags,
            xattrs: inner.attrs.format != ForkFormat::None,
        }
    }
}

fn time(secs: I64, nanos: U32) -> Time {
    Time {
        secs: secs.get(),
        nanos: nanos.get(),
    }
}

/// Makes the forks of `inner` those of a slot that was verified and is in use. ENOMEM, EUCLEAN.
pub(crate) fn decode_forks(inner: &mut InodeInner, slot: &InodeSlot) -> Result {
    let bad = || Error::new(Errno::UCLEAN);
    let format = slot.data_format().ok_or_else(bad)?;
    let attr_blocks = u64::from(slot.attr_blocks.get());
    let blocks = slot.blocks.get().checked_sub(attr_blocks);
    inner.data = Fork::from_disk(
        format,
        slot.data_depth,
        slot.data(),
        blocks.ok_or_else(bad)?,
        usize::from(slot.attr_off.get()),
    )?;
    inner.attrs = Fork::new(slot.attr_format().ok_or_else(bad)?);
    match slot.attr_tree() {
        Some(root) => {
            inner.attrs.root = TreeRoot {
                block: root.block,
                depth: root.depth,
                blocks: attr_blocks,
            };
        }
        None => inner.attrs.inline.try_extend_from_slice(slot.attrs())?,
    }
    Ok(())
}

impl InodeInner {
    /// Blocks of both forks.
    pub(crate) fn blocks(&self) -> u64 {
        let attrs = self.attrs.root.blocks;
        self.data.root.blocks.saturating_add(attrs)
    }

    /// Makes `slot`, whatever it was, the sealed slot of `ino` with this content; with mode 0 a free
    /// one. EUCLEAN if the forks do not fit, which the engine prevents.
    pub(crate) fn encode(
        &self,
        slot: &mut InodeSlot,
        context: &Context,
        ino: Ino,
        lsn: Lsn,
    ) -> Result {
        self.fill(slot, context, ino)?;
        slot.seal(context, lsn);
        Ok(())
    }

    /// [`Self::encode`] without the seal, which the log does not have: each commit comes here.
    pub(crate) fn fill(&self, slot: &mut InodeSlot, context: &Context, ino: Ino) -> Result {
        slot.reset(context, ino, self.core.generation);
        if self.core.mode != 0 {
            self.core.encode(slot);
            slot.blocks = U64::new(self.blocks());
            let attrs = &self.attrs;
            let root = format::TreeRoot {
                block: attrs.root.block,
                depth: attrs.root.depth,
            };
            // CAST: changes of attributes stay below that.
            let blocks = attrs.root.blocks as u32;
            let attrs = slot.set_attrs(attrs.format, root, blocks, &attrs.inline);
            let mut scratch = [0; 8];
            let (format, depth, bytes) = self.data.to_disk(&mut scratch);
            if !attrs || !slot.set_data(format, depth, bytes) {
                return Err(Error::new(Errno::UCLEAN));
            }
        }
        Ok(())
    }
}

impl Core {
    /// Becomes the fields of a slot that was verified and is in use.
    pub(crate) fn decode(&mut self, slot: &InodeSlot) {
        self.generation = slot.generation.get();
        self.mode = slot.mode.get();
        self.uid = slot.uid.get();
        self.gid = slot.gid.get();
        self.projid = slot.projid.get();
        self.nlink = slot.nlink.get();
        self.rdev = slot.rdev.get();
        self.disk_size = slot.size.get();
        self.atime = time(slot.atime, slot.atime_ns);
        self.mtime = time(slot.mtime, slot.mtime_ns);
        self.ctime = time(slot.ctime, slot.ctime_ns);
        self.btime = time(slot.btime, slot.btime_ns);
        self.version = slot.version.get();
        self.flags = slot.flags.get();
        self.flags2 = slot.flags2.get();
        self.parent = Ino(slot.parent.get());
    }

    /// Puts the fields into a slot that was reset.
    fn encode(&self, slot: &mut InodeSlot) {
        slot.mode = U16::new(self.mode);
        slot.uid = U32::new(self.uid);
        slot.gid = U32::new(self.gid);
        slot.projid = U32::new(self.projid);
        slot.nlink = U32::new(self.nlink);
        slot.rdev = U32::new(self.rdev);
        slot.size = U64::new(self.disk_size);
        slot.atime = I64::new(self.atime.secs);
        slot.mtime = I64::new(self.mtime.secs);
        slot.ctime = I64::new(self.ctime.secs);
        slot.btime = I64::new(self.btime.secs);
        slot.atime_ns = U32::new(self.atime.nanos);
        slot.mtime_ns = U32::new(self.mtime.nanos);
        slot.ctime_ns = U32::new(self.ctime.nanos);
        slot.btime_ns = U32::new(self.btime.nanos);
        slot.version = U64::new(self.version);
        slot.flags = U64::new(self.flags);
        slot.flags2 = U64::new(self.flags2);
        slot.parent = U64::new(self.parent.0);
    }
}
