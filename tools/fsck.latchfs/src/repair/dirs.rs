// SPDX-License-Identifier: GPL-2.0

//! Directories, lost+found, link counts.
//!
//! A directory is repaired by writing all of it anew: entries that are right keep their keys, and
//! with them their cookies.

use std::collections::{BTreeMap, BTreeSet};

use latchfs_engine::format::{
    dirent::name_is_legal, hash, Dirent, FileType, ForkFormat, Ino, TreeKind,
};
use latchfs_tool::bulk::{dirent_record, Record};

use super::{Done, Surgeon};
use crate::problem::{FileId, Problem};
use crate::table::{ALLOCATED, EMPTY, USABLE};

/// Name of the directory for what has no name any more.
const LOST: &[u8] = b"lost+found";

/// An entry to be.
type Entry = (Vec<u8>, Ino, FileType);

impl Surgeon<'_> {
    /// Removes entries that cannot stay, and corrects the others.
    pub(super) fn repair_dirs(&mut self) -> Done {
        let mut dirs: BTreeMap<Ino, BTreeSet<u64>> = BTreeMap::new();
        let mut notes = Vec::new();
        for (n, problem) in self.problems() {
            let (dir, drop, action) = match problem {
                Problem::DirentDangling { dir, key, .. } => (dir, Some(key), "entry removed"),
                Problem::DirentSecond { dir, key, .. } => (dir, Some(key), "entry removed"),
                Problem::DirentDuplicate { dir, key, .. } => (dir, Some(key), "entry removed"),
                Problem::DirentHash { dir, .. } => (dir, None, "entry moved to where it belongs"),
                Problem::DirentType { dir, .. } => (dir, None, "type corrected"),
                Problem::DirSize { ino, .. } => (ino, None, "size corrected"),
                Problem::RootMissing { ino } => {
                    self.make_root(n, ino)?;
                    continue;
                }
                _ => continue,
            };
            dirs.entry(dir).or_default().extend(drop);
            notes.push((n, dir, action));
        }
        let mut rebuilt = BTreeSet::new();
        for (dir, drop) in dirs {
            if self.rebuild_dir(dir, &[], &drop)? {
                rebuilt.insert(dir);
            }
        }
        for (n, dir, action) in notes {
            if rebuilt.contains(&dir) {
                self.note(n, action);
            }
        }
        Ok(())
    }

    /// Writes a directory anew: what it has, without the entries whose keys are in `drop`, and with
    /// `add`. False if there is no room.
    pub(super) fn rebuild_dir(
        &mut self,
        dir: Ino,
        add: &[Entry],
        drop: &BTreeSet<u64>,
    ) -> Done<bool> {
        let Some(slot) = self.c.slot(dir) else {
            return Ok(false);
        };
        let mut found: Vec<(u64, Entry)> = Vec::new();
        let _ = self.c.entries(dir, &slot, &mut |c, entry| {
            let stored = FileType::from_disk(entry.ftype);
            let ftype = c.table.get(entry.ino).and_then(|info| info.file_type());
            if let Some(ftype) = ftype.or(stored) {
                if !drop.contains(&entry.key) && name_is_legal(entry.name) {
                    found.push((entry.key, (entry.name.to_vec(), entry.ino, ftype)));
                }
            }
            Ok(())
        });
        found.extend(add.iter().map(|entry| (0, entry.clone())));

        let records = self.keyed(found);
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        let size = bytes.len() as u64;
        if bytes.len() <= usize::from(slot.attr_off.get()) {
            return self.edit_slot(dir, |slot| {
                slot.set_data(ForkFormat::InlineDir, 0, &bytes);
                slot.size.set(size);
                slot.blocks.set(u64::from(slot.attr_blocks.get()));
            });
        }
        let Some((root, nodes)) = self.write_tree(dir, TreeKind::Dirents, &records)? else {
            return Ok(false);
        };
        self.edit_slot(dir, |slot| {
            slot.set_data(ForkFormat::DirTree, root.depth, &root.to_bytes());
            slot.size.set(size);
            slot.blocks.set(nodes + u64::from(slot.attr_blocks.get()));
        })
    }

    /// Records of entries, sorted. Keys that are right stay; others get the lowest free
    /// disambiguator of their hash. Names that come twice are there once.
    fn keyed(&self, found: Vec<(u64, Entry)>) -> Vec<Record> {
        let seed = self.c.sb.hash_seed.get();
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        let mut entries = Vec::new();
        let mut homeless = Vec::new();
        for (key, entry) in found {
            if !names.insert(entry.0.clone()) {
                continue;
            }
            let right = hash::key_hash(key) == hash::name_hash(seed, &entry.0);
            if right && keys.insert(key) {
                entries.push((key, entry));
            } else {
                homeless.push(entry);
            }
        }
        for entry in homeless {
            let hash = hash::name_hash(seed, &entry.0);
            let free = (0..=hash::DISAMBIGUATOR_MAX)
                .map(|n| hash::key(hash, n))
                .find(|key| !keys.contains(key));
            if let Some(key) = free {
                keys.insert(key);
                entries.push((key, entry));
            }
        }
        let mut records: Vec<Record> = entries
            .iter()
            .filter_map(|(key, (name, ino, ftype))| {
                dirent_record(&Dirent {
                    key: *key,
                    ino: *ino,
                    ftype: *ftype as u8,
                    name,
                })
            })
            .collect();
        records.sort();
        records
    }

    /// Makes the root an empty directory; what was below it comes to lost+found.
    fn make_root(&mut self, n: usize, root: Ino) -> Done {
        if self.make_dir(root, root)? {
            self.set_bits(root, true, false)?;
            self.note(n, "made anew, empty");
        }
        Ok(())
    }

    /// Makes a slot an empty directory.
    fn make_dir(&mut self, ino: Ino, parent: Ino) -> Done<bool> {
        let context = self.c.context;
        let now = latchfs_host::now();
        self.edit_slot(ino, |slot| {
            let generation = slot.generation.get().wrapping_add(1);
            *slot = latchfs_engine::format::InodeSlot::new(&context, ino, generation);
            slot.mode.set(FileType::Directory.mode() | 0o700);
            slot.nlink.set(2);
            slot.parent.set(parent.0);
            slot.version.set(1);
            for time in [
                &mut slot.atime,
                &mut slot.mtime,
                &mut slot.ctime,
                &mut slot.btime,
            ] {
                time.set(now.secs);
            }
            slot.set_data(ForkFormat::InlineDir, 0, &[]);
        })
    }

    /// Gives names in lost+found to what has none; deletes what is empty.
    pub(super) fn connect(&mut self) -> Done {
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        for (n, problem) in self.problems() {
            match problem {
                Problem::DirUnreachable { ino } => {
                    entries.push((n, (name_of(ino), ino, FileType::Directory)));
                }
                Problem::Unreferenced { ino } => {
                    let Some(slot) = self.c.slot(ino) else {
                        continue;
                    };
                    let Some(ftype) = slot.file_type() else {
                        continue;
                    };
                    if slot.size.get() == 0 && slot.blocks.get() == 0 {
                        self.clear_inode(ino)?;
                        self.note(n, "empty: deleted");
                    } else {
                        entries.push((n, (name_of(ino), ino, ftype)));
                    }
                }
                Problem::InodeNotOrphan { ino } => {
                    self.clear_inode(ino)?;
                    self.note(n, "deleted");
                }
                _ => {}
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        let Some(lost) = self.lost_found()? else {
            return Ok(());
        };
        for (_, (_, ino, ftype)) in &entries {
            if *ftype == FileType::Directory {
                self.detach(*ino)?;
                self.edit_slot(*ino, |slot| slot.parent.set(lost.0))?;
            }
            // An inode with a name is no orphan.
            self.set_bits(*ino, true, false)?;
        }
        let add: Vec<Entry> = entries.iter().map(|(_, entry)| entry.clone()).collect();
        if self.rebuild_dir(lost, &add, &BTreeSet::new())? {
            for (n, (name, _, _)) in entries {
                let name = String::from_utf8_lossy(&name).into_owned();
                self.note(n, &format!("now /lost+found/{name}"));
            }
        }
        Ok(())
    }

    /// Takes a directory out of the one it is in: the loop it was part of is open then.
    fn detach(&mut self, ino: Ino) -> Done {
        let dir = Ino(self.c.table.get(ino).map_or(0, |info| info.dir));
        let Some(slot) = self.c.slot(dir).filter(|_| dir.0 != 0) else {
            return Ok(());
        };
        let mut keys = BTreeSet::new();
        let _ = self.c.entries(dir, &slot, &mut |_, entry| {
            if entry.ino == ino {
                keys.insert(entry.key);
            }
            Ok(())
        });
        self.rebuild_dir(dir, &[], &keys)?;
        Ok(())
    }

    /// The directory lost+found in the root; made if it is not there. [`None`] if that is
    /// impossible.
    fn lost_found(&mut self) -> Done<Option<Ino>> {
        let root = self.c.sb.root();
        let Some(slot) = self.c.slot(root) else {
            return Ok(None);
        };
        let mut found = None;
        let mut taken = false;
        let _ = self.c.entries(root, &slot, &mut |c, entry| {
            if entry.name == LOST {
                taken = true;
                let info = c.table.get(entry.ino);
                if info.and_then(|info| info.file_type()) == Some(FileType::Directory) {
                    found = Some(entry.ino);
                }
            }
            Ok(())
        });
        if found.is_some() || taken {
            return Ok(found);
        }

        // A free slot of a chunk that exists, near the root if possible.
        let free = self
            .c
            .table
            .iter()
            .find(|(ino, info)| ino.0 != 0 && !info.is(ALLOCATED))
            .map(|(ino, _)| ino);
        let Some(ino) = free else {
            return Ok(None);
        };
        if !self.make_dir(ino, root)? {
            return Ok(None);
        }
        self.set_bits(ino, true, false)?;
        if let Some(info) = self.c.table.get_mut(ino) {
            info.flags |= ALLOCATED | USABLE;
            info.flags &= !EMPTY;
            info.ftype = FileType::Directory as u8;
        }
        let entry = (LOST.to_vec(), ino, FileType::Directory);
        if !self.rebuild_dir(root, &[entry], &BTreeSet::new())? {
            self.clear_inode(ino)?;
            return Ok(None);
        }
        self.edit_slot(root, |slot| {
            slot.nlink.set(slot.nlink.get().saturating_add(1))
        })?;
        self.say(String::from("/lost+found: made"));
        Ok(Some(ino))
    }

    /// Parents, link counts, block counts, lengths of symlinks.
    pub(super) fn repair_links(&mut self) -> Done {
        for (n, problem) in self.problems() {
            match problem {
                Problem::DirParent { ino, found, .. } => {
                    self.edit_slot(ino, |slot| slot.parent.set(found.0))?;
                    self.note(n, "corrected");
                }
                Problem::LinkCount { ino, found, .. } => {
                    self.edit_slot(ino, |slot| slot.nlink.set(found))?;
                    self.set_bits(ino, true, false)?;
                    self.note(n, "corrected");
                }
                Problem::InodeBlocks { ino, found, .. } => {
                    self.edit_slot(ino, |slot| slot.blocks.set(found))?;
                    self.note(n, "corrected");
                }
                Problem::SymlinkLength { ino, .. } | Problem::SymlinkDamaged { ino, .. } => {
                    self.clear_inode(ino)?;
                    self.note(n, "the target is lost: deleted");
                }
                Problem::ExtentUnwritten {
                    file: FileId::Inode(ino),
                    ..
                } => {
                    self.clear_inode(ino)?;
                    self.note(n, "the target was never written: deleted");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn name_of(ino: Ino) -> Vec<u8> {
    format!("#{ino}").into_bytes()
}
