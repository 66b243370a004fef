//! The real decision loop and the real domain under a seeded scheduler: nodes that race, other writers, answers late or lost, nodes that die.
//!
//! After each step everything that must hold of the log is checked (`model.rs`); at the end faults stop, and everybody must have an answer.

mod dice;
mod model;
mod node;
mod town;

use std::sync::Arc;

use jari_domain::{RefusalKind, StreamId, Timestamp, ids::OrderId, order::Order, registry::AsAggregate};
use jari_event_store::{CommandKey, LeaseStamp};
use jiff::SignedDuration;
use tokio::sync::oneshot;

use self::{
    dice::Dice,
    model::{Model, Session},
    node::Node,
};
use super::unit::{ExecuteError, Origin, Outcome, UnitOfWork};
use crate::booking::SettleOrder;

/// A submission that has no answer yet. Without a key it is a settlement, of the order named.
struct Call {
    key: Option<CommandKey>,
    order: Option<OrderId>,
    digest: [u8; 16],
    unit: usize,
    /// Its id had an outcome when it was sent.
    was_recorded: bool,
    answer: oneshot::Receiver<Result<Outcome, ExecuteError>>,
}

struct World {
    dice: Dice,
    now: Timestamp,
    model: Model,
    nodes: Vec<Node>,
    /// Connections of nodes that died; what they were sent may still be done.
    orphans: Vec<Session>,
    calls: Vec<Call>,
    /// Keys that were used, for those who repeat themselves.
    used: Vec<(CommandKey, [u8; 16], usize)>,
    owner: usize,
    /// The owner has put in line what was placed before here.
    settled: usize,
    acknowledged: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut model = Model { epoch: 1, beforehand: dice.pick(&[1, 2, 2_048]), ..Model::default() };
        town::found(&mut model, &mut dice, now);
        let nodes = (0..1 + dice.below(2)).map(|_| Node::new(&mut dice, model.beforehand, now)).collect();
        let (orphans, calls, used) = (Vec::new(), Vec::new(), Vec::new());
        let settled = model.log.len();
        Self { dice, now, model, nodes, orphans, calls, used, owner: 0, settled, acknowledged: 0 }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.check();
        }
        self.come_to_rest();
    }

    fn step(&mut self) {
        let at = self.dice.index(self.nodes.len());
        match self.dice.below(100) {
            0..=29 => self.call(at),
            30..=33 => self.repeat(at),
            34..=37 => town::foreign(&mut self.model, &mut self.dice, self.now),
            38..=40 => {
                // now and then so much later that everything has lapsed
                let most = if self.dice.one_in(4) { 100_000 } else { 20_000 };
                self.now += SignedDuration::from_millis(i64::try_from(self.dice.below(most)).unwrap());
            }
            41 => self.nodes[at].skew = SignedDuration::from_secs(i64::try_from(self.dice.below(60)).unwrap() - 30),
            42 => self.nodes[at].cut(&mut self.model, &mut self.dice),
            43 if self.dice.one_in(6) => self.kill(at),
            44 if self.dice.one_in(4) => self.move_lease(),
            45 if !self.calls.is_empty() => {
                // a caller hangs up
                let gone = self.dice.index(self.calls.len());
                if self.calls[gone].key.is_some() {
                    self.calls.swap_remove(gone);
                }
            }
            46 => self.orphans_go_on(),
            47..=52 => self.settle(),
            _ => self.nodes[at].turn(&mut self.model, &mut self.dice, self.now),
        }
    }

    fn submit(&mut self, at: usize, key: Option<CommandKey>, digest: [u8; 16], work: Arc<dyn UnitOfWork>, order: Option<OrderId>) {
        let unit = self.model.works.len();
        self.model.works.push(work.clone());
        let origin = Origin { key: key.clone(), digest, trace: Some(unit.to_string()), ..Origin::default() };
        let answer = self.nodes[at].submit(work, origin, self.now);
        let was_recorded = key.as_ref().is_some_and(|key| self.model.commands.contains_key(key));
        self.calls.push(Call { key, order, digest, unit, was_recorded, answer });
    }

    fn call(&mut self, at: usize) {
        let work = town::ask(&self.model, &mut self.dice, self.now);
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.dice.throw().to_le_bytes());
        random[8..].copy_from_slice(&self.dice.throw().to_le_bytes());
        let id = match self.dice.below(4) {
            0 => uuid::Builder::from_random_bytes(random).into_uuid(),
            n => {
                let made = self.now + SignedDuration::from_secs(if n == 1 { 20 } else { 0 });
                let millis = u64::try_from(made.as_millisecond()).unwrap();
                uuid::Builder::from_unix_timestamp_millis(millis, random[..10].try_into().unwrap()).into_uuid()
            }
        };
        let key = CommandKey { caller: "somebody".into(), id };
        if self.dice.one_in(60) {
            self.model.poisoned.insert(self.model.works.len());
        }
        self.used.push((key.clone(), [1; 16], self.model.works.len()));
        self.submit(at, Some(key), [1; 16], work, None);
    }

    /// The same id again: the same command, or another one under it.
    fn repeat(&mut self, at: usize) {
        if self.used.is_empty() {
            return;
        }
        let (key, mut digest, unit) = self.used[self.dice.index(self.used.len())].clone();
        let mut work = self.model.works[unit].clone();
        if self.dice.one_in(5) {
            digest = [2; 16];
            work = town::ask(&self.model, &mut self.dice, self.now);
        }
        if self.model.poisoned.contains(&unit) {
            self.model.poisoned.insert(self.model.works.len());
        }
        self.submit(at, Some(key), digest, work, None);
    }

    fn kill(&mut self, at: usize) {
        let new = Node::new(&mut self.dice, self.model.beforehand, self.now);
        let dead = std::mem::replace(&mut self.nodes[at], new);
        self.orphans.push(dead.session);
        if at == self.owner {
            self.move_lease();
        }
    }

    fn orphans_go_on(&mut self) {
        for session in &mut self.orphans {
            if !session.queue.is_empty() {
                let sent = session.queue.remove(0);
                let _ = self.model.append(&mut session.landed, &sent);
            }
        }
        self.orphans.retain(|session| !session.queue.is_empty());
    }

    /// Another owner under a new epoch: everybody who is in line is put in line again, in order.
    fn move_lease(&mut self) {
        self.model.epoch += 1;
        self.owner = self.dice.index(self.nodes.len());
        self.settled = 0;
        self.settle();
    }

    fn settle(&mut self) {
        let lease = Arc::new(LeaseStamp { name: "settlement".into(), epoch: self.model.epoch });
        for at in std::mem::replace(&mut self.settled, self.model.log.len())..self.model.log.len() {
            let entry = &self.model.log[at];
            let state = self.model.state(&entry.stream);
            if town::placed(&entry.event)
                && let Some(order) = Order::of(&state)
                && order.status() == jari_domain::order::OrderStatus::Placed
            {
                let order_id = OrderId::parse(&entry.stream.aggregate_id).unwrap();
                let work = SettleOrder { order_id: order_id.clone(), draws: order.draws(), lease: Some(lease.clone()) };
                self.submit(self.owner, None, [0; 16], Arc::new(work), Some(order_id));
            }
        }
    }

    /// Every answer that has come is the one that stands in the log.
    fn check(&mut self) {
        let mut calls = std::mem::take(&mut self.calls);
        calls.retain_mut(|call| match call.answer.try_recv() {
            Ok(result) => {
                self.heard(call, result);
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => {
                // its node died: nobody knows, and whoever asks again hears
                false
            }
        });
        calls.append(&mut self.calls);
        self.calls = calls;
        for node in &self.nodes {
            node.check();
        }
    }

    fn heard(&mut self, call: &Call, result: Result<Outcome, ExecuteError>) {
        let work = &self.model.works[call.unit];
        let Some(key) = &call.key else {
            let given_up = matches!(result, Err(ExecuteError::StreamUnreadable { .. }));
            assert!(given_up || matches!(result, Ok(_) | Err(ExecuteError::LeaseLost)), "{work:?}: {result:?}");
            if let Some(order) = call.order.as_ref().filter(|_| given_up) {
                self.model.given_up.insert(order.shared());
            }
            return;
        };
        let recorded = self.model.commands.get(key);
        match result {
            Ok(Outcome { refusal: Some(refusal), .. }) if refusal.kind == RefusalKind::InvalidArgument => {
                // an outcome that came since is that of a call beside this one, which came after it
                assert!(!call.was_recorded, "{work:?} was told that it is bad input, and not {recorded:?}");
                self.acknowledged += 1;
            }
            Ok(outcome) => {
                let recorded = recorded.unwrap_or_else(|| panic!("{work:?} was acknowledged and is not recorded"));
                assert_eq!((outcome.position, &outcome.refusal), (recorded.position, &recorded.refusal), "{work:?}");
                assert_eq!(recorded.digest, call.digest, "{work:?} heard another command's outcome");
                assert!(outcome.position <= self.model.head());
                self.acknowledged += 1;
            }
            Err(ExecuteError::Contention { .. } | ExecuteError::LogRefused { .. }) => {
                assert_eq!(recorded, None, "{work:?} was told that nothing was done");
            }
            Err(ExecuteError::CommandIdReused) => {}
            Err(ExecuteError::StreamUnreadable { .. }) => {}
            Err(error) => panic!("{work:?}: {error}"),
        }
    }

    /// Faults stop; whatever is under way ends.
    fn come_to_rest(&mut self) {
        while !self.orphans.is_empty() {
            self.orphans_go_on();
        }
        for _ in 0..20_000 {
            self.settle();
            let mut busy = false;
            for node in &mut self.nodes {
                busy |= node.rest(&mut self.model, self.now);
            }
            self.check();
            if !busy && self.settled == self.model.log.len() {
                break;
            }
        }
        assert!(self.calls.is_empty(), "{} wait for ever, the first for {:?}", self.calls.len(), self.model.works[self.calls[0].unit]);
        for node in &self.nodes {
            node.check_rest(&self.model);
        }
        for entry in self.model.log.iter().filter(|e| town::placed(&e.event)) {
            let StreamId { aggregate_id, .. } = &entry.stream;
            let state = self.model.state(&entry.stream);
            let waits = Order::of(&state).is_some_and(|o| o.status() == jari_domain::order::OrderStatus::Placed);
            assert!(!waits || self.model.given_up.contains(aggregate_id), "{aggregate_id} was accepted and never settled");
        }
    }
}

/// Runs one seed; names it when it fails.
fn simulate(seed: u64, steps: usize) -> usize {
    let run = std::panic::AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        world.run(steps);
        world.acknowledged
    });
    std::panic::catch_unwind(run).unwrap_or_else(|_| panic!("the simulation failed with seed {seed} ({steps} steps)"))
}

fn simulate_all(seeds: std::ops::Range<u64>, steps: usize) {
    let count = seeds.end - seeds.start;
    let acknowledged: usize = seeds.map(|seed| simulate(seed, steps)).sum();
    assert!(acknowledged as u64 > count * 10, "most commands have outcomes: {acknowledged} in {count} runs");
}

#[test]
fn nothing_is_lost_or_doubled_or_decided_on_void_ground_whatever_fails() {
    simulate_all(0..300, 600);
}

#[test]
#[ignore = "long: minutes"]
fn nothing_is_lost_or_doubled_in_thousands_of_runs() {
    simulate_all(1_000..9_000, 1_500);
}

/// `JARI_SEED=17 JARI_STEPS=600 cargo test -p jari-commands one_seed -- --ignored --nocapture`
#[test]
#[ignore = "for a seed that failed"]
fn one_seed_that_failed_is_run_again() {
    let given = |name: &str| std::env::var(name).ok().and_then(|s| s.parse().ok());
    simulate(given("JARI_SEED").unwrap_or(0), given("JARI_STEPS").unwrap_or(600) as usize);
}
