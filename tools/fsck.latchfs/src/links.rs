// SPDX-License-Identifier: GPL-2.0

//! Reachability of directories, parents, link counts.

use std::collections::{HashMap, HashSet};

use latchfs_engine::format::{FileType, Ino};

use crate::check::{Checker, Pass};
use crate::problem::Problem;
use crate::table::{Info, ALLOCATED, ORPHAN, REACHED, USABLE};

impl Checker<'_> {
    /// Connects everything that was found.
    pub fn check_links(&mut self) -> Pass {
        let inodes = self.table.select(ALLOCATED | USABLE, None);
        self.progress.begin("links", inodes.len() as u64);
        self.check_reachable()?;
        for ino in inodes {
            self.progress.step();
            let Some(info) = self.table.get(ino).copied() else {
                continue;
            };
            match info.file_type() {
                Some(FileType::Directory) => self.check_dir_links(ino, &info)?,
                _ => self.check_file_links(ino, &info)?,
            }
        }
        Ok(())
    }

    /// Finds directories that cannot be reached from the root: of each such piece, its top, or one
    /// directory of a loop.
    fn check_reachable(&mut self) -> Pass {
        let root = self.sb.root();
        let dirs = self
            .table
            .select(ALLOCATED | USABLE, Some(FileType::Directory));
        let mut known: HashMap<Ino, bool> = HashMap::from([(root, true)]);
        let mut reported = HashSet::new();

        for dir in dirs.iter().copied() {
            let mut way = Vec::new();
            let mut on_way = HashSet::new();
            let mut at = dir;
            let reached = loop {
                if let Some(reached) = known.get(&at) {
                    break *reached;
                }
                if !on_way.insert(at) {
                    // A loop; `at` is part of it.
                    let least = self.least_of_loop(at);
                    if reported.insert(least) {
                        self.report(Problem::DirUnreachable { ino: least })?;
                    }
                    break false;
                }
                way.push(at);
                let parent = self.table.get(at).map_or(0, |info| info.dir);
                if parent == 0 {
                    // An orphan has no entry, and needs none; without the entries of a damaged
                    // directory nothing is known.
                    if !self.is_orphan(at) && !self.torn_dirs && reported.insert(at) {
                        self.report(Problem::DirUnreachable { ino: at })?;
                    }
                    break false;
                }
                at = Ino(parent);
            };
            for ino in way {
                known.insert(ino, reached);
                if let Some(info) = self.table.get_mut(ino).filter(|_| reached) {
                    info.flags |= REACHED;
                }
            }
        }
        if let Some(info) = self.table.get_mut(root) {
            info.flags |= REACHED;
        }
        Ok(())
    }

    /// The smallest number in a loop of directories.
    fn least_of_loop(&self, start: Ino) -> Ino {
        let mut least = start;
        let mut at = start;
        loop {
            at = Ino(self.table.get(at).map_or(start.0, |info| info.dir));
            if at == start {
                return least;
            }
            least = least.min(at);
        }
    }

    /// Parent and link count of a directory.
    fn check_dir_links(&mut self, ino: Ino, info: &Info) -> Pass {
        let is_root = ino == self.sb.root();
        let Some(dir) = self.table.dirs.get(&ino).copied() else {
            return Ok(());
        };
        if info.refs == 0 && !is_root {
            // Reported as unreachable, or an orphan.
            let orphan = info.is(ORPHAN);
            if orphan && info.nlink != 0 && !self.torn_dirs {
                self.report(Problem::Unreferenced { ino })?;
            }
            return Ok(());
        }
        let found = Ino(if is_root { ino.0 } else { info.dir });
        if dir.parent != found.0 {
            self.report(Problem::DirParent {
                ino,
                stored: Ino(dir.parent),
                found,
            })?;
        }
        self.compare_links(ino, info.nlink, dir.subdirs.saturating_add(2))
    }

    /// Link count of everything that is no directory.
    fn check_file_links(&mut self, ino: Ino, info: &Info) -> Pass {
        if info.refs != 0 {
            return self.compare_links(ino, info.nlink, info.refs);
        }
        if info.nlink != 0 {
            return match self.torn_dirs {
                true => Ok(()),
                false => self.report(Problem::Unreferenced { ino }),
            };
        }
        match info.is(ORPHAN) {
            true => Ok(()),
            false => self.report(Problem::InodeNotOrphan { ino }),
        }
    }

    fn compare_links(&mut self, ino: Ino, stored: u32, found: u32) -> Pass {
        // Entries that could not be read may be the missing links.
        if stored == found || (self.torn_dirs && found < stored) {
            return Ok(());
        }
        self.report(Problem::LinkCount { ino, stored, found })
    }
}
