// SPDX-License-Identifier: GPL-2.0

//! What only the host promises: that a wrong order of locks is found at once.

use crate::{lock_class, might_sleep, rank, ContentLock, Mutex, RwSem, Spin};
use std::panic::{catch_unwind, AssertUnwindSafe};

lock_class! {
    Outer = "outer", rank 10;
    Inner = "inner", rank 20;
    Leaf = "leaf", rank 30;
}

/// Whether `f` panics with a message that contains `what`.
fn refused(what: &str, f: impl FnOnce()) -> bool {
    let r = catch_unwind(AssertUnwindSafe(f));
    match r {
        Ok(()) => false,
        Err(e) => {
            let text = e
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| e.downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_default();
            assert!(text.contains(what), "other panic: {text}");
            true
        }
    }
}

#[test]
fn order_is_checked_on_every_acquisition() {
    let a: Mutex<(), Outer> = Mutex::new(());
    let b: RwSem<(), Inner> = RwSem::new(());
    {
        let _a = a.lock();
        let _b = b.read();
    }
    let _b = b.read();
    assert!(refused("lock order", || drop(a.lock())));
    // The try form is a legal inversion.
    assert!(a.try_lock().is_some());
}

#[test]
fn same_class_needs_a_nest_level() {
    let a: RwSem<(), Outer> = RwSem::new(());
    let b: RwSem<(), Outer> = RwSem::new(());
    let _a = a.write();
    assert!(refused("lock order", || drop(b.write())));
    drop(b.write_nested(1));
    assert!(refused("lock order", || {
        let _b = b.write_nested(2);
        let c: RwSem<(), Outer> = RwSem::new(());
        drop(c.write_nested(1));
    }));
}

#[test]
fn nothing_sleeps_under_a_spinlock() {
    let s: Spin<(), Outer> = Spin::new(());
    let m: Mutex<(), Inner> = Mutex::new(());
    let c: ContentLock<(), Leaf> = ContentLock::new(());
    let _s = s.lock();
    assert!(refused("under spinlock", || drop(m.lock())));
    assert!(refused("under spinlock", || drop(c.read())));
    assert!(refused("may sleep", might_sleep));
    assert!(refused("may sleep", || drop(crate::try_box(1))));
    // A try-lock does not sleep.
    assert!(m.try_lock().is_some());
    assert_eq!(rank::held(), ["outer"]);
}

#[test]
fn guards_leave_the_list_in_any_order() {
    let a: Mutex<(), Outer> = Mutex::new(());
    let b: Mutex<(), Inner> = Mutex::new(());
    let ga = a.lock();
    let gb = b.lock();
    drop(ga);
    assert_eq!(rank::held(), ["inner"]);
    drop(gb);
    assert!(rank::held().is_empty());
}

#[test]
fn content_token_crosses_threads() {
    let c: ContentLock<u32, Leaf> = ContentLock::new(1);
    let mut t = c.lock_owned();
    *c.access(&mut t) = 2;
    std::thread::scope(|s| {
        s.spawn(|| c.unlock(t));
    });
    assert_eq!(*c.write(), 2);
}

#[test]
fn token_of_another_lock_is_refused() {
    let c: ContentLock<u32, Leaf> = ContentLock::new(1);
    let d: ContentLock<u32, Leaf> = ContentLock::new(1);
    let t = c.lock_owned();
    assert!(refused("another lock", || d.unlock(t)));
}

#[test]
fn injected_allocation_failure_hits_try_only() {
    crate::alloc::fail_after(Some(1));
    assert!(crate::try_box(1).is_ok());
    assert!(crate::try_box(2).is_err());
    assert_eq!(*crate::must_box(3), 3);
    let mut v = crate::Vec::new();
    assert!(v.try_push(1).is_err());
    v.must_push(1);
    crate::alloc::fail_after(None);
    assert!(crate::try_box(2).is_ok());
}

#[test]
fn lost_token_is_noticed() {
    let c: ContentLock<u32, Leaf> = ContentLock::new(1);
    assert!(refused("instead of given back", || drop(c.lock_owned())));
}

/// Writes what it was asked for into a list.
#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<String>>);

impl crate::device::Backend for Recorder {
    fn blocks(&self) -> u64 {
        100
    }
    fn read(&self, block: u64, buf: &mut [u8; crate::BLOCK_BYTES]) -> crate::SysResult<()> {
        buf.fill(block as u8);
        Ok(())
    }
    fn write(&self, block: u64, buf: &[u8; crate::BLOCK_BYTES]) -> crate::SysResult<()> {
        self.0.lock().unwrap().push(format!("w{block}={}", buf[0]));
        Ok(())
    }
    fn flush(&self) -> crate::SysResult<()> {
        self.0.lock().unwrap().push("flush".into());
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> crate::SysResult<()> {
        Ok(())
    }
}

#[test]
fn bulk_io_is_in_order_and_inside_of_the_device() {
    let recorder = std::sync::Arc::new(Recorder::default());
    let dev = crate::Device::new(recorder.clone(), false);
    let mut blocks = vec![crate::Block::must_zeroed(), crate::Block::must_zeroed()];
    dev.read_blocks(7, &mut blocks).unwrap();
    assert_eq!((blocks[0][0], blocks[1][4095]), (7, 8));
    dev.write_log(98, &blocks, true, true).unwrap();
    dev.write_log(5, &blocks[..1], false, false).unwrap();
    dev.write_log(5, &[], true, true).unwrap();
    let seen = recorder.0.lock().unwrap().join(" ");
    assert_eq!(seen, "flush w98=7 w99=8 flush w5=7");
    assert!(dev.write_log(99, &blocks, false, false).is_err());
    assert!(dev.read_blocks(u64::MAX, &mut blocks).is_err());
    let read_only = crate::Device::new(recorder, true);
    assert!(read_only.write_log(1, &blocks, false, false).is_err());
}
