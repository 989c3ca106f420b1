// SPDX-License-Identifier: GPL-2.0

//! Crash states: what a power cut can have left, worked out from a trace.
//!
//! At any moment there is the *medium* - what was flushed, or written with FUA - and there are
//! *loose* writes: completed but not flushed, or still in flight. Of each loose write each sector
//! may be there or not, whatever became of the others, with two exceptions: where two writes meet,
//! the earlier one cannot come out on top; and of a write with PREFLUSH nothing is there before all
//! is there that its flush covers.

use crate::{
    image::{Image, WHOLE},
    trace::{Kind, Trace, WriteId},
};
use latchfs_host::sim::Rng;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Steps through a trace and knows what is durable and what is loose.
pub struct Replay<'a> {
    trace: &'a Trace,
    next: usize,
    medium: Image,
    /// Which write made a block of the medium what it is.
    newest: HashMap<u64, WriteId>,
    /// Completed or in flight, in the order of submission.
    loose: Vec<WriteId>,
    in_flight: Vec<WriteId>,
    /// What the flush of a write with PREFLUSH covers, for those in flight.
    covered: BTreeMap<WriteId, Vec<WriteId>>,
    /// The same for flushes.
    flushes: BTreeMap<usize, Vec<WriteId>>,
    /// Counts changes of the medium.
    epoch: u64,
}

/// Of each loose write, the sectors of its blocks that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Choice(BTreeMap<WriteId, Vec<u8>>);

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nothing loose is there.
    None,
    /// Everything is.
    All,
    /// Everything but one write.
    AllButOne,
    /// The last write only.
    Last,
    /// One write only.
    One,
    /// Each write is there or not.
    Some,
    /// Each write is there, not there, or torn.
    Torn,
    /// Everything but one write, which is torn.
    OneTorn,
}

/// All of them.
pub const STYLES: [Style; 8] = [
    Style::None,
    Style::All,
    Style::AllButOne,
    Style::Last,
    Style::One,
    Style::Some,
    Style::Torn,
    Style::OneTorn,
];

impl<'a> Replay<'a> {
    /// Before the first event.
    pub fn new(trace: &'a Trace, before: Image) -> Self {
        Self {
            trace,
            next: 0,
            medium: before,
            newest: HashMap::new(),
            loose: Vec::new(),
            in_flight: Vec::new(),
            covered: BTreeMap::new(),
            flushes: BTreeMap::new(),
            epoch: 0,
        }
    }

    /// Events so far.
    pub fn position(&self) -> usize {
        self.next
    }

    /// Until when what was acknowledged counts: the tick of the next event.
    pub fn tick(&self) -> u64 {
        self.trace
            .events
            .get(self.next)
            .map_or(u64::MAX, |event| event.at)
    }

    /// Loose writes.
    pub fn loose(&self) -> &[WriteId] {
        &self.loose
    }

    /// Takes the next event in. False if there is none.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.trace.events.get(self.next) else {
            return false;
        };
        self.next += 1;
        match event.kind {
            Kind::Submit(id) => {
                if self.trace.writes[id].preflush {
                    self.covered.insert(id, self.completed());
                }
                self.loose.push(id);
                self.in_flight.push(id);
            }
            Kind::Complete(id) => {
                let covered = self.covered.remove(&id);
                self.in_flight.retain(|w| *w != id);
                let write = &self.trace.writes[id];
                // A write that failed half way had its flush before.
                let begun = match &write.failed {
                    None => true,
                    Some(masks) => masks.iter().any(|m| *m != 0),
                };
                if begun {
                    self.settle(covered.unwrap_or_default());
                }
                if write.failed.is_none() && write.fua {
                    self.settle(vec![id]);
                }
            }
            Kind::Flush(id) => {
                self.flushes.insert(id, self.completed());
            }
            Kind::Flushed(id, ok) => {
                let covered = self.flushes.remove(&id);
                if ok {
                    self.settle(covered.unwrap_or_default());
                }
            }
        }
        true
    }

    fn completed(&self) -> Vec<WriteId> {
        let flying = |id: &&WriteId| !self.in_flight.contains(id);
        self.loose.iter().filter(flying).copied().collect()
    }

    /// These writes are on the medium for good.
    fn settle(&mut self, ids: Vec<WriteId>) {
        for id in ids {
            if !self.loose.contains(&id) {
                continue;
            }
            self.loose.retain(|w| *w != id);
            self.epoch += 1;
            let masks = self.whole(id);
            put(self.trace, &mut self.medium, &self.newest, id, &masks);
            let write = &self.trace.writes[id];
            for n in 0..write.data.len() as u64 {
                let newest = self.newest.entry(write.start + n).or_insert(id);
                *newest = (*newest).max(id);
            }
        }
    }

    /// What of a write can be there at most.
    fn whole(&self, id: WriteId) -> Vec<u8> {
        let write = &self.trace.writes[id];
        match &write.failed {
            Some(masks) if !self.in_flight.contains(&id) => masks.clone(),
            _ => vec![WHOLE; write.data.len()],
        }
    }

    /// Chooses what is there.
    pub fn choose(&self, style: Style, rng: &mut Rng) -> Choice {
        let mut choice = BTreeMap::new();
        if self.loose.is_empty() {
            return Choice(choice);
        }
        let picked = self.loose[rng.below(self.loose.len() as u64) as usize];
        let last = self.loose[self.loose.len() - 1];
        for id in self.loose.iter().copied() {
            let whole = self.whole(id);
            let masks = match style {
                Style::None => continue,
                Style::All => whole,
                Style::AllButOne if id == picked => continue,
                Style::AllButOne => whole,
                Style::Last if id == last => whole,
                Style::One if id == picked => whole,
                Style::Last | Style::One => continue,
                Style::Some if rng.one_in(2) => continue,
                Style::Some => whole,
                Style::Torn => match rng.below(4) {
                    0 => continue,
                    1 => whole,
                    _ => tear(&whole, rng),
                },
                Style::OneTorn if id == picked => tear(&whole, rng),
                Style::OneTorn => whole,
            };
            choice.insert(id, masks);
        }
        self.legal(&mut choice);
        Choice(choice)
    }

    /// A write with PREFLUSH of which something is there has everything there that came before it.
    fn legal(&self, choice: &mut BTreeMap<WriteId, Vec<u8>>) {
        for (id, covered) in &self.covered {
            let there = choice
                .get(id)
                .is_some_and(|masks| masks.iter().any(|m| *m != 0));
            if there {
                for id in covered.iter().filter(|id| self.loose.contains(id)) {
                    choice.insert(*id, self.whole(*id));
                }
            }
        }
    }

    /// The disk after a crash now, with this choice.
    pub fn image(&self, choice: &Choice) -> Image {
        let mut image = self.medium.clone();
        for (id, masks) in &choice.0 {
            put(self.trace, &mut image, &self.newest, *id, masks);
        }
        image
    }

    /// A number that is different for different disks.
    pub fn fingerprint(&self, choice: &Choice) -> u64 {
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        self.epoch.hash(&mut hasher);
        choice.hash(&mut hasher);
        hasher.finish()
    }

    /// What is there, for people.
    pub fn describe(&self, choice: &Choice) -> String {
        let of = |id: &WriteId| {
            let write = &self.trace.writes[*id];
            let masks = choice.0.get(id);
            let there = match masks {
                None => "lost".to_string(),
                Some(masks) if *masks == self.whole(*id) => "there".to_string(),
                Some(masks) => format!("torn {masks:02x?}"),
            };
            let flying = if self.in_flight.contains(id) {
                ", in flight"
            } else {
                ""
            };
            format!(
                "write {id} of {} blocks at {}{}{}{flying}: {there}",
                write.data.len(),
                write.start,
                if write.preflush { " PREFLUSH" } else { "" },
                if write.fua { " FUA" } else { "" },
            )
        };
        let lines: Vec<String> = self.loose.iter().map(of).collect();
        lines.join("\n")
    }
}

/// Some sectors of a write: a beginning, an end, or any.
fn tear(whole: &[u8], rng: &mut Rng) -> Vec<u8> {
    let sectors = whole.len() as u64 * 8;
    let cut = rng.below(sectors + 1);
    let way = rng.below(3);
    let mut masks = Vec::with_capacity(whole.len());
    for (n, all) in whole.iter().enumerate() {
        let mut mask = 0;
        for bit in 0..8 {
            let at = n as u64 * 8 + bit;
            let there = match way {
                0 => at < cut,
                1 => at >= cut,
                _ => rng.one_in(2),
            };
            if there {
                mask |= 1 << bit;
            }
        }
        masks.push(mask & all);
    }
    masks
}

/// Puts a write on an image, but not over what is newer.
fn put(
    trace: &Trace,
    image: &mut Image,
    newest: &HashMap<u64, WriteId>,
    id: WriteId,
    masks: &[u8],
) {
    let write = &trace.writes[id];
    for (n, block) in write.data.iter().enumerate() {
        let at = write.start + n as u64;
        if masks[n] != 0 && newest.get(&at).is_none_or(|newer| *newer < id) {
            image.write(at, &Arc::clone(block), masks[n]);
        }
    }
}
