// SPDX-License-Identifier: GPL-2.0

//! What fsync flushes, and what it does not.

use super::tape::{taped, Event};
use crate::engine::{
    file::{fsync_metadata, Upto},
    inode::{iget, InodeRef},
    mount::MountOpts,
    namespace::{create, setattr, Change, NewInode},
    Mount,
};
use crate::sys::{Arc, Time};

fn new_file() -> NewInode {
    NewInode {
        mode: 0o100644,
        ..NewInode::default()
    }
}

fn root(m: &Arc<Mount>) -> InodeRef {
    iget(m, m.root_ino()).unwrap()
}

fn touch(m: &Arc<Mount>, inode: &InodeRef, secs: i64) {
    let change = Change {
        mtime: Some(Time { secs, nanos: 0 }),
        ..Change::default()
    };
    setattr(m, inode, &change).unwrap();
}

fn logs(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|e| matches!(e, Event::Log(..)))
        .count()
}

#[test]
fn an_fsync_with_nothing_to_log_is_one_flush() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    let f = create(&m, &root, b"f", &new_file()).unwrap();
    fsync_metadata(&m, &f, Upto::NONE, false).unwrap();
    tape.take();
    // Nothing but data, perhaps: that has to be flushed.
    fsync_metadata(&m, &f, Upto::NONE, false).unwrap();
    assert_eq!(tape.take(), [Event::Flush]);
    drop((root, f));
    m.unmount().unwrap();
}

#[test]
fn an_fsync_of_a_changed_inode_is_one_log_write_and_no_flush_beside() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    let f = create(&m, &root, b"f", &new_file()).unwrap();
    m.checkpoint().unwrap();
    tape.take();
    touch(&m, &f, 7);
    fsync_metadata(&m, &f, Upto::NONE, false).unwrap();
    let events = tape.take();
    assert!(
        matches!(events[..], [Event::Log(_, 1, true, true)]),
        "{events:?}"
    );
    drop((root, f));
    m.unmount().unwrap();
}

#[test]
fn a_checkpoint_that_was_closed_before_is_not_enough() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    let f = create(&m, &root, b"f", &new_file()).unwrap();
    let g = create(&m, &root, b"g", &new_file()).unwrap();
    touch(&m, &f, 7);
    m.checkpoint().unwrap();
    tape.take();
    // Somebody else's change is in the open context, and none of ours: the flush of our checkpoint
    // may have come before our data.
    touch(&m, &g, 8);
    fsync_metadata(&m, &f, Upto::NONE, false).unwrap();
    let events = tape.take();
    assert_eq!(events, [Event::Flush]);
    drop((root, f, g));
    m.unmount().unwrap();
}

#[test]
fn a_sync_flushes_the_device_once_with_or_without_a_checkpoint() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    let f = create(&m, &root, b"f", &new_file()).unwrap();
    m.sync().unwrap();
    tape.take();
    m.sync().unwrap();
    assert_eq!(tape.take(), [Event::Flush], "data, perhaps");
    touch(&m, &f, 7);
    m.sync().unwrap();
    let events = tape.take();
    assert!(
        matches!(events[..], [Event::Log(_, 1, true, true)]),
        "{events:?}"
    );
    m.sync_log().unwrap();
    assert_eq!(tape.take(), [Event::Flush]);
    drop((root, f));
    m.unmount().unwrap();
}

#[test]
fn a_large_checkpoint_is_two_writes_and_the_last_block_comes_behind_a_flush() {
    let (tape, m) = taped(262_144, MountOpts::default());
    let root = root(&m);
    // More than 1 MiB of changed blocks.
    for n in 0..6000 {
        create(&m, &root, format!("file {n}").as_bytes(), &new_file()).unwrap();
    }
    m.checkpoint().unwrap();
    let events = tape.take();
    let large = events.windows(2).any(|w| {
        matches!(w, [Event::Log(_, n, false, false), Event::Log(_, 1, true, true)] if *n >= 256)
    });
    let small = events
        .iter()
        .all(|e| !matches!(e, Event::Log(_, n, true, true) if *n > 256));
    assert!(large && small, "{events:?}");
    drop(root);
    m.unmount().unwrap();
}

#[test]
fn fdatasync_does_not_log_times() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    let f = create(&m, &root, b"f", &new_file()).unwrap();
    fsync_metadata(&m, &f, Upto::NONE, true).unwrap();
    assert_eq!(logs(&tape.take()), 1, "a new file");
    touch(&m, &f, 1);
    fsync_metadata(&m, &f, Upto::NONE, true).unwrap();
    assert_eq!(tape.take(), [Event::Flush]);
    // The same commit, for those who want all of it.
    fsync_metadata(&m, &f, Upto::NONE, false).unwrap();
    assert_eq!(logs(&tape.take()), 1);
    // Together with something else they are logged.
    touch(&m, &f, 2);
    let change = Change {
        mode: Some(0o600),
        ..Change::default()
    };
    setattr(&m, &f, &change).unwrap();
    touch(&m, &f, 3);
    fsync_metadata(&m, &f, Upto::NONE, true).unwrap();
    assert_eq!(logs(&tape.take()), 1);
    fsync_metadata(&m, &f, Upto::NONE, true).unwrap();
    assert_eq!(tape.take(), [Event::Flush]);
    drop((root, f));
    m.unmount().unwrap();
}

#[test]
fn threads_that_fsync_share_checkpoints() {
    let (tape, m) = taped(32_768, MountOpts::default());
    let root = root(&m);
    let files: Vec<_> = (0..4)
        .map(|n| create(&m, &root, format!("{n}").as_bytes(), &new_file()).unwrap())
        .collect();
    m.checkpoint().unwrap();
    tape.take();
    std::thread::scope(|s| {
        for f in &files {
            let m = &m;
            s.spawn(move || {
                for n in 0..50 {
                    touch(m, f, n);
                    fsync_metadata(m, f, Upto::NONE, false).unwrap();
                    assert!(m.log().durable_seq() >= f.log.commit_seq());
                }
            });
        }
    });
    assert!(logs(&tape.take()) <= 200);
    drop((root, files));
    m.unmount().unwrap();
}

#[test]
fn a_tail_is_published_once() {
    let (tape, m) = taped(8192, MountOpts::default());
    let root = root(&m);
    touch(&m, &root, 7);
    m.push_ail_all().unwrap();
    assert!(!m.publish_tail().unwrap(), "one block for another");
    // The second of these needs the first one, as long as it is not in its place.
    touch(&m, &root, 8);
    m.checkpoint().unwrap();
    touch(&m, &root, 9);
    m.push_ail_all().unwrap();
    tape.take();
    assert!(m.publish_tail().unwrap());
    assert!(!m.publish_tail().unwrap(), "nothing would be gained");
    assert_eq!(logs(&tape.take()), 1);
    drop(root);
    m.unmount().unwrap();
}

#[test]
fn the_timer_makes_a_checkpoint() {
    let (tape, m) = taped(
        8192,
        MountOpts {
            background: true,
            ..MountOpts::default()
        },
    );
    let root = root(&m);
    let before = m.log().durable_seq();
    m.set_commit_interval(1);
    touch(&m, &root, 5);
    while m.log().durable_seq() == before {
        std::thread::yield_now();
    }
    assert!(logs(&tape.take()) >= 1);
    drop(root);
    m.unmount().unwrap();
}
