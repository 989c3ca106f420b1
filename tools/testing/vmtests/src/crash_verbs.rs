// SPDX-License-Identifier: GPL-2.0

//! The verbs of the crash tests that run in the guest.

use std::{
    fs::{self, File, OpenOptions},
    path::Path,
};

use latchfs_vmtests::crash::{
    dmlog::Log,
    load::{
        self,
        Plan,
        Sink, //
    },
    tree::Mounted,
    verify::{
        Acks,
        Verifier, //
    },
};

use crate::{
    Options,
    Outcome, //
};

fn fail(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |e| format!("{what}: {e}")
}

/// `crash-load DIR`: the load until it is over, or until its file system is.
pub(crate) fn load(dir: &Path, options: &Options) -> Outcome {
    let sink = match (
        options.text("ack-file"),
        options.text("ack-disk"),
        options.text("acker"),
    ) {
        (Some(path), _, _) => Sink::file(path).map_err(fail(path))?,
        (_, Some(path), _) => Sink::disk(path).map_err(fail(path))?,
        (_, _, Some(command)) => Sink::program(command).map_err(fail(command))?,
        _ => Sink::Output,
    };
    let plan = Plan {
        root: dir.to_path_buf(),
        seed: options.number("seed", 1)?,
        workers: options.number("workers", 2)? as u32,
        ops: options.number("ops", u64::MAX)?,
        end: load::in_seconds(options.number("seconds", 86400)?),
        stop: options.text("stop").map(Into::into),
    };
    let result = load::run(&plan, sink).map_err(fail("before the load"))?;
    println!(
        "load: {} operations, {} acknowledged",
        result.ops, result.acks
    );
    for error in &result.errors {
        println!("load: {error}");
    }
    if result.errors.is_empty() || options.flag("errors-expected") {
        Ok(())
    } else {
        Err(format!("{} workers stopped", result.errors.len()))
    }
}

fn acks(options: &Options, name: &str) -> Result<Option<Acks>, String> {
    let Some(path) = options.text(name) else {
        return Ok(None);
    };
    let text = fs::read(path).map_err(fail(path))?;
    // slots of a disk are padded with zeroes
    Ok(Some(Acks::of(
        &String::from_utf8_lossy(&text).replace('\0', "\n"),
    )))
}

/// `crash-verify DIR`: what is there against what must be there.
pub(crate) fn verify(dir: &Path, options: &Options) -> Outcome {
    let low = acks(options, "acks")?.ok_or("--acks FILE is missing")?;
    let high = acks(options, "acks-high")?.unwrap_or_else(|| low.clone());
    let mut verifier = Verifier::new(
        options.number("seed", 1)?,
        options.number("workers", 2)? as u32,
    );
    let mut view = Mounted {
        root: dir.to_path_buf(),
    };
    let looked = verifier.verify(&mut view, &low, &high)?;
    println!(
        "verified: {} operations acknowledged, {} more than promised are there; {} names, {} bytes",
        low.total(),
        looked.beyond,
        looked.names,
        looked.bytes
    );
    Ok(())
}

fn open_log(path: &Path) -> Result<Log, String> {
    let name = path.display().to_string();
    Log::open(File::open(path).map_err(fail(&name))?).map_err(fail(&name))
}

/// `log-points LOG`: numbers of entries, evenly spread, after which a crash is to be tried.
pub(crate) fn points(log: &Path, options: &Options) -> Outcome {
    let log = open_log(log)?;
    let points: Vec<usize> = (0..log.entries.len())
        .filter(|n| log.entries[*n].is_point())
        .collect();
    let count = (options.number("count", 5)? as usize).min(points.len());
    for n in 1..=count {
        println!("{}", points[points.len() * n / (count + 1)] + 1);
    }
    eprintln!(
        "{} entries, {} flushes and FUA writes",
        log.entries.len(),
        points.len()
    );
    Ok(())
}

/// `log-replay LOG`: the entries `--from` (counted from 0) to before `--until` onto `--to`; what
/// was acknowledged until the next flush goes to `--acks`.
pub(crate) fn replay(log: &Path, options: &Options) -> Outcome {
    let log = open_log(log)?;
    let from = options.number("from", 0)? as usize;
    let until = (options.number("until", u64::MAX)? as usize).min(log.entries.len());
    let to = options.text("to").ok_or("--to DEVICE is missing")?;
    let device = OpenOptions::new().write(true).open(to).map_err(fail(to))?;
    log.replay(&device, from..until).map_err(fail(to))?;
    device.sync_all().map_err(fail(to))?;
    if let Some(path) = options.text("acks") {
        let known = log.next_point(until).unwrap_or(log.entries.len());
        let lines: Vec<String> = log
            .acks(known)
            .done
            .iter()
            .map(|(worker, ops)| format!("ack {worker} {ops}\n"))
            .collect();
        fs::write(path, lines.concat()).map_err(fail(path))?;
    }
    Ok(())
}
