// SPDX-License-Identifier: GPL-2.0

//! That the simulator finds what is broken, and nothing where nothing is.

use latchfs_sim::{
    ace::{Last, Start, Step},
    check::check,
    disk::{Broken, SimDisk},
    image::{Base, BaseKind, Image},
    model::{Attributes, Kind, ROOT},
    run::{self, Effort},
    world::{Setup, World},
};
use std::sync::Arc;

fn violations(broken: Broken, seeds: std::ops::Range<u64>) -> Vec<String> {
    let effort = Effort {
        states: 60,
        unrecovered: false,
        broken,
    };
    let mut found = Vec::new();
    for seed in seeds {
        found.extend(run::seed(seed, &effort).violations);
    }
    found
}

#[test]
fn nothing_on_an_honest_disk() {
    let found = violations(Broken::No, 0..8);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Data is on its way to the disk when the log says that it is there.
#[test]
fn a_disk_that_ignores_preflush() {
    assert!(!violations(Broken::NoPreflush, 0..30).is_empty());
}

#[test]
fn a_disk_that_ignores_fua() {
    assert!(!violations(Broken::NoFua, 0..30).is_empty());
}

#[test]
fn a_disk_that_ignores_all_flushes() {
    assert!(!violations(Broken::NoFlush, 0..30).is_empty());
}

#[test]
fn attributes_that_are_not_those_that_were_set() {
    let image = Image::new(Arc::new(Base::new(BaseKind::Empty)));
    let disk = Arc::new(SimDisk::new(image, 1, 0));
    let setup = Setup {
        late_ioends: false,
        folio_pages: 1,
        writers: false,
        background: false,
        faulty: false,
    };
    let world = World::new(disk.clone(), setup).expect("mount");
    let file = world.create(ROOT, b"f", Kind::File).expect("create");
    assert!(world.set_attribute(file, b"a", 3_000));
    assert!(world.unmount());
    let model = world.model().clone();
    assert!(check(&disk.image(), &model, disk.tick()).is_ok());

    let changes: [fn(&mut Attributes); 4] = [
        |set| set.clear(),
        |set| {
            set.insert(b"b".to_vec(), (2, 10));
        },
        |set| set.values_mut().for_each(|(_, len)| *len -= 1),
        |set| set.values_mut().for_each(|(op, _)| *op -= 1),
    ];
    for change in changes {
        let mut other = model.clone();
        let state = other.objects[file].states.last_mut().expect("a state");
        change(Arc::make_mut(&mut state.attributes));
        let found = check(&disk.image(), &other, disk.tick()).err();
        let found = found.map(|found| found.what).unwrap_or_default();
        assert!(found.contains("attribute"), "{found}");
    }
}

#[test]
fn a_seed_is_one_run() {
    let tell = run::tell(3);
    assert!(tell.lines().count() > 50);
    assert_eq!(tell, run::tell(3));
    assert_ne!(tell, run::tell(4));
}

#[test]
fn a_short_sequence_survives_everywhere() {
    let start = Start::new();
    for last in [Last::Fsync, Last::Sync] {
        let tally = start.explore(&[Step::Replace, Step::Append], last);
        assert!(tally.states > 10);
        assert_eq!(tally.violation, None);
    }
}
