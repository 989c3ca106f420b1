// SPDX-License-Identifier: GPL-2.0

//! One crash state: is it sound, does it recover, and is everything there that must be.

use std::path::PathBuf;

use latchfs_engine::engine::mount::{Mount, MountOpts};
use latchfs_fsck::{check, Options};
use latchfs_host::Device;
use latchfs_vmtests::crash::verify::{Acks, Verifier};
use latchfs_vmtests::rng::Rng;

use crate::disk::{patch_write, Base, Disk, Event, Patch};
use crate::view::Unmounted;

/// Violations after which nothing more is tried.
const ENOUGH: usize = 5;
/// One state in so many has its recovery cut off.
const CUT_EACH: u64 = 4;

/// Checks states and counts.
pub struct Checker {
    verifier: Verifier,
    /// Chooses what survives.
    pub rng: Rng,
    keep: Option<PathBuf>,
    /// States looked at.
    pub states: u64,
    /// What was wrong.
    pub violations: Vec<String>,
}

fn fsck(dev: &Device) -> Result<(), String> {
    let report = check(dev, &Options::default()).map_err(|fatal| format!("fsck: {fatal}"))?;
    if report.is_clean() {
        return Ok(());
    }
    let some: Vec<&str> = report.messages.iter().take(3).map(String::as_str).collect();
    Err(format!(
        "fsck: {} problems: {}",
        report.problems.len(),
        some.join("; ")
    ))
}

impl Checker {
    /// For a load.
    pub fn new(verifier: Verifier, seed: u64, keep: Option<PathBuf>) -> Self {
        Self {
            verifier,
            rng: Rng::new(seed ^ 0x005e_ed0f_c4a5_4000),
            keep,
            states: 0,
            violations: Vec::new(),
        }
    }

    /// Whether there is no point in going on.
    pub fn had_enough(&self) -> bool {
        self.violations.len() >= ENOUGH
    }

    /// Checks the state of `base` with `patch` on it, and now and then what is left if the power
    /// fails again during its recovery.
    pub fn check(&mut self, what: &str, base: &Base, patch: Patch, acks: &Acks) {
        let events = self.check_one(what, base, patch.clone(), acks);
        if self.rng.below(CUT_EACH) != 0 {
            return;
        }
        if let Some(events) = events {
            let cut = self.rng.below(events.len() as u64 + 1) as usize;
            let again = self.cut(base, patch, &events[..cut]);
            let what = format!(
                "{what}, recovery cut after {cut} of {} writes",
                events.len()
            );
            self.check_one(&what, base, again, acks);
        }
    }

    /// The state after a part of the writes of a recovery: what was flushed is there, of the rest
    /// some sectors.
    fn cut(&mut self, base: &Base, mut patch: Patch, events: &[Event]) -> Patch {
        let flushed = events.iter().rposition(|e| matches!(e, Event::Flush));
        for (n, event) in events.iter().enumerate() {
            let Event::Write(block, data) = event else {
                continue;
            };
            let at = block * data.len() as u64;
            let durable = flushed.is_some_and(|last| n < last);
            // whole, not at all, or torn
            let fate = self.rng.below(4);
            let rng = &mut self.rng;
            patch_write(base, &mut patch, at, &data[..], || {
                durable || fate == 0 || (fate == 1 && rng.below(2) == 0)
            });
        }
        patch
    }

    fn check_one(
        &mut self,
        what: &str,
        base: &Base,
        patch: Patch,
        acks: &Acks,
    ) -> Option<Vec<Event>> {
        self.states += 1;
        let disk = Disk::new(base, patch.clone());
        match self.try_state(&disk, acks) {
            Ok(events) => Some(events),
            Err(why) => {
                self.violations.push(format!("{what}: {why}"));
                if let Some(path) = self.keep.take() {
                    let saved = base.save(&patch, &path);
                    println!("   the state is in {}: {saved:?}", path.display());
                }
                None
            }
        }
    }

    /// Returns what the recovery wrote.
    fn try_state(
        &mut self,
        disk: &std::sync::Arc<Disk>,
        acks: &Acks,
    ) -> Result<Vec<Event>, String> {
        let dev = disk.device();
        fsck(&dev).map_err(|why| format!("before the mount, {why}"))?;
        let m = Mount::open(dev.clone(), MountOpts::default())
            .map_err(|error| format!("mount: {error:?}"))?;
        let events = disk.take_events();
        m.unmount().map_err(|error| format!("unmount: {error:?}"))?;
        fsck(&dev).map_err(|why| format!("after the recovery, {why}"))?;
        let mut view = Unmounted::open(dev).map_err(|failure| failure.to_string())?;
        self.verifier.verify(&mut view, acks, acks)?;
        Ok(events)
    }
}
