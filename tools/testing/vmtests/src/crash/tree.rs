// SPDX-License-Identifier: GPL-2.0

//! A mounted file system after a crash.

use std::{
    collections::hash_map::Entry,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{
            MetadataExt,
            PermissionsExt, //
        },
    },
    path::{
        Path,
        PathBuf, //
    },
};

use super::verify::{
    Found,
    Tree,
    View, //
};

/// Reads through the VFS.
pub struct Mounted {
    /// Where it is mounted.
    pub root: PathBuf,
}

fn walk(top: &Path, below: &str, tree: &mut Tree) -> Result<(), String> {
    let dir = top.join(below);
    let fail = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    for entry in fs::read_dir(&dir).map_err(|e| fail(&dir, e))? {
        let entry = entry.map_err(|e| fail(&dir, e))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        let meta = fs::symlink_metadata(&path).map_err(|e| fail(&path, e))?;
        let found = if meta.is_dir() {
            walk(top, &name, tree)?;
            Found::Dir
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(|e| fail(&path, e))?;
            Found::Symlink(target.as_os_str().as_bytes().to_vec())
        } else if meta.is_file() {
            if let Entry::Vacant(slot) = tree.content.entry(meta.ino()) {
                let content = fs::read(&path).map_err(|e| fail(&path, e))?;
                if content.len() as u64 != meta.len() {
                    return Err(format!(
                        "{name}: size {}, read {} bytes",
                        meta.len(),
                        content.len()
                    ));
                }
                slot.insert(content);
            }
            Found::File {
                ino: meta.ino(),
                mode: meta.permissions().mode() & 0o7777,
                nlink: meta.nlink() as u32,
            }
        } else {
            Found::Other
        };
        if tree.names.insert(name.clone(), found).is_some() {
            return Err(format!("{name} is listed twice"));
        }
    }
    Ok(())
}

impl View for Mounted {
    fn tree(&mut self, name: &str) -> Result<Option<Tree>, String> {
        let top = self.root.join(name);
        if !top.is_dir() {
            return Ok(None);
        }
        let mut tree = Tree::default();
        walk(&top, "", &mut tree)?;
        Ok(Some(tree))
    }
}
