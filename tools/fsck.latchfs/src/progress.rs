// SPDX-License-Identifier: GPL-2.0

//! Progress on stderr: a line that is rewritten a few times a second, and not at all if nobody
//! looks.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How far the check is.
#[derive(Debug)]
pub struct Progress {
    show: bool,
    phase: &'static str,
    done: u64,
    of: u64,
    last: Instant,
    dirty: bool,
}

impl Progress {
    /// Shows progress if `show`.
    pub fn new(show: bool) -> Self {
        Self {
            show,
            phase: "",
            done: 0,
            of: 0,
            last: Instant::now(),
            dirty: false,
        }
    }

    /// A phase of `of` steps begins.
    pub fn begin(&mut self, phase: &'static str, of: u64) {
        (self.phase, self.done, self.of) = (phase, 0, of);
        if self.last.elapsed() > Duration::from_millis(200) {
            self.draw();
        }
    }

    /// A step was done.
    pub fn step(&mut self) {
        self.done += 1;
        if self.show && self.last.elapsed() > Duration::from_millis(200) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        if !self.show {
            return;
        }
        let percent = (self.done * 100).checked_div(self.of).unwrap_or(0).min(100);
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{}: {percent}% ({}/{})",
            self.phase,
            self.done,
            self.of
        );
        self.last = Instant::now();
        self.dirty = true;
    }

    /// Removes the line, so that something else can be printed.
    pub fn clear(&mut self) {
        if self.dirty {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.dirty = false;
        }
    }
}
