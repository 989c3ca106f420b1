// SPDX-License-Identifier: GPL-2.0

//! `vmtests storm|fill ...`: load on a mounted file system, and a check of
//! everything that must hold afterwards.  A failure is one line on stderr and
//! exit status 1.

mod fill;
mod rng;
mod storm;

use std::{
    collections::HashMap,
    path::PathBuf,
    process::ExitCode, //
};

/// What went wrong, for the person who reads the test's output.
pub(crate) type Outcome = Result<(), String>;

const USAGE: &str = "usage:
  vmtests storm DIR [--seconds N] [--processes N] [--seed N]
      processes create, rename, link, unlink and list in the same directories
  vmtests fill DIR [--seed N] [--keep]
      fill the file system until ENOSPC, check the content, remove it again
";

/// Options of the form `--name value` (or `--name` alone for flags).
pub(crate) struct Options {
    values: HashMap<String, String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut values = HashMap::new();
        let mut it = args.iter().peekable();
        while let Some(arg) = it.next() {
            let name = arg
                .strip_prefix("--")
                .ok_or_else(|| format!("not an option: {arg}"))?;
            let value = match it.peek() {
                Some(next) if !next.starts_with("--") => it.next().cloned().unwrap_or_default(),
                _ => String::new(),
            };
            values.insert(name.to_string(), value);
        }
        Ok(Self { values })
    }

    /// A number, or `default` when the option is absent.
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.values.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name}: not a number: '{text}'")),
        }
    }

    /// Whether the flag was given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(verb), Some(dir)) = (args.first(), args.get(1)) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let dir = PathBuf::from(dir);
    let outcome =
        Options::parse(args.get(2..).unwrap_or_default()).and_then(|options| match verb.as_str() {
            "storm" => storm::run(&dir, &options),
            "storm-worker" => storm::worker(&dir, &options),
            "fill" => fill::run(&dir, &options),
            _ => Err(format!("no such verb: {verb}\n{USAGE}")),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{verb}: {reason}");
            ExitCode::FAILURE
        }
    }
}
