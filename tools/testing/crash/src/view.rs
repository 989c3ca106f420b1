// SPDX-License-Identifier: GPL-2.0

//! The names and files on an unmounted device, for the oracle of the load.

use std::collections::HashSet;

use latchfs_engine::format::{FileType, Ino};
use latchfs_host::Device;
use latchfs_tool::{Failure, Volume};
use latchfs_vmtests::crash::verify::{Found, Tree, View};

/// Reads the device without the engine.
pub struct Unmounted {
    volume: Volume,
}

impl Unmounted {
    /// Opens it.
    pub fn open(dev: Device) -> Result<Self, Failure> {
        Ok(Self {
            volume: Volume::open(dev)?,
        })
    }

    fn walk(&self, dir: Ino, below: &str, tree: &mut Tree) -> Result<(), String> {
        let fail = |failure: Failure| format!("{below}: {failure}");
        let mut seen = HashSet::new();
        for entry in self.volume.entries(dir).map_err(fail)? {
            if !seen.insert(entry.name.clone()) {
                return Err(format!("{below}: a name twice"));
            }
            let name = String::from_utf8_lossy(&entry.name);
            let path = if below.is_empty() {
                name.into_owned()
            } else {
                format!("{below}/{name}")
            };
            let (slot, _) = self.volume.slot(entry.ino).map_err(fail)?;
            let found = match slot.file_type() {
                Some(FileType::Directory) => {
                    self.walk(entry.ino, &path, tree)?;
                    Found::Dir
                }
                Some(FileType::Symlink) => {
                    Found::Symlink(self.volume.target(entry.ino).map_err(fail)?)
                }
                Some(FileType::Regular) => {
                    let mut content = Vec::new();
                    self.volume
                        .content(entry.ino, &mut |piece| {
                            content.extend_from_slice(piece);
                            Ok(())
                        })
                        .map_err(fail)?;
                    tree.content.insert(entry.ino.0, content);
                    Found::File {
                        ino: entry.ino.0,
                        mode: u32::from(slot.mode.get()) & 0o7777,
                        nlink: slot.nlink.get(),
                    }
                }
                _ => Found::Other,
            };
            tree.names.insert(path, found);
        }
        Ok(())
    }
}

impl View for Unmounted {
    fn tree(&mut self, name: &str) -> Result<Option<Tree>, String> {
        let fail = |failure: Failure| format!("{name}: {failure}");
        let root = self.volume.sb.root();
        let Some(dir) = self.volume.lookup(root, name.as_bytes()).map_err(fail)? else {
            return Ok(None);
        };
        let mut tree = Tree::default();
        self.walk(dir, "", &mut tree)?;
        Ok(Some(tree))
    }
}
