// SPDX-License-Identifier: GPL-2.0

//! Reads a whole file system through the engine.

use crate::world::SPACE;
use latchfs_engine::{
    engine::{
        dir::EntryBuf,
        file::{self, BmapKind},
        inode::{self, Attrs, InodeRef},
        namespace,
        xattr::{self, Name},
        Error, Mount,
    },
    format::Ino,
};
use latchfs_host::{Arc, Block};
use std::collections::BTreeMap;

/// An inode that a name leads to.
pub struct Walked {
    /// Its fields.
    pub attrs: Attrs,
    /// Of a directory: names and numbers.
    pub entries: Vec<(Vec<u8>, Ino)>,
    /// Of a file: the content. Of a symlink: where to.
    pub content: Vec<u8>,
    /// Extended attributes.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The names in a directory.
pub fn list(m: &Arc<Mount>, dir: &InodeRef) -> Result<Vec<(Vec<u8>, Ino)>, Error> {
    let mut names = Vec::new();
    let mut from = 0;
    let mut buf = EntryBuf::try_new()?;
    loop {
        buf.clear();
        namespace::readdir(m, dir, from, &mut buf)?;
        if buf.is_empty() {
            return Ok(names);
        }
        for entry in buf.iter() {
            names.push((entry.name.to_vec(), entry.ino));
            from = entry.key + 1;
        }
    }
}

/// Everything that can be reached from the root, by number.
pub fn walk(m: &Arc<Mount>) -> Result<BTreeMap<u64, Walked>, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![m.root_ino()];
    while let Some(ino) = todo.pop() {
        if found.contains_key(&ino.0) {
            continue;
        }
        let at = |e: Error| format!("inode {}: {e}", ino.0);
        let inode = inode::iget(m, ino).map_err(at)?;
        let attrs = inode.attrs();
        let mut walked = Walked {
            attrs,
            entries: Vec::new(),
            content: Vec::new(),
            attributes: attributes(m, &inode).map_err(at)?,
        };
        match attrs.mode >> 12 {
            0o04 => {
                walked.entries = list(m, &inode).map_err(at)?;
                todo.extend(walked.entries.iter().map(|(_, ino)| *ino));
            }
            0o12 => {
                walked.content = vec![0; 4096];
                let n = namespace::readlink(m, &inode, &mut walked.content).map_err(at)?;
                walked.content.truncate(n);
            }
            _ => walked.content = read(m, &inode, attrs.size).map_err(at)?,
        }
        found.insert(ino.0, walked);
    }
    Ok(found)
}

fn attributes(m: &Arc<Mount>, inode: &InodeRef) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut names = Vec::new();
    xattr::list(m, inode, |space, name| names.push((space, name.to_vec())))?;
    let mut found = BTreeMap::new();
    for (space, name) in names {
        let mut value = vec![0; xattr::get(m, inode, Name::new(space, &name), &mut [])?];
        if !value.is_empty() {
            xattr::get(m, inode, Name::new(space, &name), &mut value)?;
        }
        // Nobody makes any in another space: the name says so, and is none that is expected.
        let name = match space {
            SPACE => name,
            other => format!("{other:?}.")
                .into_bytes()
                .into_iter()
                .chain(name)
                .collect(),
        };
        found.insert(name, value);
    }
    Ok(found)
}

/// The content of a file, from the device. Of the file that fills the disk only the size matters.
fn read(m: &Arc<Mount>, inode: &InodeRef, size: u64) -> Result<Vec<u8>, Error> {
    const MOST: u64 = 1 << 20;

    let mut content = vec![0; size.min(MOST) as usize];
    let mut pos = 0;
    let mut block = Block::try_zeroed()?;
    while pos < content.len() as u64 {
        let map = file::bmap_read(m, inode, pos, content.len() as u64 - pos)?;
        let end = (map.offset + map.len).min(content.len() as u64);
        if map.kind == BmapKind::Mapped {
            while pos < end {
                let addr = map.addr + (pos - map.offset);
                m.buf().device().read_block(addr / 4096, &mut block)?;
                let len = 4096.min(content.len() - pos as usize);
                content[pos as usize..][..len].copy_from_slice(&block[..len]);
                pos += 4096;
            }
        }
        pos = map.offset + map.len;
    }
    Ok(content)
}
