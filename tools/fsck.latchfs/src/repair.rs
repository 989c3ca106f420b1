// SPDX-License-Identifier: GPL-2.0

//! Repairs.

use latchfs_host::Device;

use crate::check::{Options, Report};
use crate::superblock::Fatal;

/// What a repair did.
#[derive(Debug)]
pub struct Outcome {
    /// What was done, for people.
    pub done: Vec<String>,
    /// Whether anything was changed.
    pub changed: bool,
    /// A check of the result.
    pub last: Report,
}

/// Repairs.
pub fn repair(_dev: &Device, report: Report, _options: &Options) -> Result<Outcome, Fatal> {
    Ok(Outcome {
        done: Vec::new(),
        changed: false,
        last: report,
    })
}
