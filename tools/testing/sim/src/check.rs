// SPDX-License-Identifier: GPL-2.0

//! A crash state: recover it, walk it, compare it with what was promised, check it with fsck.

mod compare;
mod walk;

pub use walk::list;

use crate::{disk::SimDisk, image::Image, model::Model, trace::Trace, world::mount};
use latchfs_engine::{
    engine::recovery::Live,
    format::{DiskBlock, Superblock},
};
use latchfs_host::{Block, Device};
use std::{panic::AssertUnwindSafe, sync::Arc};

/// What is wrong with a crash state.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Recovery, walk, promise or fsck.
    pub stage: &'static str,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.stage, self.what)
    }
}

fn wrong(stage: &'static str) -> impl Fn(String) -> Violation {
    move |what| Violation { stage, what }
}

/// Checks one crash state, with everything acknowledged before `tick`. Returns what recovery wrote,
/// for crashes in the middle of that.
pub fn check(image: &Image, model: &Model, tick: u64) -> Result<Trace, Violation> {
    let attempt = || check_or_panic(image, model, tick);
    std::panic::catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()));
        Err(wrong("panic")(text.unwrap_or_default()))
    })
}

fn check_or_panic(image: &Image, model: &Model, tick: u64) -> Result<Trace, Violation> {
    let disk = Arc::new(SimDisk::new(image.clone(), 0, 0));
    one_head(&disk)?;
    let m = mount(disk.clone(), false).map_err(|e| wrong("recovery")(e.to_string()))?;
    let trace = disk.take_trace();
    let walked = walk::walk(&m);
    let compared = match &walked {
        Ok(walked) => compare::compare(model, tick, walked).map_err(wrong("promise")),
        Err(what) => Err(wrong("walk")(what.clone())),
    };
    let unmounted = m.unmount();
    drop(walked);
    compared?;
    unmounted.map_err(|e| wrong("unmount")(e.to_string()))?;
    fsck(&disk)?;
    Ok(trace)
}

/// The search for the end of the log comes to the same as a look at all of it.
fn one_head(disk: &Arc<SimDisk>) -> Result<(), Violation> {
    let dev = Device::new(disk.clone(), true);
    let mut block = Block::must_zeroed();
    let read = dev.read_block(0, &mut block);
    let opened =
        Superblock::of(&block[..]).and_then(|sb| Some((sb, sb.verify(DiskBlock(0)).ok()?)));
    let Some((sb, context)) = opened.filter(|(sb, _)| read.is_ok() && !sb.is_clean()) else {
        return Ok(());
    };
    let seen = |live: latchfs_engine::engine::Result<Live>| {
        live.map(|live| (live.head(), live.checkpoints().to_vec()))
            .map_err(|error| error.errno())
    };
    let searched = seen(Live::find(&dev, &context, sb));
    let looked = seen(Live::find_in_all(&dev, &context, sb));
    if searched != looked {
        return Err(wrong("search")(format!("{searched:?}, not {looked:?}")));
    }
    Ok(())
}

/// The full check of what is on a disk.
pub fn fsck(disk: &Arc<SimDisk>) -> Result<(), Violation> {
    let dev = Device::new(disk.clone(), true);
    match latchfs_fsck::check(&dev, &latchfs_fsck::Options::default()) {
        Ok(report) if report.is_clean() => Ok(()),
        Ok(report) => Err(wrong("fsck")(report.messages.join("; "))),
        Err(_) => Err(wrong("fsck")("could not look".to_string())),
    }
}

/// fsck -n of a disk as the crash left it: it looks through the log.
pub fn fsck_unrecovered(image: &Image) -> Result<(), Violation> {
    let disk = Arc::new(SimDisk::new(image.clone(), 0, 0));
    fsck(&disk).map_err(|v| wrong("fsck -n")(v.what))
}
