// SPDX-License-Identifier: GPL-2.0

//! No memory, no disk, damaged blocks: errors, not damage.

use super::*;
use crate::engine::{dir::EntryBuf, faults::OnError, mount::MountOpts};
use crate::format::{
    dirent::Dirent,
    inode::InodeSlot,
    units::{Ino, BLOCK_SIZE},
};
use crate::sys::{alloc::fail_after, Block, Errno};

/// Does `op` with every allocation failing from the first on, then from the second, and so on until
/// it works; between the attempts nothing may have changed and the file system must live.
fn with_memory_failing(m: &Arc<Mount>, mut op: impl FnMut() -> crate::engine::Result) {
    for n in 0.. {
        fail_after(Some(n));
        let r = op();
        fail_after(None);
        assert!(!m.is_shutdown(), "attempt {n}");
        match r {
            Ok(()) => return,
            Err(e) => assert_eq!(e.errno(), Errno::NOMEM, "attempt {n}: {e}"),
        }
        assert!(n < 500);
    }
}

#[test]
fn every_verb_survives_failing_allocations() {
    let mut f = Fixture::with_groups(16384, Some(4096));
    for big in [false, true] {
        let m = f.m.clone();
        let root = self::root(&m);
        let dir = create(&m, &root, format!("dir{big}").as_bytes(), &new_dir()).unwrap();
        if big {
            for i in 0..600 {
                create(&m, &dir, format!("entry-{i}").as_bytes(), &new_file()).unwrap();
            }
        }
        let cold = |m: &Arc<Mount>| {
            m.sync().unwrap();
            for _ in 0..3 {
                inode::reclaim(m, 10_000);
                m.buf().reclaim(10_000);
            }
        };
        cold(&m);
        with_memory_failing(&m, || create(&m, &dir, b"a", &new_file()).map(drop));
        cold(&m);
        with_memory_failing(&m, || create(&m, &dir, b"d", &new_dir()).map(drop));
        cold(&m);
        with_memory_failing(&m, || {
            symlink(&m, &dir, b"s", &new_file(), &[b'x'; 4000]).map(drop)
        });
        cold(&m);
        with_memory_failing(&m, || {
            symlink(&m, &dir, b"t", &new_file(), &[b'x'; 300]).map(drop)
        });
        cold(&m);
        with_memory_failing(&m, || lookup(&m, &dir, b"a").map(drop));
        let a = lookup(&m, &dir, b"a").unwrap().unwrap();
        cold(&m);
        with_memory_failing(&m, || link(&m, &a, &dir, b"b", at(1)));
        cold(&m);
        with_memory_failing(&m, || {
            setattr(
                &m,
                &a,
                &Change {
                    uid: Some(1),
                    ..Change::default()
                },
            )
        });
        cold(&m);
        let whiteout = RenameFlags {
            whiteout: true,
            ..RenameFlags::default()
        };
        with_memory_failing(&m, || {
            rename(
                &m,
                &RenameArgs {
                    old_dir: &dir,
                    old_name: b"b",
                    inode: &a,
                    new_dir: &root,
                    new_name: b"moved",
                    target: None,
                    flags: whiteout,
                    uid: 0,
                    gid: 0,
                    now: at(1),
                },
            )
        });
        cold(&m);
        with_memory_failing(&m, || unlink(&m, &root, b"moved", &a, at(2)));
        cold(&m);
        with_memory_failing(&m, || unlink(&m, &dir, b"a", &a, at(2)));
        let mut t = None;
        cold(&m);
        with_memory_failing(&m, || {
            t = Some(tmpfile(&m, &dir, &new_file())?);
            Ok(())
        });
        drop(t);
        let d = lookup(&m, &dir, b"d").unwrap().unwrap();
        cold(&m);
        with_memory_failing(&m, || rmdir(&m, &dir, b"d", &d, at(2)));
        put(&m, a);
        put(&m, d);
        let s = lookup(&m, &dir, b"s").unwrap().unwrap();
        unlink(&m, &dir, b"s", &s, at(1)).unwrap();
        put(&m, s);
        cold(&m);
        let mut buf = EntryBuf::try_new().unwrap();
        with_memory_failing(&m, || readdir(&m, &dir, 0, &mut buf));
        drop((dir, root, m));
        f.m.unmount().unwrap();
        let dev = Device::new(f.disk.clone(), false);
        // The file without a name had no proper end.
        check::check(&dev, true).unwrap();
        f.m = Fixture::mount(&f.disk);
    }
}

#[test]
fn a_disk_that_cannot_be_read_fails_operations_before_they_change_anything() {
    let mut f = Fixture::with_groups(16384, Some(4096));
    {
        let root = root(&f.m);
        let d = create(&f.m, &root, b"d", &new_dir()).unwrap();
        for i in 0..600 {
            create(&f.m, &d, format!("entry-{i}").as_bytes(), &new_file()).unwrap();
        }
    }
    f.m.unmount().unwrap();
    // By default the first error makes the mount read-only.
    let opts = MountOpts {
        errors: OnError::Continue,
        ..MountOpts::default()
    };
    f.m = Mount::open(Device::new(f.disk.clone(), false), opts).unwrap();
    let m = f.m.clone();
    let root = root(&m);
    let d = lookup(&m, &root, b"d").unwrap().unwrap();
    let some = lookup(&m, &d, b"entry-5").unwrap().unwrap();
    m.sync().unwrap();
    f.disk.fail_reads(true);
    for _ in 0..3 {
        m.buf().reclaim(10_000);
    }
    assert_eq!(errno(create(&m, &d, b"new", &new_file())), Errno::IO);
    assert_eq!(errno(unlink(&m, &d, b"entry-5", &some, at(1))), Errno::IO);
    assert_eq!(errno(setattr(&m, &some, &Change::default())), Errno::IO);
    assert_eq!(errno(lookup(&m, &d, b"entry-7")), Errno::IO);
    assert!(!m.is_shutdown());
    f.disk.fail_reads(false);
    create(&m, &d, b"new", &new_file()).unwrap();
    unlink(&m, &d, b"entry-5", &some, at(1)).unwrap();
    put(&m, some);
    drop((root, d, m));
    remount(&mut f);
}

/// Changes the slot of `ino` on an unmounted disk.
fn damage(f: &Fixture, ino: Ino, change: impl FnOnce(&mut InodeSlot)) {
    let mut block = Block::must_zeroed();
    let dev = Device::new(f.disk.clone(), false);
    // The first chunk of a new file system lies in one piece; find the slot by its number.
    let found = (0..dev.blocks()).find(|at| {
        dev.read_block(*at, &mut block).unwrap();
        InodeSlot::of(&block, ino).is_some_and(|s| {
            s.magic.get() == crate::format::inode::INODE_MAGIC && s.ino.get() == ino.0
        })
    });
    let at = found.unwrap();
    let bytes: &mut [u8; BLOCK_SIZE] = &mut block;
    change(InodeSlot::of_mut(bytes, ino).unwrap());
    dev.write_block(at, &block).unwrap();
}

#[test]
fn damaged_slots_are_told_apart() {
    let f = Fixture::new(16384);
    let (a, b, c) = {
        let root = root(&f.m);
        let a = create(&f.m, &root, b"a", &new_file()).unwrap().ino;
        let b = create(&f.m, &root, b"b", &new_file()).unwrap().ino;
        let c = create(&f.m, &root, b"c", &new_file()).unwrap().ino;
        (a, b, c)
    };
    f.m.unmount().unwrap();
    damage(&f, a, |slot| slot.uid.set(99));
    let context = *f.m.context();
    damage(&f, b, |slot| {
        slot.mode.set(0);
        slot.seal(&context, crate::format::units::Lsn(1));
    });
    damage(&f, c, |slot| {
        slot.nlink.set(u32::MAX);
        slot.seal(&context, crate::format::units::Lsn(1));
    });
    let m = Fixture::mount(&f.disk);
    let root = root(&m);
    assert_eq!(errno(lookup(&m, &root, b"a")), Errno::BADMSG);
    assert_eq!(errno(lookup(&m, &root, b"b")), Errno::UCLEAN);
    assert_eq!(errno(lookup(&m, &root, b"c")), Errno::UCLEAN);
    assert_eq!(errno(inode::iget(&m, a)), Errno::BADMSG);
    assert!(!m.is_shutdown());
}

#[test]
fn an_entry_that_points_nowhere_is_corruption() {
    let f = Fixture::new(16384);
    let root_ino = f.m.root_ino();
    f.m.unmount().unwrap();
    let context = *f.m.context();
    damage(&f, root_ino, |slot| {
        let mut bytes = [0; 64];
        let seed = 0x0123_4567_89ab_cdef;
        let key = crate::format::hash::first_key(crate::format::hash::name_hash(seed, b"x"));
        let entry = Dirent {
            key,
            ino: Ino(40),
            ftype: 1,
            name: b"x",
        };
        let len = entry.encode(&mut bytes).unwrap();
        slot.size.set(len as u64);
        assert!(slot.set_data(
            crate::format::inode::ForkFormat::InlineDir,
            0,
            &bytes[..len]
        ));
        slot.seal(&context, crate::format::units::Lsn(1));
    });
    let m = Fixture::mount(&f.disk);
    let root = root(&m);
    assert_eq!(errno(lookup(&m, &root, b"x")), Errno::UCLEAN);
    assert_eq!(errno(inode::iget(&m, Ino(40))), Errno::NOENT);
    assert_eq!(errno(inode::iget(&m, Ino(u64::MAX))), Errno::NOENT);
    assert_eq!(errno(inode::iget(&m, Ino(1 << 40))), Errno::NOENT);
    assert_eq!(errno(inode::iget_handle(&m, Ino(0), 0)), Errno::STALE);
    assert_eq!(errno(inode::iget_handle(&m, Ino(5_000), 0)), Errno::STALE);
}

#[test]
fn link_counts_have_an_upper_end() {
    let f = Fixture::new(16384);
    let (dir, file) = {
        let root = root(&f.m);
        let dir = create(&f.m, &root, b"d", &new_dir()).unwrap().ino;
        (dir, create(&f.m, &root, b"f", &new_file()).unwrap().ino)
    };
    f.m.unmount().unwrap();
    let context = *f.m.context();
    for ino in [dir, file] {
        damage(&f, ino, |slot| {
            slot.nlink.set(crate::format::limits::MAX_LINKS);
            slot.seal(&context, crate::format::units::Lsn(1));
        });
    }
    let m = Fixture::mount(&f.disk);
    let root = root(&m);
    let d = lookup(&m, &root, b"d").unwrap().unwrap();
    let file = lookup(&m, &root, b"f").unwrap().unwrap();
    assert_eq!(errno(create(&m, &d, b"x", &new_dir())), Errno::MLINK);
    assert_eq!(errno(link(&m, &file, &d, b"x", at(1))), Errno::MLINK);
    create(&m, &d, b"x", &new_file()).unwrap();
}
