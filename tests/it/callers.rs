//! Callers under faults: they try again under their id until they have an outcome, and keep what they were told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use jari_commands::engine::{ExecuteError, Origin, Outcome};
use jari_domain::{
    ids::{HoldId, SlotId},
    slot::SlotCommand,
};
use uuid::Uuid;

use crate::{
    harness::{Node, command, hold, on_slot},
    ledger::Ledger,
    raw::client,
};

/// Half of the ids bear their time, half do not.
pub fn id(n: u32) -> Uuid {
    if n.is_multiple_of(2) { Uuid::now_v7() } else { Uuid::new_v4() }
}

/// Rows that make commands exactly-once.
pub async fn recorded_commands(node: &Node) -> usize {
    let count: i64 = client(&node.database).await.query_one("SELECT count(*) FROM commands", &[]).await.unwrap().get(0);
    usize::try_from(count).unwrap()
}

/// See the module. Each takes one unit after the other of one slot.
pub struct Callers {
    told: Arc<Mutex<Vec<Told>>>,
    sent_away: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What somebody was told of the hold that they asked for under an id.
pub type Told = (String, Uuid, Outcome);

impl Callers {
    pub fn start(node: &Arc<Node>, slots: &[SlotId], callers: usize) -> Self {
        let (told, stop, sent_away) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let newcomers = newcome(node.clone(), slots[0].clone(), sent_away.clone(), stop.clone());
        let tasks = (0..callers)
            .map(|caller| {
                let (node, slot, told, stop) = (node.clone(), slots[caller % slots.len()].clone(), told.clone(), stop.clone());
                tokio::spawn(async move {
                    for n in 0_u32.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let (name, id) = (format!("c{caller}-{n}"), id(n / 2));
                        let outcome = outcome(&node, &slot, &name, id).await;
                        told.lock().unwrap().push((name, id, outcome));
                    }
                })
            })
            .chain(std::iter::once(tokio::spawn(newcomers)))
            .collect();
        Self { told, sent_away, stop, tasks }
    }

    /// How many have got an outcome so far.
    pub fn answered(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// How many who came anew were told to come back since the log is away.
    pub fn sent_away(&self) -> usize {
        self.sent_away.load(Ordering::SeqCst)
    }

    /// Ends when everybody has an answer.
    pub async fn end(self) -> Vec<Told> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

/// What becomes of a hold: asked for under its id for as long as nobody knows.
async fn outcome(node: &Node, slot: &SlotId, name: &str, id: Uuid) -> Outcome {
    loop {
        match node.engine.execute(hold(slot, name, 1), command(id)).await {
            Ok(outcome) => return outcome,
            Err(ExecuteError::LogUnavailable { retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(ExecuteError::OutcomePending { .. }) => {}
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

/// Somebody new comes every few milliseconds, asks for nothing in particular, and soon leaves: those inside may all wait for the same answer.
async fn newcome(node: Arc<Node>, slot: SlotId, sent_away: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let nothing = || on_slot(&slot, SlotCommand::ExpireHold { hold_id: HoldId::parse("nobody").unwrap() });
    while !stop.load(Ordering::SeqCst) {
        let asked = tokio::time::timeout(Duration::from_millis(10), node.engine.execute(nothing(), Origin::default())).await;
        if let Ok(Err(ExecuteError::LogUnavailable { retry_after })) = asked {
            assert!(retry_after > Duration::ZERO);
            sent_away.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Everything that callers were told stands in the log, once, and nothing else; and their ids say the same again.
pub async fn prove(node: &Node, slots: &[SlotId], told: &[Told]) {
    let mut taken = 0;
    let mut ledgers = Vec::new();
    for slot in slots {
        let ledger = Ledger::of(&node.database, slot).await;
        taken += ledger.holds_taken();
        ledgers.push(ledger);
    }
    assert_eq!(taken, told.iter().filter(|(_, _, outcome)| outcome.refusal.is_none()).count(), "nothing is lost, nothing is doubled");
    assert_eq!(recorded_commands(node).await, told.len() + slots.len());
    let ledgers = &ledgers;
    let asked_again = futures::stream::iter(told).for_each_concurrent(256, |(name, id, first)| async move {
        let caller: usize = name[1..name.find('-').unwrap()].parse().unwrap();
        let at = caller % slots.len();
        ledgers[at].check(name, 1, first);
        assert_eq!(outcome(node, &slots[at], name, *id).await, *first);
    });
    asked_again.await;
    node.log().await;
}
