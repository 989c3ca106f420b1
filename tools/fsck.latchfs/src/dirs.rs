// SPDX-License-Identifier: GPL-2.0

//! Directories: every entry against its name, its place and its inode.

use std::collections::HashSet;

use latchfs_engine::format::{
    dirent, hash, Dirent, FileType, ForkFormat, Ino, InodeSlot, TreeKind,
};

use crate::check::{Checker, Pass};
use crate::problem::{FileId, Name, Problem};
use crate::table::{ALLOCATED, EMPTY, TORN, USABLE};

/// Called with each entry of a directory, in key order.
pub(crate) type OnEntry<'f, 'c> = &'f mut dyn FnMut(&mut Checker<'c>, &Dirent<'_>) -> Pass;

/// Names met so far that have the same hash.
#[derive(Default)]
struct Run {
    hash: u32,
    names: HashSet<Vec<u8>>,
}

impl<'c> Checker<'c> {
    /// Calls `f` with the entries of a directory that can be read.
    pub fn entries(&mut self, dir: Ino, slot: &InodeSlot, f: OnEntry<'_, 'c>) -> Pass {
        match (slot.data_format(), slot.tree()) {
            (Some(ForkFormat::InlineDir), _) => {
                for entry in dirent::entries(slot.data()) {
                    f(self, &entry)?;
                }
            }
            (Some(ForkFormat::DirTree), Some(root)) => {
                let (file, kind) = (FileId::Inode(dir), TreeKind::Dirents);
                self.walk(file, root, kind, false, &mut |this, _, leaf| {
                    for entry in (0..leaf.count()).filter_map(|n| leaf.dirent(n)) {
                        f(this, &entry)?;
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads all directories.
    pub fn check_dirs(&mut self) -> Pass {
        let root = self.sb.root();
        if !self.table.dirs.contains_key(&root) {
            self.report(Problem::RootMissing { ino: root })?;
        }
        let dirs = self
            .table
            .select(ALLOCATED | USABLE, Some(FileType::Directory));
        self.progress.begin("directories", dirs.len() as u64);
        for dir in dirs {
            self.progress.step();
            if let Some(slot) = self.slot(dir) {
                self.check_dir(dir, &slot)?;
            }
        }
        Ok(())
    }

    fn check_dir(&mut self, dir: Ino, slot: &InodeSlot) -> Pass {
        let mut run = Run::default();
        let mut found = 0;
        self.entries(dir, slot, &mut |this, entry| {
            found += entry.len() as u64;
            this.check_name(dir, entry, &mut run)?;
            this.check_entry(dir, entry)
        })?;
        let torn = self.table.get(dir).is_some_and(|info| info.is(TORN));
        let stored = slot.size.get();
        if stored != found && !torn {
            self.report(Problem::DirSize {
                ino: dir,
                stored,
                found,
            })?;
        }
        Ok(())
    }

    /// The key of an entry belongs to its name, and the name is there once.
    fn check_name(&mut self, dir: Ino, entry: &Dirent<'_>, run: &mut Run) -> Pass {
        let hash = hash::key_hash(entry.key);
        let name = || Name(entry.name.to_vec());
        if hash != hash::name_hash(self.sb.hash_seed.get(), entry.name) {
            self.report(Problem::DirentHash {
                dir,
                key: entry.key,
                name: name(),
            })?;
        }
        if run.hash != hash {
            run.hash = hash;
            run.names.clear();
        }
        if !run.names.insert(entry.name.to_vec()) {
            self.report(Problem::DirentDuplicate {
                dir,
                key: entry.key,
                name: name(),
            })?;
        }
        Ok(())
    }

    /// The inode of an entry exists and is what the entry says.
    fn check_entry(&mut self, dir: Ino, entry: &Dirent<'_>) -> Pass {
        let (key, ino) = (entry.key, entry.ino);
        let name = || Name(entry.name.to_vec());
        let root = self.sb.root();

        let Some(info) = self.table.get_mut(ino).filter(|info| info.is(ALLOCATED)) else {
            // Inodes of a map block that is lost are not known to be free.
            return match self.may_exist(ino) {
                true => Ok(()),
                false => self.report(Problem::DirentDangling {
                    dir,
                    key,
                    name: name(),
                    ino,
                }),
            };
        };
        if !info.is(USABLE) {
            info.refs = info.refs.saturating_add(1);
            // The damage of the slot was reported; an empty one makes the entry dangle.
            if info.is(EMPTY) {
                return self.report(Problem::DirentDangling {
                    dir,
                    key,
                    name: name(),
                    ino,
                });
            }
            return Ok(());
        }

        let first = Ino(info.dir);
        info.refs = info.refs.saturating_add(1);
        if info.dir == 0 {
            info.dir = dir.0;
        }
        let Some(found) = info.file_type() else {
            return Ok(());
        };
        if found as u8 != entry.ftype {
            self.report(Problem::DirentType {
                dir,
                key,
                name: name(),
                ino,
                stored: entry.ftype,
                found,
            })?;
        }
        if found != FileType::Directory {
            return Ok(());
        }
        if first.0 != 0 || ino == root {
            let first = if ino == root { root } else { first };
            return self.report(Problem::DirentSecond {
                dir,
                key,
                name: name(),
                ino,
                first,
            });
        }
        if let Some(info) = self.table.dirs.get_mut(&dir) {
            info.subdirs += 1;
        }
        Ok(())
    }

    /// Whether nothing is known of an inode because its part of the map could not be read.
    fn may_exist(&self, ino: Ino) -> bool {
        use latchfs_engine::format::limits::MAP_CHUNKS;

        match self.group(ino.ag()) {
            Some(group) if self.table.get(ino).is_none() => {
                group.header.is_none()
                    || (!group.whole && group.lost_maps.is_empty())
                    || group.lost_maps.contains(&(ino.chunk() / MAP_CHUNKS))
            }
            _ => false,
        }
    }
}
