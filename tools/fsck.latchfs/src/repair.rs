// SPDX-License-Identifier: GPL-2.0

//! Repairs.
//!
//! A repair changes as little as it can, then everything is checked again, until nothing is left
//! that can be repaired. So the rules are simple: what one repair leaves behind - blocks of a
//! deleted file, link counts - is a defect like any other to the next check. The order is that of
//! trust: first structures, then inodes, then names, then links, and only when all those are sound,
//! what is derived from them: bitmaps and counts.
//!
//! What was lost stays lost; a repair makes the rest usable and says what it did. It never guesses
//! where a tree of a hidden file was: that is left to the user, with status 4.

mod attrs;
mod dirs;
mod inodes;
mod maps;
mod space;
mod structure;

use latchfs_engine::{
    engine::recovery::Recovered,
    format::{
        header::reseal, superblock::STATE_CLEAN, verify_block, AgNumber, Block, BlockKind,
        BlockRange, Defect, DefectKind, DiskBlock, Geometry, Ino, InodeSlot, Lsn, Owner,
    },
};
use latchfs_host::{Device, Errno};

use crate::check::{examine, Buf, Checker, Options, Report};
use crate::path;
use crate::problem::Problem;
use crate::replay::{empty, replay, write_superblock};
use crate::superblock::{self, Fatal};

/// Most rounds of check and repair. Each round ends one kind of defect; there are fewer kinds.
const ROUNDS: usize = 40;

/// What a repair did.
#[derive(Debug)]
pub struct Outcome {
    /// What was done, for people.
    pub done: Vec<String>,
    /// Whether anything was wrong that is not any more. That the log was replayed is nothing wrong.
    pub changed: bool,
    /// What was replayed, if anything was.
    pub recovered: Option<Recovered>,
    /// A check of the result.
    pub last: Report,
}

/// Why a repair ended early.
#[derive(Debug)]
pub enum Failed {
    /// The file system cannot be checked any more.
    Fatal(Fatal),
    /// A block could not be written.
    Write(DiskBlock, Errno),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::Fatal(fatal) => write!(f, "{fatal}"),
            Failed::Write(block, error) => {
                write!(f, "block {block} cannot be written: {error:?}")
            }
        }
    }
}

impl From<Fatal> for Failed {
    fn from(fatal: Fatal) -> Self {
        Failed::Fatal(fatal)
    }
}

/// Result of a repair.
pub(crate) type Done<T = ()> = Result<T, Failed>;

/// Fails if the file system has features that a writer must know and this program does not.
fn admit(dev: &Device) -> Result<(), Failed> {
    let sb = superblock::open(dev)?.superblock;
    if sb.can_write() {
        return Ok(());
    }
    Err(Failed::Fatal(Fatal::Unsupported {
        defect: Defect::new("ro_compat", DefectKind::Unsupported),
        found: sb.ro_compat.get(),
    }))
}

/// At boot: replays the log if there is nothing else that would have to be looked at. The line that
/// says how the file system is then, or [`None`] if it has to be checked.
pub fn preen(dev: &Device) -> Result<Option<String>, Failed> {
    admit(dev)?;
    if superblock::has_errors(dev)? || !replay(dev)?.problems.is_empty() {
        return Ok(None);
    }
    Ok(superblock::skip(dev))
}

/// Replays the log, repairs the file system on `dev` as far as possible, and marks it clean if
/// nothing is left.
pub fn repair(dev: &Device, options: &Options) -> Result<Outcome, Failed> {
    admit(dev)?;
    let replay = replay(dev)?;
    let mut done = give_up(dev, &replay.problems)?;
    for _ in 0..ROUNDS {
        let mut checker = examine(dev, options, Vec::new())?;
        let messages = path::messages(&mut checker);
        let mut surgeon = Surgeon {
            c: checker,
            messages,
            done: Vec::new(),
        };
        let changed = surgeon.round()?;
        done.append(&mut surgeon.done);
        if !changed {
            let clean = surgeon.c.problems().is_empty();
            if clean {
                surgeon.finish()?;
            } else {
                surgeon.store_totals()?;
            }
            break;
        }
    }
    dev.flush().map_err(|e| Failed::Write(DiskBlock(0), e))?;
    Ok(Outcome {
        changed: !done.is_empty(),
        done,
        recovered: replay.recovered,
        last: examine(dev, options, Vec::new())?.into_report(),
    })
}

/// A log that cannot be replayed is emptied. What was done.
fn give_up(dev: &Device, problems: &[Problem]) -> Done<Vec<String>> {
    let mut done = Vec::new();
    for problem in problems {
        let action = match problem {
            Problem::LogUnusable { .. } => {
                let checker = examine(dev, &Options::default(), Vec::new())?;
                let mut sb = checker.sb;
                empty(dev, &checker.context, &mut sb, checker.newest.get());
                sb.state.set(sb.state.get() & !STATE_CLEAN);
                write_superblock(dev, &mut sb)?;
                "emptied, what was in it is lost"
            }
            _ => "written anew",
        };
        done.push(format!("{}: {action}", problem.render(None)));
    }
    Ok(done)
}

/// A check that is over, and the means to change what it found.
pub(crate) struct Surgeon<'a> {
    pub c: Checker<'a>,
    messages: Vec<String>,
    done: Vec<String>,
}

impl Surgeon<'_> {
    /// One round: the first kind of repair that finds something to do.
    fn round(&mut self) -> Done<bool> {
        let before = self.done.len();
        self.repair_structure()?;
        if self.done.len() == before {
            self.repair_maps()?;
        }
        if self.done.len() == before {
            self.repair_inodes()?;
        }
        if self.done.len() == before {
            self.repair_attrs()?;
        }
        if self.done.len() == before {
            self.repair_dirs()?;
        }
        if self.done.len() == before {
            self.connect()?;
        }
        if self.done.len() == before {
            self.repair_links()?;
        }
        if self.done.len() == before {
            self.end_orphans()?;
        }
        if self.done.len() == before {
            self.repair_space()?;
        }
        Ok(self.done.len() != before)
    }

    /// Notes what was done about problem `n`.
    pub fn note(&mut self, n: usize, action: &str) {
        let message = self.messages.get(n).cloned().unwrap_or_default();
        self.done.push(format!("{message}: {action}"));
    }

    /// Notes something that was done without a problem of its own.
    pub fn say(&mut self, line: String) {
        self.done.push(line);
    }

    /// The problems, to be looked at while repairing.
    pub fn problems(&self) -> Vec<(usize, Problem)> {
        self.c.problems().iter().cloned().enumerate().collect()
    }

    /// Writes a block.
    pub fn write(&self, at: DiskBlock, block: &Block) -> Done {
        let mut buf = Buf::must_zeroed();
        buf.copy_from_slice(block);
        self.c
            .dev
            .write_block(at.0, &buf)
            .map_err(|error| Failed::Write(at, error))
    }

    /// Reads a block, changes it, seals and writes it. False if it cannot be read.
    pub fn edit(&self, at: DiskBlock, edit: impl FnOnce(&mut Block)) -> Done<bool> {
        let Ok(mut block) = self.c.raw(at) else {
            return Ok(false);
        };
        edit(&mut block);
        reseal(&mut block, &self.c.context);
        self.write(at, &block)?;
        Ok(true)
    }

    /// Sets the checksum of a block if that makes it sound. False, and nothing changed, if not.
    pub fn reseal(&self, at: DiskBlock, kind: BlockKind, owner: Owner) -> Done<bool> {
        let Ok(mut block) = self.c.raw(at) else {
            return Ok(false);
        };
        reseal(&mut block, &self.c.context);
        if verify_block(&block, kind, &self.c.context, at, Some(owner)).is_err() {
            return Ok(false);
        }
        self.write(at, &block)?;
        Ok(true)
    }

    /// Changes the slot of an inode and seals it. False if it is not there.
    pub fn edit_slot(&self, ino: Ino, edit: impl FnOnce(&mut InodeSlot)) -> Done<bool> {
        let Some(at) = self.c.table.slot_block(ino) else {
            return Ok(false);
        };
        let Ok(mut block) = self.c.raw(at) else {
            return Ok(false);
        };
        let Some(slot) = InodeSlot::of_mut(&mut block, ino) else {
            return Ok(false);
        };
        edit(slot);
        slot.seal(&self.c.context, Lsn(slot.lsn.get()));
        self.write(at, &block)?;
        Ok(true)
    }

    /// A block that nothing uses, in group `ag` if possible, now claimed. Both what was found and
    /// the bitmap on disk must say that it is free: what is behind a damaged structure is unknown.
    pub fn allocate(&mut self, ag: AgNumber) -> Option<DiskBlock> {
        let geometry = self.c.context.geometry;
        let count = geometry.ag_count();
        let order = (0..count).map(|n| (ag.0 + n) % count.max(1));
        for ag in order.map(AgNumber) {
            for index in 0..geometry.bitmap_count(ag) {
                if let Some(at) = self.allocate_in(&geometry, ag, index) {
                    self.c.claims.claim(BlockRange::new(at, 1));
                    return Some(at);
                }
            }
        }
        None
    }

    fn allocate_in(&self, geometry: &Geometry, ag: AgNumber, index: u32) -> Option<DiskBlock> {
        let found = self.c.claims.part(ag, index);
        let stored = self.c.stored_bitmap(ag, index)?;
        let coverage = geometry.bitmap_coverage(ag, index);
        let bit = (0..coverage.len).find(|bit| {
            let mask = 1 << (bit % 8);
            let byte = *bit as usize / 8;
            found[byte] & mask == 0 && stored[byte] & mask == 0
        })?;
        geometry.disk_block(ag, coverage.start.checked_add(bit)?)
    }
}
