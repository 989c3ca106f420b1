// SPDX-License-Identifier: GPL-2.0

//! Paths of inodes, for messages.
//!
//! Names are not remembered during the check; they are looked up for the few inodes that something
//! is wrong with.

use std::collections::HashMap;

use latchfs_engine::format::Ino;

use crate::check::{Checker, GaveUp};
use crate::problem::Name;

/// Deepest path that is spelled out.
const MAX_DEPTH: usize = 64;
/// Most lookups of one name; each reads a directory.
const MAX_LOOKUPS: usize = 2000;

/// The messages of all problems found.
pub(crate) fn messages(checker: &mut Checker<'_>) -> Vec<String> {
    let mut paths = Paths::default();
    let problems = checker.problems().to_vec();
    problems
        .iter()
        .map(|problem| {
            let path = problem.subject().and_then(|ino| paths.path(checker, ino));
            problem.render(path.as_deref())
        })
        .collect()
}

/// Paths found so far.
#[derive(Default)]
struct Paths {
    names: HashMap<Ino, Option<String>>,
    lookups: usize,
}

impl Paths {
    /// The path of an inode, or [`None`] if it is in no directory.
    fn path(&mut self, checker: &mut Checker<'_>, ino: Ino) -> Option<String> {
        let root = checker.sb.root();
        let mut parts = Vec::new();
        let mut at = ino;
        while at != root {
            if parts.len() >= MAX_DEPTH {
                parts.push("...".into());
                break;
            }
            let dir = Ino(checker.table.get(at)?.dir);
            parts.push(self.name(checker, dir, at)?);
            at = dir;
        }
        parts.reverse();
        Some(format!("/{}", parts.join("/")))
    }

    /// The name of `ino` in `dir`.
    fn name(&mut self, checker: &mut Checker<'_>, dir: Ino, ino: Ino) -> Option<String> {
        if let Some(name) = self.names.get(&ino) {
            return name.clone();
        }
        if dir.0 == 0 || self.lookups >= MAX_LOOKUPS {
            return None;
        }
        self.lookups += 1;
        let slot = checker.slot(dir)?;
        let mut name = None;
        // Ending early is an error to the walk; nobody looks at it.
        let _ = checker.entries(dir, &slot, &mut |_, entry| {
            if entry.ino == ino {
                name = Some(Name(entry.name.to_vec()).to_string());
                return Err(GaveUp);
            }
            Ok(())
        });
        self.names.insert(ino, name.clone());
        name
    }
}
