// SPDX-License-Identifier: GPL-2.0

//! Superblock, copies and log header.

use std::fmt;

use latchfs_engine::format::{
    geometry::has_superblock_copy, limits::FORMAT_REV, superblock::STATE_ERRORS, AgNumber,
    BlockKind, Context, Defect, DefectKind, DiskBlock, Geometry, Owner, Superblock,
};
use latchfs_host::{Block, Device, Errno};

use crate::check::{Checker, Pass, Read};
use crate::problem::Problem;

/// Why there is nothing that could be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// The device cannot be read.
    Read {
        /// Block.
        block: DiskBlock,
        /// Why.
        error: Errno,
    },
    /// There is no latchfs, or nothing is left of its superblocks.
    NoSuperblock {
        /// What is wrong with the one in block 0.
        defect: Defect,
    },
    /// It was made by another version, or has features that this program does not know.
    Unsupported {
        /// What is not supported.
        defect: Defect,
        /// The value of the field.
        found: u64,
    },
    /// The device is smaller than the file system.
    TooShort {
        /// Blocks of the device.
        device: u64,
        /// Blocks of the file system.
        needed: u64,
    },
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Read { block, error } => write!(f, "block {block} cannot be read: {error:?}"),
            Fatal::NoSuperblock { defect } if defect.kind == DefectKind::Magic => {
                write!(f, "no latchfs found")
            }
            Fatal::NoSuperblock { defect } => {
                write!(f, "superblock: {defect}; no usable copy found")
            }
            Fatal::Unsupported { defect, found } if defect.field == "format_rev" => write!(
                f,
                "made with format revision {found}, this program knows revision {FORMAT_REV} only; \
                 make the file system anew"
            ),
            Fatal::Unsupported { defect, found } => write!(f, "{defect} (it is {found:#x})"),
            Fatal::TooShort { device, needed } => write!(
                f,
                "the device has {device} blocks, the file system needs {needed}: it was cut off"
            ),
        }
    }
}

impl Fatal {
    /// Whether it is damage of a latchfs, rather than no latchfs or no device.
    pub fn is_damage(&self) -> bool {
        matches!(self, Fatal::TooShort { .. })
    }
}

/// Whether a check at boot can be skipped: the line that says so.
pub fn skip(dev: &Device) -> Option<String> {
    let opened = open(dev).ok()?;
    let sb = opened.superblock;
    if !sb.is_clean() || notes_errors(&opened) {
        return None;
    }
    Some(format!(
        "clean, {}/{} inodes, {}/{} blocks free",
        sb.inodes.get().saturating_sub(sb.free_inodes.get()),
        sb.inodes.get(),
        sb.free_blocks.get(),
        opened.context.geometry.total_dynamic_blocks(),
    ))
}

/// Whether errors are known without a look.
pub(crate) fn has_errors(dev: &Device) -> Result<bool, Fatal> {
    Ok(notes_errors(&open(dev)?))
}

fn notes_errors(opened: &Opened) -> bool {
    let sb = &opened.superblock;
    let recorded = sb.state.get() & STATE_ERRORS != 0 || sb.error_count.get() != 0;
    opened.problem.is_some() || recorded
}

/// What [`open`] found.
pub(crate) struct Opened {
    pub superblock: Superblock,
    pub context: Context,
    /// The damage of the one in block 0, if a copy had to be used.
    pub problem: Option<Problem>,
}

/// Finds a superblock that can be used.
pub(crate) fn open(dev: &Device) -> Result<Opened, Fatal> {
    let mut block = Block::must_zeroed();
    let none = Fatal::NoSuperblock {
        defect: Defect::new("magic", DefectKind::Magic),
    };
    if dev.blocks() == 0 {
        return Err(none);
    }
    dev.read_block(0, &mut block).map_err(|error| Fatal::Read {
        block: DiskBlock(0),
        error,
    })?;
    let sb = *Superblock::of(&block[..]).ok_or(none)?;

    let opened = match sb.verify(DiskBlock(0)) {
        Ok(context) => Opened {
            superblock: sb,
            context,
            problem: None,
        },
        Err(defect) if defect.kind == DefectKind::Unsupported => {
            return Err(Fatal::Unsupported {
                defect,
                found: match defect.field {
                    "version" => u64::from(sb.version.get()),
                    "format_rev" => u64::from(sb.format_rev.get()),
                    "incompat" => sb.incompat.get(),
                    "block_log" => u64::from(sb.block_log),
                    _ => u64::from(sb.inode_log),
                },
            })
        }
        Err(defect) => search(dev, &sb, defect)?,
    };
    let needed = opened.context.geometry.block_count();
    if dev.blocks() < needed {
        return Err(Fatal::TooShort {
            device: dev.blocks(),
            needed,
        });
    }
    Ok(opened)
}

/// Looks for a copy: where the damaged one says the groups are, where mkfs puts them on a device of
/// this size, and in the first 4 GiB.
fn search(dev: &Device, damaged: &Superblock, defect: Defect) -> Result<Opened, Fatal> {
    const SCAN: u64 = 1 << 20;

    // What never was a latchfs is not searched for traces of one.
    if defect.kind == DefectKind::Magic && !likely(damaged) {
        return Err(Fatal::NoSuperblock { defect });
    }
    let default = Geometry::for_device(dev.blocks(), None);
    let sizes = [
        Some(u64::from(damaged.ag_blocks.get())),
        default.map(|geometry| u64::from(geometry.ag_blocks())),
    ];
    let guesses = sizes.into_iter().flatten().flat_map(|size| {
        (1..64)
            .filter(|ag| has_superblock_copy(AgNumber(*ag)))
            .map(move |ag| u64::from(ag).saturating_mul(size))
    });
    let mut block = Block::must_zeroed();
    for at in guesses.chain(1..SCAN).on_device(dev.blocks()) {
        if dev.read_block(at, &mut block).is_err() || !Superblock::is_latchfs(&block[..]) {
            continue;
        }
        let Some(sb) = Superblock::of(&block[..]) else {
            continue;
        };
        let Ok(context) = sb.verify(DiskBlock(at)) else {
            continue;
        };
        let Some((copy, inside)) = context.geometry.locate(DiskBlock(at)) else {
            continue;
        };
        if inside.0 == 0 && has_superblock_copy(copy) {
            return Ok(Opened {
                superblock: *sb,
                context,
                problem: Some(Problem::SuperblockDamaged { defect, copy }),
            });
        }
    }
    Err(Fatal::NoSuperblock { defect })
}

/// Whether the rest of a sector without magic looks like a superblock.
fn likely(sb: &Superblock) -> bool {
    sb.block_log == 12 && sb.inode_log == 9 && sb.geometry().is_ok()
}

/// Keeps numbers of blocks that the device has.
trait OnDevice: Iterator<Item = u64> + Sized {
    fn on_device(self, blocks: u64) -> impl Iterator<Item = u64> {
        self.filter(move |at| *at != 0 && *at < blocks)
    }
}

impl<I: Iterator<Item = u64>> OnDevice for I {}

impl Checker<'_> {
    /// The copies: each by itself, and that what never changes is the same in all.
    pub fn check_copies(&mut self) -> Pass {
        let geometry = self.context.geometry;
        for ag in geometry.ags().skip(1) {
            let Some(at) = geometry.superblock_copy(ag) else {
                continue;
            };
            let block = match self.raw(at) {
                Ok(block) => block,
                Err(error) => {
                    self.report(Problem::ReadError {
                        block: at,
                        error,
                        what: "superblock copy",
                    })?;
                    continue;
                }
            };
            let Some(copy) = Superblock::of(&block[..]) else {
                continue;
            };
            if let Err(defect) = copy.verify(at) {
                self.report(Problem::SuperblockCopyDamaged { ag, defect })?;
            } else if let Some(field) = difference(&self.sb, copy) {
                self.report(Problem::SuperblockCopyDiffers { ag, field })?;
            }
        }
        Ok(())
    }

    /// The header of the log.
    pub fn check_log(&mut self) -> Pass {
        let block = self.context.geometry.log().start;
        match self.read(block, BlockKind::Log, Owner::log()) {
            Read::Good(_) => Ok(()),
            Read::Sound(_, defect) | Read::Bad(defect) => {
                self.report(Problem::LogDamaged { block, defect })
            }
            Read::Unreadable(error) => self.report(Problem::ReadError {
                block,
                error,
                what: "log header",
            }),
        }
    }
}

/// The first field that should be the same in a copy and is not.
fn difference(sb: &Superblock, copy: &Superblock) -> Option<&'static str> {
    let fields = [
        ("uuid", sb.uuid == copy.uuid),
        ("instance", sb.instance == copy.instance),
        ("hash_seed", sb.hash_seed == copy.hash_seed),
        ("geometry", sb.geometry() == copy.geometry()),
        ("compat", sb.compat == copy.compat),
        ("ro_compat", sb.ro_compat == copy.ro_compat),
        ("incompat", sb.incompat == copy.incompat),
        ("root_ino", sb.root_ino == copy.root_ino),
        ("label", sb.label == copy.label),
    ];
    fields
        .into_iter()
        .find(|(_, same)| !same)
        .map(|(field, _)| field)
}
