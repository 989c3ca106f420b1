// SPDX-License-Identifier: GPL-2.0

//! Seed 000 at unmount: T-000-C, and the second half of T-000-D.

use super::*;
use crate::engine::mount::MountOpts;
use crate::engine::testing::races::{hits, reproduce, until, Race, Seen, Slow};
use crate::sys::sync_point::points::Mutant;
use std::thread;

/// A new file system on a disk that takes its time, mounted.
fn slow_mount() -> (Fixture, Arc<Mount>) {
    let f = Fixture::new(16384);
    f.m.unmount().unwrap();
    let dev = Device::new(std::sync::Arc::new(Slow(f.disk.clone())), false);
    let m = Mount::open(dev, MountOpts::default()).unwrap();
    (f, m)
}

#[test]
fn t_000_c_unmount_while_an_inode_is_being_freed() {
    let race = Race {
        name: "T-000-C",
        mutant: Mutant::UnmountOrder,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (f, m) = slow_mount();
        start_inodegc(&m).unwrap();
        let dir = root(&m);
        let file = create(&m, &dir, b"name", &new_file()).unwrap();
        m.sync().unwrap();
        s.command("arm inodegc.item park");
        s.command("arm unmount.quiesce count");
        unlink(&m, &dir, b"name", &file, at(20)).unwrap();
        drop(dir);
        put(&m, file);
        s.command("wait inodegc.item");
        thread::scope(|scope| {
            let unmount = scope.spawn(|| m.unmount());
            s.command("wait unmount.quiesce");
            seen.must(
                hits("unmount.push_all") == 0,
                "unmount pushes while an inode is being freed",
            );
            s.command("release inodegc.item");
            let verdict = unmount.join();
            seen.must(matches!(verdict, Ok(Ok(()))), "unmount fails");
        });
        seen.passed(s, "inodegc.item");
        seen.reached(hits("unmount.push_all") != 0);
        let image = check::check(&Device::new(f.disk.clone(), false), false);
        seen.must(image.is_ok(), &format!("{:?}", image.err()));
        seen
    });
}

#[test]
fn t_000_d_unmount_while_nothing_can_be_written() {
    let race = Race {
        name: "T-000-D",
        mutant: Mutant::Seed000Retry,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (_f, m) = slow_mount();
        let dir = root(&m);
        drop(create(&m, &dir, b"name", &new_file()).unwrap());
        drop(dir);
        m.sync().unwrap();
        let items = m.ail().len() as u32;
        seen.reached(items != 0);
        s.command("arm buf.write.submit fail=5");
        thread::scope(|scope| {
            let unmount = scope.spawn(|| m.unmount());
            // Each buffer is tried twice, then the policy gives up. Somebody who does not ask it
            // goes on for ever.
            seen.reached(until(|| {
                unmount.is_finished() || hits("ail.retry") > 3 * items
            }));
            seen.must(hits("ail.retry") <= 3 * items, "unmount does not end");
            s.command("mutant none");
            let verdict = unmount.join();
            seen.must(matches!(verdict, Ok(Err(_))), "unmount does not tell");
        });
        seen.reached(hits("ail.retry") != 0 && m.is_shutdown());
        seen.must(m.observe().ail.is_quiet(), "the AIL is not empty");
        seen
    });
}
