//! Streams in memory: how many, how large, and which of them stay.

use super::{
    super::cell::CELL_BYTES,
    beforehand::{LATER, bring, crowded, hold_of},
    *,
};

#[test]
fn streams_in_memory_never_outgrow_their_number_and_one_that_is_waited_for_stays() {
    let mut core = Core::new(CoreLimits { cells: 4, ..CoreLimits::default() }, at(0));
    let waits = submit(&mut core, hold("awaited", "mine"), key(100));
    let awaited: Vec<(LoadRequest, u64)> = std::mem::take(&mut core.effects.loads);
    for n in 0..20 {
        let pool = format!("seats-{n}");
        let mut answer = submit(&mut core, hold(&pool, "mine"), key(n));
        load(&mut core, opened(&pool, 0));
        let (number, landed) = land(core.depart(at(1)).unwrap(), 9 + u64::try_from(n).unwrap());
        core.appended(number, landed, at(1));
        assert!(answer.try_recv().is_ok());
        assert!(core.cells.len() <= 4 + 1, "{} streams after {n}", core.cells.len());
    }
    core.effects.loads = awaited;
    load(&mut core, opened("awaited", 0));
    assert!(core.depart(at(1)).is_some(), "its answer still has somewhere to go");
    drop(waits);
}

/// Bytes of a slot with a hundred holds in memory.
fn heavy_slot() -> usize {
    crowded("any", 100).state.bytes() + CELL_BYTES
}

/// A hold in a slot with a hundred holds that lapsed, of which it ends some.
fn used(core: &mut Core, pool: &str, n: u128) {
    let mut answer = submit(core, hold_of(pool, &format!("mine-{n}"), 1), key(n));
    bring(core, &[crowded(pool, 100)]);
    let (number, landed) = land(core.depart(at(LATER)).unwrap(), 1_000);
    core.appended(number, landed, at(LATER));
    assert_eq!(answer.try_recv().unwrap().unwrap().refusal, None);
}

#[test]
fn large_streams_in_memory_never_outgrow_their_bytes_and_those_of_late_stay() {
    let bytes = 15 * heavy_slot();
    let mut core = Core::new(CoreLimits { cells: 20, cell_bytes: bytes, ..CoreLimits::default() }, at(0));
    for n in 0..200 {
        used(&mut core, &format!("seats-{n}"), n);
        assert!(core.cell_bytes() <= bytes, "{} of {bytes} after {n}", core.cell_bytes());
        for late in n.saturating_sub(9)..=n {
            let stream = StreamId::from(&slot(&format!("seats-{late}")));
            assert!(core.cells.contains_key(&stream), "{late} was used of late, and is gone after {n}");
        }
    }
    let sum = core.cells.values().map(|cell| cell.durable().map_or(0, |version| version.state.bytes()) + CELL_BYTES).sum::<usize>();
    assert_eq!(core.cell_bytes(), sum, "what is let go no longer counts");
}

#[test]
fn a_stream_that_is_larger_than_all_may_be_stays_while_it_is_used() {
    let bytes = heavy_slot() / 2;
    let mut core = Core::new(CoreLimits { cells: 20, cell_bytes: bytes, ..CoreLimits::default() }, at(0));
    used(&mut core, "seats", 0);
    for n in 1..9 {
        used(&mut core, "seats", n);
        assert_eq!(core.effects.loads.len(), 0, "it is not read again");
    }
    for n in 100..130 {
        used(&mut core, &format!("chairs-{n}"), n);
    }
    assert!(!core.cells.contains_key(&StreamId::from(&slot("seats"))), "now others are");
}
