// SPDX-License-Identifier: GPL-2.0

//! Command lines and their errors: one clear line on stderr, never a backtrace.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a tool gives up: the line it prints.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failure of the operating system while doing `what`.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self(format!("{what}: {}", reason(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// The text of an operating system error without Rust's "(os error 5)".
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// Parses the command line. On `Err` the tool ends with that status; help and version were printed,
/// a usage error was printed as one line and has the status `usage`.
pub fn parse<P: clap::Parser>(tool: &str, usage: u8) -> Result<P, ExitCode> {
    parse_from(tool, usage, std::env::args_os())
}

/// As [`parse`], of these arguments.
pub fn parse_from<P: clap::Parser>(
    tool: &str,
    usage: u8,
    args: impl IntoIterator<Item = OsString>,
) -> Result<P, ExitCode> {
    P::try_parse_from(args).map_err(|error| {
        if !error.use_stderr() {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let text = error.render().to_string();
        let mut lines = text.lines();
        let mut line = lines.next().unwrap_or_default().to_string();
        // Clap puts missing arguments on lines of their own.
        if line.ends_with(':') {
            for more in lines.map(str::trim).take_while(|more| !more.is_empty()) {
                line.push(' ');
                line.push_str(more);
            }
        }
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        complain(tool, format_args!("{line} (try --help)"));
        ExitCode::from(usage)
    })
}

/// Prints `tool: message` on stderr.
pub fn complain(tool: &str, message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{tool}: {message}");
}
