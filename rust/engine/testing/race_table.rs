// SPDX-License-Identifier: GPL-2.0

//! Rows for the table of `make races`.

use crate::sys::sync_point::points::Mutant;
#[cfg(any(feature = "shuttle", feature = "loom"))]
use crate::sys::sync_point::table;
use std::io::Write;
#[cfg(any(feature = "shuttle", feature = "loom"))]
use std::panic::{catch_unwind, AssertUnwindSafe};

/// One row.
pub(crate) struct Row {
    /// The version without the protection: its name is that of the race.
    pub(crate) mutant: Mutant,
    /// What was run.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) with: &'static str,
    /// Whether the interleaving came about.
    pub(crate) reached: bool,
    /// Whether the real build did no damage.
    pub(crate) real: bool,
    /// The damage that the mutant did; `""` if it was missed.
    pub(crate) damage: String,
}

impl Row {
    /// Adds it to the file that LATCHFS_RACES_TABLE names, if there is one.
    pub(crate) fn write(&self) {
        let Some(path) = std::env::var_os("LATCHFS_RACES_TABLE") else {
            return;
        };
        let fields = [
            self.mutant.name(),
            self.name,
            self.with,
            if self.reached { "yes" } else { "no" },
            if self.real { "pass" } else { "FAIL" },
            if self.damage.is_empty() {
                "MISSED"
            } else {
                "caught"
            },
            &self.damage,
        ];
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("LATCHFS_RACES_TABLE");
        // One write: other tests add theirs.
        let row = fields.join("\t") + "\n";
        file.write_all(row.as_bytes()).expect("LATCHFS_RACES_TABLE");
    }
}

/// What a panic says, in one line.
pub(crate) fn panic_text(e: &(dyn std::any::Any + Send)) -> String {
    let text = e
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| e.downcast_ref::<&str>().map(|s| s.to_string()))
        .unwrap_or_else(|| "panic".into());
    // What comes before the values of an assertion.
    let line = text.lines().next().unwrap_or("panic");
    line.chars().take(70).collect()
}

/// A model of races under a scheduler that tries the interleavings itself.
#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) struct Model {
    /// The mutants that it has to catch.
    pub(crate) mutants: &'static [Mutant],
    /// What it is of.
    pub(crate) name: &'static str,
    /// The scheduler.
    pub(crate) with: &'static str,
}

#[cfg(any(feature = "shuttle", feature = "loom"))]
impl Model {
    /// Runs it on the real build, which must hold, and on each mutant, which must not.
    pub(crate) fn check(&self, explore: impl Fn()) {
        table::select(None);
        let real = catch_unwind(AssertUnwindSafe(&explore));
        for mutant in self.mutants {
            table::select(Some(*mutant));
            let run = catch_unwind(AssertUnwindSafe(&explore));
            table::select(None);
            Row {
                mutant: *mutant,
                name: self.name,
                with: self.with,
                reached: true,
                real: real.is_ok(),
                damage: run
                    .as_ref()
                    .err()
                    .map_or(String::new(), |e| panic_text(&**e)),
            }
            .write();
            assert!(run.is_err(), "{} was missed", mutant.name());
        }
        assert!(real.is_ok(), "the model does not hold");
    }
}
