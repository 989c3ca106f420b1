// SPDX-License-Identifier: GPL-2.0

//! Mounts on a disk that does not take metadata: what is retried, what is given up, what is left.

use crate::engine::{
    ail::{policy::FOREVER, ErrnoClass},
    faults::OnError,
    mount::ShutdownHow,
    testing::Fixture,
    txn::{FreeKind, TxnRes},
    Mount, //
};
use crate::format::{BlockKind, BlockRange, DiskBlock, Ino, Owner, Superblock, SymlinkBlock};
use crate::sys::{Arc, Errno};

const OWNER: Owner = Owner::inode(Ino(77));
const KIND: BlockKind = BlockKind::Symlink;

fn fixture() -> Fixture {
    let f = Fixture::new(8192);
    // A failed write that will be tried again is no reason to stop, but that is not what is tested.
    f.m.set_on_error(OnError::Continue);
    f
}

/// A new block with this text, committed.
fn put(f: &Fixture, text: &[u8]) -> DiskBlock {
    f.change(TxnRes::new(1, 1), |m, txn| {
        let buf = txn.new_meta(DiskBlock(0), KIND, OWNER)?;
        let context = *m.context();
        txn.modify(&buf, |b| {
            let at = b.block();
            SymlinkBlock::format(b.whole(), &context, at, OWNER, 0, text);
        });
        Ok(buf.block())
    })
    .unwrap()
}

fn change(f: &Fixture, at: DiskBlock, text: &[u8]) {
    f.change(TxnRes::new(0, 1), |m, txn| {
        let buf = m.buf().read(at, KIND, OWNER)?;
        let context = *m.context();
        txn.modify(&buf, |b| {
            SymlinkBlock::format(b.whole(), &context, at, OWNER, 0, text);
        });
        Ok(())
    })
    .unwrap();
}

fn text_of(m: &Mount, at: DiskBlock) -> Vec<u8> {
    let buf = m.buf().read(at, KIND, OWNER).unwrap();
    let data = buf.data();
    SymlinkBlock::of(&data).bytes().to_vec()
}

fn text_on_disk(f: &Fixture, at: DiskBlock) -> Vec<u8> {
    let mut block = [0; 4096];
    crate::sys::device::Backend::read(&*f.disk, at.get(), &mut block).unwrap();
    SymlinkBlock::of(&block).bytes().to_vec()
}

/// Lets writes of the log and the superblock pass, and no other.
fn only_the_log(f: &Fixture, errno: Errno) {
    let log = f.m.geo().log();
    f.disk.fail_writes_if(move |block| {
        (block != 0 && !log.contains(DiskBlock(block))).then_some(errno)
    });
}

/// Mounts again what a mount left behind that was shut down.
fn mount_again(f: &mut Fixture) {
    f.disk.heal();
    f.m = Fixture::mount(&f.disk);
}

#[test]
fn what_failed_is_written_when_the_device_has_healed() {
    let f = fixture();
    let (bad, good) = (put(&f, b"bad"), put(&f, b"good"));
    f.disk
        .fail_writes_if(move |block| (block == bad.get()).then_some(Errno::IO));
    assert!(f.m.push_ail_all().unwrap_err().is(Errno::IO));
    let state = f.m.observe().ail;
    assert_eq!(
        (state.failed, state.listed),
        (1, 1),
        "exactly the one: {state:?}"
    );
    assert_eq!((state.flushing, state.tokens), (0, 0));
    assert_eq!(text_on_disk(&f, good), b"good");
    assert!(f.m.verify().is_err());
    assert!(!f.m.is_shutdown());

    // Changed meanwhile, and the log has it.
    change(&f, bad, b"newer");
    f.m.sync().unwrap();
    assert!(f.m.push_ail_all().is_err(), "again");
    f.disk.heal();
    f.m.quiesce().unwrap();
    assert_eq!(text_on_disk(&f, bad), b"newer");
    f.m.verify().unwrap();
    f.m.unmount().unwrap();
}

#[test]
fn after_so_many_retries_the_file_system_goes_down() {
    let mut f = fixture();
    let at = put(&f, b"kept by the log");
    f.m.sync().unwrap();
    f.m.error_policy()
        .set_max_retries(ErrnoClass::NoSpace, 3)
        .unwrap();
    only_the_log(&f, Errno::NOSPC);
    for n in 0..3 {
        assert!(f.m.push_ail_all().is_err());
        assert!(!f.m.is_shutdown(), "write {n}");
    }
    assert!(f.m.push_ail_all().is_err());
    assert!(f.m.is_shutdown());
    assert!(f
        .m
        .begin(TxnRes::new(0, 0))
        .map(drop)
        .unwrap_err()
        .is(Errno::IO));
    assert!(f.m.unmount().is_err());
    assert!(f.m.observe().is_quiet());
    mount_again(&mut f);
    assert_eq!(text_of(&f.m, at), b"kept by the log");
    let errors =
        f.m.superblock(|sb| (sb.error_count.get(), sb.last_error.errno.get()));
    assert!(errors.unwrap().0 > 0, "recorded");
    assert_eq!(errors.unwrap().1, 28);
}

#[test]
fn a_device_that_is_gone_gets_no_second_chance() {
    let f = fixture();
    put(&f, b"x");
    f.m.sync().unwrap();
    only_the_log(&f, Errno::NODEV);
    assert!(f.m.push_ail_all().is_err());
    assert!(f.m.is_shutdown());
    assert!(f.m.unmount().is_err());
}

#[test]
fn an_unmount_does_not_wait_for_a_device_that_fails() {
    let mut f = fixture();
    let at = put(&f, b"x");
    only_the_log(&f, Errno::IO);
    assert_eq!(f.m.error_policy().get(ErrnoClass::Io), (FOREVER, FOREVER));
    assert!(f.m.unmount().is_err());
    assert!(f.m.is_shutdown());
    assert!(f.m.observe().is_quiet());
    mount_again(&mut f);
    assert_eq!(text_of(&f.m, at), b"x", "the log had it");
    f.m.unmount().unwrap();
}

#[test]
fn an_unmount_without_fail_at_unmount_keeps_to_the_limits() {
    let f = fixture();
    put(&f, b"x");
    f.m.error_policy().set_fail_at_unmount(false);
    f.m.error_policy()
        .set_max_retries(ErrnoClass::Io, 2)
        .unwrap();
    only_the_log(&f, Errno::IO);
    assert!(f.m.unmount().is_err());
    assert!(f.m.observe().is_quiet());
}

#[test]
fn an_unmount_with_a_pusher_ends_too() {
    let mut f = fixture();
    f.remount_with(crate::engine::mount::MountOpts {
        errors: OnError::Continue,
        background: true,
        ..Default::default()
    });
    let at = put(&f, b"x");
    only_the_log(&f, Errno::IO);
    assert!(f.m.quiesce().is_err());
    assert!(f.m.unmount().is_err());
    assert!(f.m.observe().is_quiet());
    mount_again(&mut f);
    assert_eq!(text_of(&f.m, at), b"x");
}

/// Freeze with metadata that failed long ago and a device that is well again: what counts is the
/// next try, which the pusher makes in its own time.
#[test]
fn a_failure_of_the_past_does_not_fail_a_quiesce() {
    let mut f = fixture();
    f.remount_with(crate::engine::mount::MountOpts {
        errors: OnError::Continue,
        background: true,
        ..Default::default()
    });
    let at = put(&f, b"x");
    only_the_log(&f, Errno::IO);
    assert!(f.m.quiesce().is_err());
    assert!(f.m.ail().has_failed());
    f.disk.heal();
    f.m.quiesce().unwrap();
    assert_eq!(text_on_disk(&f, at), b"x");
    f.m.unmount().unwrap();
}

#[test]
fn a_pusher_in_the_background_brings_everything_to_its_place() {
    let mut f = fixture();
    f.remount_with(crate::engine::mount::MountOpts {
        background: true,
        ..Default::default()
    });
    let blocks: Vec<_> = (0..300_u32)
        .map(|n| put(&f, n.to_string().as_bytes()))
        .collect();
    f.m.quiesce().unwrap();
    f.m.verify().unwrap();
    for (n, at) in blocks.iter().enumerate() {
        assert_eq!(text_on_disk(&f, *at), n.to_string().as_bytes());
    }
    f.m.unmount().unwrap();
}

#[test]
fn a_freed_block_that_could_not_be_written_never_is() {
    let f = fixture();
    let at = put(&f, b"a tree node");
    f.disk
        .fail_writes_if(move |block| (block == at.get()).then_some(Errno::IO));
    assert!(f.m.push_ail_all().is_err());
    f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
        txn.free(BlockRange::new(at, 1), FreeKind::Meta)
    })
    .unwrap();
    // It leaves with the checkpoint that frees it.
    f.m.sync().unwrap();
    f.disk.heal();
    let data = [0x55; 4096];
    crate::sys::device::Backend::write(&*f.disk, at.get(), &data).unwrap();
    f.m.quiesce().unwrap();
    f.m.verify().unwrap();
    let mut block = [0; 4096];
    crate::sys::device::Backend::read(&*f.disk, at.get(), &mut block).unwrap();
    assert_eq!(block, data);
}

#[test]
fn a_shutdown_writes_what_it_says() {
    for (how, kept) in [
        (ShutdownHow::Default, true),
        (ShutdownHow::LogFlush, true),
        (ShutdownHow::NoLogFlush, false),
    ] {
        let mut f = fixture();
        let old = put(&f, b"old");
        f.m.sync().unwrap();
        let new = put(&f, b"new");
        f.m.shutdown_by_user(how).unwrap();
        assert!(f.m.is_shutdown());
        assert!(f.m.sync().unwrap_err().is(Errno::IO));
        let _ = f.m.unmount();
        assert!(f.m.observe().is_quiet());
        mount_again(&mut f);
        assert_eq!(text_of(&f.m, old), b"old");
        let found = f.m.buf().read(new, KIND, OWNER).is_ok();
        assert_eq!(found, kept, "{how:?}");
        let errors =
            f.m.superblock(|sb: &Superblock| sb.error_count.get())
                .unwrap();
        // Reading the block that is not there is the only error, and not on the disk yet.
        assert_eq!(errors, 0, "a user's shutdown is no error");
    }
}

#[test]
fn a_log_that_fails_is_recorded_in_the_superblock() {
    let mut f = fixture();
    put(&f, b"x");
    let log = f.m.geo().log();
    f.disk
        .fail_writes_if(move |block| log.contains(DiskBlock(block)).then_some(Errno::IO));
    assert!(f.m.sync().is_err());
    assert!(f.m.is_shutdown());
    assert!(f.m.unmount().is_err());
    mount_again(&mut f);
    let (count, errno) =
        f.m.superblock(|sb| (sb.error_count.get(), sb.first_error.errno.get()))
            .unwrap();
    assert!(count > 0);
    assert_eq!(errno, 5);
}

#[test]
fn threads_change_while_the_pusher_pushes() {
    let mut f = fixture();
    f.remount_with(crate::engine::mount::MountOpts {
        background: true,
        ..Default::default()
    });
    let blocks: Vec<_> = (0..8).map(|_| put(&f, b"0")).collect();
    let blocks = Arc::new(blocks);
    std::thread::scope(|s| {
        for t in 0..3_usize {
            let (f, blocks) = (&f, blocks.clone());
            s.spawn(move || {
                for n in 1..=200_u64 {
                    // Each thread has blocks of its own, as if it held their inode's lock.
                    for at in blocks.iter().skip(t).step_by(3) {
                        change(f, *at, n.to_string().as_bytes());
                    }
                }
            });
        }
        let f = &f;
        s.spawn(move || {
            for _ in 0..20 {
                f.m.push_ail_all().unwrap();
            }
        });
    });
    f.m.quiesce().unwrap();
    f.m.verify().unwrap();
    for at in blocks.iter() {
        assert_eq!(text_on_disk(&f, *at), b"200");
    }
    f.m.unmount().unwrap();
}
