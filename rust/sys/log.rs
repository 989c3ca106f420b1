// SPDX-License-Identifier: GPL-2.0

//! The kernel log: `pr_err!`, `pr_warn!`, `pr_info!`.
//!
//! As on the host, a message needs no newline at its end.

use core::fmt::{self, Write};

/// A message without the newlines at its end.
pub(crate) struct Line<'a>(pub(crate) fmt::Arguments<'a>);

/// Passes on everything but newlines that nothing follows.
struct Trim<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    newlines: usize,
}

impl Write for Trim<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let text = s.trim_end_matches('\n');
        if !text.is_empty() {
            for _ in 0..core::mem::take(&mut self.newlines) {
                self.out.write_char('\n')?;
            }
            self.out.write_str(text)?;
        }
        self.newlines = self
            .newlines
            .saturating_add(s.len().saturating_sub(text.len()));
        Ok(())
    }
}

impl kernel::fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Trim { out, newlines: 0 }.write_fmt(self.0)
    }
}

/// Logs an error.
macro_rules! pr_err {
    ($($arg:tt)*) => {
        kernel::pr_err!("{}\n", $crate::sys::log::Line(format_args!($($arg)*)))
    };
}

/// Logs a warning.
macro_rules! pr_warn {
    ($($arg:tt)*) => {
        kernel::pr_warn!("{}\n", $crate::sys::log::Line(format_args!($($arg)*)))
    };
}

/// Logs information.
macro_rules! pr_info {
    ($($arg:tt)*) => {
        kernel::pr_info!("{}\n", $crate::sys::log::Line(format_args!($($arg)*)))
    };
}

pub(crate) use {pr_err, pr_info, pr_warn};
