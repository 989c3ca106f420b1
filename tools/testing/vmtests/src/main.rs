// SPDX-License-Identifier: GPL-2.0

//! `vmtests storm|fill ...`: load on a mounted file system, and a check of
//! everything that must hold afterwards.  A failure is one line on stderr and
//! exit status 1.

mod bench;
mod crash_verbs;
mod fill;
mod storm;

use latchfs_vmtests::rng;

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
  vmtests crash-load DIR [--seed N] [--workers N] [--seconds N] [--ops N]
          [--stop FILE] [--errors-expected]
          [--ack-file FILE | --ack-disk DISK | --acker COMMAND]
      operations that follow from the seed; acknowledges what is durable
  vmtests crash-verify DIR --acks FILE [--acks-high FILE] [--seed N] [--workers N]
      after a crash of that load: is everything there, and nothing else
  vmtests log-points LOG [--count N]
  vmtests log-replay LOG --to DEVICE [--from N] [--until N] [--acks FILE]
      the log of dm-log-writes: moments to crash at, and the device at such a moment
  vmtests bench DIR --what WORK [--files N] [--threads N]
      create, rename, stat, unlink, mkdir, rmdir or append: microseconds it took
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

    /// The value as it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
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
            "crash-load" => crash_verbs::load(&dir, &options),
            "crash-verify" => crash_verbs::verify(&dir, &options),
            "log-points" => crash_verbs::points(&dir, &options),
            "log-replay" => crash_verbs::replay(&dir, &options),
            "bench" => bench::run(&dir, &options),
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
