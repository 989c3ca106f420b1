// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::sys::Errno;

#[test]
fn damage_is_what_the_option_says() {
    let by = |on_error| reaction(on_error, Severity::Damage);
    assert_eq!(by(OnError::Continue), Reaction::Nothing);
    assert_eq!(by(OnError::ReadOnly), Reaction::ReadOnly);
    assert_eq!(by(OnError::Shutdown), Reaction::Shutdown);
    assert_eq!(by(OnError::Panic), Reaction::Panic);
}

#[test]
fn nobody_goes_on_after_a_loss() {
    let by = |on_error| reaction(on_error, Severity::Lost);
    assert_eq!(by(OnError::Continue), Reaction::Shutdown);
    assert_eq!(by(OnError::ReadOnly), Reaction::Shutdown);
    assert_eq!(by(OnError::Shutdown), Reaction::Shutdown);
    assert_eq!(by(OnError::Panic), Reaction::Panic);
}

#[test]
fn an_error_is_remembered() {
    let faults = Faults::new(OnError::Continue);
    faults.note(&Error::new(Errno::UCLEAN), 7, 9);
    faults.note(&Error::new(Errno::IO), 8, 10);
    assert_eq!(faults.count(), 2);
    assert!(faults.has_unwritten());
    let recorded = faults.take();
    assert_eq!(recorded.count, 2);
    assert_eq!((recorded.first.ino.get(), recorded.last.ino.get()), (7, 8));
    assert!(!faults.has_unwritten());
}

#[test]
#[should_panic(expected = "errors=panic")]
fn an_error_brings_the_machine_down() {
    let faults = Faults::new(OnError::ReadOnly);
    faults.note(&Error::new(Errno::UCLEAN), 7, 9);
    faults.set_on_error(OnError::Panic);
    faults.note(&Error::new(Errno::UCLEAN), 7, 9);
}
