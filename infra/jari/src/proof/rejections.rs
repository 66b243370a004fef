//! Rejections, held against the room that there was.
//!
//! An order is rejected when some slot refuses what its lines draw there, summed, and then the rejection names every line that draws on one of those, and no
//! other. That an order was held rightly needs no look of its own: its slots would be oversold.

use std::{collections::HashMap, sync::Arc};

use jari_domain::{
    Timestamp,
    ids::{HoldId, SlotId},
    order::{LineFailure, OrderLine},
};

use super::{ledger::SlotLedger, orders::Draw};

/// What a line of an order in line draws on: the line's number, and where its slot stands among the order's draws.
#[derive(Debug)]
pub(super) struct Asked {
    line: u32,
    draw: u32,
}

/// In the order of the lines. `draws` are sorted by slot.
pub(super) fn asked_by(lines: &[OrderLine], draws: &[Draw]) -> Box<[Asked]> {
    let of_line = |(line, asked): (u32, &OrderLine)| {
        let place = |slot: &SlotId| draws.binary_search_by(|draw| draw.slot.cmp(slot)).ok().and_then(|at| u32::try_from(at).ok());
        asked.draws.iter().filter_map(|draw| Some(Asked { line, draw: place(&draw.slot_id)? })).collect::<Vec<_>>()
    };
    (0..).zip(lines).flat_map(of_line).collect()
}

/// What is wrong with a rejection at `now`, as what follows on the order's name.
pub(super) fn fault(
    failures: &[LineFailure],
    (hold_id, now): (&HoldId, Timestamp),
    (asked, draws): (&[Asked], &[Draw]),
    slots: &HashMap<Arc<str>, SlotLedger>,
) -> Option<String> {
    let ledgers: Vec<Option<&SlotLedger>> = draws.iter().map(|draw| slots.get(draw.slot.as_str())).collect();
    if ledgers.iter().flatten().any(|ledger| ledger.is_unreadable()) {
        return None;
    }
    let refuses = |(draw, ledger): (&Draw, &Option<&SlotLedger>)| ledger.is_none_or(|ledger| ledger.refuses(hold_id, draw.quantity, now));
    let short: Vec<bool> = draws.iter().zip(&ledgers).map(refuses).collect();
    if !short.contains(&true) {
        return Some("was rejected, and there was room for all of it".into());
    }
    let at = |asked: &Asked| usize::try_from(asked.draw).unwrap_or(usize::MAX);
    let due = asked.iter().filter(|asked| short.get(at(asked)) == Some(&true)).filter_map(|asked| Some((asked.line, &draws.get(at(asked))?.slot)));
    let told = failures.iter().map(|failure| (failure.line, &failure.slot_id));
    (!told.clone().eq(due.clone())).then(|| {
        let list = |all: Vec<(u32, &SlotId)>| all.iter().map(|(line, slot)| format!("{line} at {slot}")).collect::<Vec<_>>().join(", ");
        format!("was rejected for its lines [{}], and those without room were [{}]", list(told.collect()), list(due.collect()))
    })
}
