// SPDX-License-Identifier: GPL-2.0

//! The recovered file system against the histories.
//!
//! Each inode's ctime names the last operation on it that was recovered. From that:
//!
//! * the inode is exactly what it was after that operation, nothing is of an operation that had not
//!   begun, and nothing promised is missing;
//! * an operation is there on all inodes it changed, or on none;
//! * if an operation is there, so is all that had returned before it began: what is recovered is a
//!   prefix of what was done;
//! * each sector of a file is one of those of its history that it can be.

use super::walk::Walked;
use crate::{
    image::{POISON, SECTOR},
    model::{Kind, Meta, Model, ObjId, OpId},
    world::{attr_value, Stamp},
};
use latchfs_engine::format::Ino;
use std::collections::{BTreeMap, HashMap};

type Result<T = ()> = std::result::Result<T, String>;

/// An object and the index of the state it was recovered in.
type Recovered = BTreeMap<ObjId, usize>;

/// Compares. The error says what is wrong.
pub fn compare(model: &Model, tick: u64, walked: &BTreeMap<u64, Walked>) -> Result {
    let mut recovered = Recovered::new();
    for (ino, inode) in walked {
        let key = (*ino, inode.attrs.generation);
        let Some(id) = model.find(key) else {
            if tick > model.failed {
                continue;
            }
            return Err(format!(
                "inode {ino} of generation {} was never made",
                key.1
            ));
        };
        if model.objects[id].unknown < tick {
            continue;
        }
        let state = object(model, tick, id, inode, walked)
            .map_err(|what| format!("object {id} (inode {ino}): {what}"))?;
        recovered.insert(id, state);
    }
    for (id, object) in model.objects.iter().enumerate() {
        if !recovered.contains_key(&id) && object.unknown >= tick {
            missing(model, tick, id).map_err(|what| format!("object {id}: {what}"))?;
        }
    }
    together(model, &recovered)?;
    prefix(model, &recovered)
}

fn op(model: &Model, id: OpId) -> String {
    format!("op {id} ({})", model.ops[id as usize].what)
}

/// Index of the newest state that must be there.
fn promised_state(model: &Model, tick: u64, id: ObjId) -> Option<usize> {
    let promised = model.promised(id, tick);
    let there = |op: OpId| model.ops[op as usize].returned <= promised;
    model.objects[id].states.iter().rposition(|s| there(s.op))
}

/// Checks an object that is there. Returns which of its states it is.
fn object(
    model: &Model,
    tick: u64,
    id: ObjId,
    inode: &Walked,
    walked: &BTreeMap<u64, Walked>,
) -> Result<usize> {
    let object = &model.objects[id];
    let last = inode.attrs.ctime.secs as OpId;
    let index = object
        .states
        .iter()
        .position(|s| s.op == last)
        .ok_or_else(|| format!("its last operation is {last}, which is none on it"))?;
    let state = &object.states[index];
    if model.ops[last as usize].invoked >= tick {
        return Err(format!("{} had not begun", op(model, last)));
    }
    if let Some(must) = promised_state(model, tick, id) {
        if must > index {
            return Err(format!(
                "{} was promised, but the last one there is {}",
                op(model, object.states[must].op),
                op(model, last)
            ));
        }
    }
    let attrs = &inode.attrs;
    if (attrs.nlink, attrs.mode & 0o7777) != (state.nlink, state.mode) {
        return Err(format!(
            "links {} and mode {:o}, after {} they were {} and {:o}",
            attrs.nlink,
            attrs.mode & 0o7777,
            op(model, last),
            state.nlink,
            state.mode
        ));
    }
    attributes(model, state, inode)?;
    match (&object.kind, attrs.mode >> 12) {
        (Kind::Dir, 0o04) => entries(model, index, id, inode, walked)?,
        (Kind::File, 0o10) => content(model, tick, id, last, inode)?,
        (Kind::Symlink(to), 0o12) if *to == inode.content => {}
        (Kind::Symlink(_), 0o12) => return Err("points elsewhere".to_string()),
        (kind, mode) => return Err(format!("is of type {mode:o}, should be {kind:?}")),
    }
    Ok(index)
}

fn attributes(model: &Model, state: &Meta, inode: &Walked) -> Result {
    let after = || format!("after {}", op(model, state.op));
    let text = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(12)]).into_owned();
    for (name, value) in &inode.attributes {
        let Some((by, len)) = state.attributes.get(name) else {
            return Err(format!("has an attribute {} {}", text(name), after()));
        };
        if *value != attr_value(*by, *len) {
            let by = op(model, *by);
            return Err(format!(
                "its attribute {} is not of {by} {}",
                text(name),
                after()
            ));
        }
    }
    let missing = |name: &&Vec<u8>| !inode.attributes.contains_key(*name);
    match state.attributes.keys().find(missing) {
        Some(name) => Err(format!("has no attribute {} {}", text(name), after())),
        None => Ok(()),
    }
}

fn entries(
    model: &Model,
    index: usize,
    id: ObjId,
    inode: &Walked,
    walked: &BTreeMap<u64, Walked>,
) -> Result {
    let state = &model.objects[id].states[index];
    let mut left = state.entries.len();
    for (name, Ino(ino)) in &inode.entries {
        let text = String::from_utf8_lossy(&name[..name.len().min(12)]);
        let generation = walked.get(ino).map(|w| w.attrs.generation);
        let Some(child) = state.entries.get(name) else {
            return Err(format!("has a name {text} after {}", op(model, state.op)));
        };
        let (number, expected) = model.objects[*child].key;
        if (number, Some(expected)) != (*ino, generation) {
            return Err(format!(
                "{text} is inode {ino}, should be {number} (object {child}) after {}",
                op(model, state.op)
            ));
        }
        left -= 1;
    }
    if left != 0 {
        return Err(format!(
            "{left} names are missing after {}",
            op(model, state.op)
        ));
    }
    Ok(())
}

fn content(model: &Model, tick: u64, id: ObjId, last: OpId, inode: &Walked) -> Result {
    let object = &model.objects[id];
    if object.foreign {
        return Ok(());
    }
    let lossy = object.lossy;
    let promise = model.promise(id, tick, last);
    let window = object.data.window(tick, &promise, last);
    let size = inode.attrs.size;
    let (least, most) = window.sizes;
    if (size < least && !lossy) || size > most {
        return Err(format!(
            "is {size} bytes long, should be {least} to {most} (recovered up to {})",
            op(model, last)
        ));
    }
    let zeros = lossy || model.data_errors;
    for (n, bytes) in inode.content.chunks(SECTOR).enumerate() {
        if !object.data.allows(n, bytes, &window, zeros) {
            return Err(format!(
                "sector {n} has {}; recovered up to {}, {window:?}; history: {}",
                whose(model, bytes),
                op(model, last),
                object.data.explain(n)
            ));
        }
    }
    Ok(())
}

/// For people: where the bytes of a sector are from.
fn whose(model: &Model, bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(16)];
    if bytes.iter().all(|b| *b == POISON) {
        return "what the disk had before mkfs".to_string();
    }
    if bytes.iter().all(|b| *b == 0) {
        return "zeros".to_string();
    }
    let stamps: Vec<Stamp> = bytes.chunks_exact(8).filter_map(Stamp::read).collect();
    let Some(stamp) = stamps.first() else {
        return format!("{head:02x?}");
    };
    let mut ops: Vec<OpId> = stamps.iter().map(|s| s.op).collect();
    ops.dedup();
    let wrote = match model.ops.get(stamp.op as usize) {
        Some(_) => op(model, stamp.op),
        None => "no operation".to_string(),
    };
    format!(
        "bytes for {} of {wrote}, all of ops {ops:?}: {head:02x?}",
        stamp.pos
    )
}

/// An object that is not there must have been removed, or never have been promised.
fn missing(model: &Model, tick: u64, id: ObjId) -> Result {
    let Some(must) = promised_state(model, tick, id) else {
        return Ok(());
    };
    let removed = model.objects[id].states[must..]
        .iter()
        .any(|s| s.nlink == 0 && model.ops[s.op as usize].invoked < tick);
    if removed {
        return Ok(());
    }
    Err(format!(
        "is not there, though {} was promised",
        op(model, model.objects[id].states[must].op)
    ))
}

/// An operation is there everywhere or nowhere.
fn together(model: &Model, recovered: &Recovered) -> Result {
    let mut seen: HashMap<OpId, (bool, ObjId)> = HashMap::new();
    for (id, index) in recovered {
        for (n, state) in model.objects[*id].states.iter().enumerate() {
            let there = n <= *index;
            let (before, other) = *seen.entry(state.op).or_insert((there, *id));
            if before != there {
                let (with, without) = if there { (*id, other) } else { (other, *id) };
                return Err(format!(
                    "{} is there on object {with} and not on {without}",
                    op(model, state.op)
                ));
            }
        }
    }
    Ok(())
}

/// What is there is a prefix of what was done.
fn prefix(model: &Model, recovered: &Recovered) -> Result {
    let newest = recovered
        .iter()
        .map(|(id, index)| model.objects[*id].states[*index].op)
        .max_by_key(|op| model.ops[*op as usize].invoked);
    let Some(newest) = newest else {
        return Ok(());
    };
    let begun = model.ops[newest as usize].invoked;
    for (id, index) in recovered {
        let Some(next) = model.objects[*id].states.get(index + 1) else {
            continue;
        };
        if model.ops[next.op as usize].returned < begun {
            return Err(format!(
                "object {id}: {} is not there, though it had returned before {} began, which is",
                op(model, next.op),
                op(model, newest)
            ));
        }
    }
    Ok(())
}
