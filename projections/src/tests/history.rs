//! A believable history: random commands on products, slots and orders, decided by the domain itself, from a seed.

use std::collections::BTreeMap;

use jari_domain::{
    AnyEvent, Decider, Money, Quantity, StreamId, Timestamp,
    ids::{CustomerRef, HoldId, OptionId, OrderId, PoolId, ProductId, SlotId, UnitId},
    order::{LineFailure, LineUnit, Order, OrderCommand, OrderLine, SlotDraw},
    product::{Draw, Product, ProductCommand, ProductOption, SaleMode, Unit},
    registry::AsAggregate,
    slot::{InventorySlot, SlotCommand, Window},
};
use jiff::SignedDuration;

/// Small numbers, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// The states of everything that has happened.
pub struct History {
    pub dice: Dice,
    pub now: Timestamp,
    pub products: BTreeMap<ProductId, Product>,
    pub slots: BTreeMap<SlotId, InventorySlot>,
    pub orders: BTreeMap<OrderId, Order>,
    holds: u64,
}

pub type Groups = Vec<(StreamId, Vec<AnyEvent>, Timestamp)>;

fn krw(minor: u64) -> Money {
    Money { minor, currency: jari_domain::Currency::parse("KRW").unwrap() }
}

pub fn option(id: &str, pools: &[&str]) -> ProductOption {
    let unit = Unit { unit_id: UnitId::parse("adult").unwrap(), title: "Adult".into(), price: krw(12_000), heads: 1 };
    let draws = pools.iter().map(|pool| Draw { pool_id: PoolId::parse(pool).unwrap(), per_head: 1 }).collect();
    ProductOption { option_id: OptionId::parse(id).unwrap(), title: format!("Option {id}"), units: vec![unit], draws }
}

pub fn draft(title: &str, sale_mode: SaleMode, time_zone: &str) -> ProductCommand {
    let (currency, hold_seconds, cut_off_seconds) = (krw(0).currency, 600, 0);
    ProductCommand::DraftProduct { title: title.into(), sale_mode, time_zone: time_zone.into(), currency, hold_seconds, cut_off_seconds }
}

pub fn line(slots: &[&SlotId], quantity: u32) -> OrderLine {
    let quantity = Quantity::new(quantity);
    OrderLine {
        product_id: ProductId::parse("museum").unwrap(),
        option_id: OptionId::parse("entry").unwrap(),
        starts_at: None,
        units: vec![LineUnit { unit_id: UnitId::parse("adult").unwrap(), quantity, price: krw(12_000) }],
        draws: slots.iter().map(|slot| SlotDraw { slot_id: (*slot).clone(), quantity }).collect(),
        total: krw(12_000 * u64::from(quantity)),
    }
}

impl History {
    pub fn new(seed: u64) -> Self {
        let now = "2026-11-01T09:00:00.123456Z".parse().unwrap();
        Self { dice: Dice::new(seed), now, products: BTreeMap::new(), slots: BTreeMap::new(), orders: BTreeMap::new(), holds: 0 }
    }

    /// Some more of it.
    pub fn go_on(&mut self, steps: usize) -> Groups {
        let mut groups = Vec::new();
        for _ in 0..steps {
            self.now += SignedDuration::from_millis(i64::try_from(self.dice.roll(30_000)).unwrap());
            match self.dice.roll(10) {
                0 => self.product(&mut groups),
                1 => self.open(&mut groups),
                2..=5 => self.slot(&mut groups),
                _ => self.order(&mut groups),
            }
        }
        groups
    }

    fn product(&mut self, groups: &mut Groups) {
        let id = ProductId::parse(&format!("p{}", self.dice.roll(20))).unwrap();
        let option_id = format!("o{}", self.dice.roll(4));
        let pools = [format!("pool{}", self.dice.roll(8)), format!("deck{}", self.dice.roll(3))];
        let command = match self.dice.roll(8) {
            0..=2 => draft("한강 유람선", SaleMode::Reservation, "Asia/Seoul"),
            3..=4 => ProductCommand::DefineOption(option(&option_id, &[&pools[0], &pools[1]])),
            5 => ProductCommand::WithdrawOption(OptionId::parse(&option_id).unwrap()),
            6 => ProductCommand::LaunchProduct,
            _ if self.dice.roll(2) == 0 => ProductCommand::SuspendProduct { reason: "태풍".into() },
            _ => ProductCommand::ResumeProduct,
        };
        decide(&mut self.products, id, &command, self.now, groups);
    }

    fn up_to(&mut self, most: u64) -> Quantity {
        Quantity::new(u32::try_from(self.dice.roll(most + 1)).unwrap())
    }

    fn open(&mut self, groups: &mut Groups) {
        let pool_id = PoolId::parse(&format!("pool{}", self.dice.roll(8))).unwrap();
        let starts_at = self.now.as_second() / 3_600 * 3_600 + 3_600 * i64::try_from(self.dice.roll(200) + 2).unwrap();
        let starts_at = Timestamp::from_second(starts_at).unwrap();
        let window = (self.dice.roll(5) > 0).then(|| Window { starts_at, ends_at: starts_at + SignedDuration::from_hours(1) });
        let capacity = self.up_to(29);
        let id = SlotId::of(&pool_id, window.map(|w| w.starts_at));
        decide(&mut self.slots, id, &SlotCommand::OpenSlot { pool_id, window, capacity }, self.now, groups);
    }

    fn slot(&mut self, groups: &mut Groups) {
        let Some(id) = self.any_slot() else { return };
        if self.dice.roll(2) == 0 {
            return self.slot_for_order(id, groups);
        }
        self.holds += 1;
        let recent = self.holds.saturating_sub(1 + self.dice.roll(20));
        let some = |number: u64| HoldId::parse(&format!("h{number}")).unwrap();
        let expires_at = self.now + SignedDuration::from_secs(i64::try_from(self.dice.roll(600) + 1).unwrap());
        let quantity = Quantity::ONE.saturating_add(self.up_to(2));
        // a hold's end is asked of the slot that has it, when there is one
        let holder = self.slots.iter().find(|(_, slot)| slot.hold(&some(recent)).is_some()).map(|(id, _)| id.clone());
        let (id, command) = match (self.dice.roll(12), holder) {
            (0, Some(id)) => (id, SlotCommand::ExtendHold { hold_id: some(recent), expires_at }),
            (1..=3, Some(id)) => (id, SlotCommand::ConfirmHold { hold_id: some(recent) }),
            (4, Some(id)) => (id, SlotCommand::ReleaseHold { hold_id: some(recent) }),
            (5, Some(id)) => (id, SlotCommand::ExpireHold { hold_id: some(recent) }),
            (6, _) => (id, SlotCommand::AdjustCapacity { capacity: self.up_to(39) }),
            (7, _) if self.dice.roll(6) == 0 => (id, SlotCommand::CloseSlot),
            (7, _) => (id, SlotCommand::SuspendSlot { reason: "점검".into() }),
            (8, _) => (id, SlotCommand::ResumeSlot),
            (9, _) => (id, SlotCommand::CancelUnits { hold_id: some(recent), quantity: Quantity::ONE }),
            // an id that was used before and is over may come again
            _ => (id, SlotCommand::HoldUnits { hold_id: some(if self.dice.roll(8) == 0 { recent } else { self.holds }), quantity, expires_at }),
        };
        decide(&mut self.slots, id, &command, self.now, groups);
    }

    /// As orders ask: for holds under their id, and then of the slot that has them.
    fn slot_for_order(&mut self, any: SlotId, groups: &mut Groups) {
        // few orders, so that each comes again before its holds lapse
        let order_id = OrderId::parse(&format!("order-{}", self.dice.roll(4))).unwrap();
        let expires_at = self.now + SignedDuration::from_secs(i64::try_from(self.dice.roll(600) + 1).unwrap());
        let quantity = Quantity::ONE.saturating_add(self.up_to(2));
        let slot_where = |is_it: &dyn Fn(&InventorySlot) -> bool| self.slots.iter().find(|(_, slot)| is_it(slot)).map(|(id, _)| id.clone());
        let (holder, seller) =
            (slot_where(&|slot| slot.hold(&HoldId::from(&order_id)).is_some()), slot_where(&|slot| slot.sold_to_orders() > Quantity::ZERO));
        let (id, command) = match (self.dice.roll(8), holder, seller) {
            (0..=2, Some(id), _) => (id, SlotCommand::ConfirmForOrder { order_id }),
            (3, Some(id), _) => (id, SlotCommand::ReleaseForOrder { order_id }),
            (4, _, Some(id)) => (id, SlotCommand::CancelForOrder { order_id, quantity: Quantity::ONE }),
            _ => (any, SlotCommand::HoldForOrder { order_id, quantity, expires_at }),
        };
        decide(&mut self.slots, id, &command, self.now, groups);
    }

    fn order(&mut self, groups: &mut Groups) {
        let Some(slot) = self.any_slot() else { return };
        let id = OrderId::parse(&format!("order-{}", self.dice.roll(200))).unwrap();
        let customer = CustomerRef::parse(&format!("customer-{}", self.dice.roll(7))).unwrap();
        let expires_at = self.now + SignedDuration::from_secs(600);
        let failure = LineFailure {
            line: 0,
            slot_id: slot.clone(),
            code: "SLOT_SOLD_OUT".into(),
            message: "매진".into(),
            details: BTreeMap::from([("available".into(), "0".into())]),
            retryable: false,
        };
        let command = match self.dice.roll(8) {
            0..=2 => OrderCommand::PlaceOrder { customer, lines: vec![line(&[&slot], 2)], hold_seconds: 600, personal: None },
            3..=4 => OrderCommand::RecordHold { expires_at },
            5 if self.dice.roll(3) == 0 => OrderCommand::RejectOrder { failures: vec![failure] },
            5 => OrderCommand::ConfirmOrder,
            6 => OrderCommand::CancelOrder { reason: "마음이 바뀌었다".into() },
            _ => OrderCommand::ExpireOrder,
        };
        decide(&mut self.orders, id, &command, self.now, groups);
    }

    fn any_slot(&mut self) -> Option<SlotId> {
        let count = u64::try_from(self.slots.len()).unwrap();
        if count == 0 {
            return None;
        }
        let at = usize::try_from(self.dice.roll(count)).unwrap();
        self.slots.keys().nth(at).cloned()
    }
}

/// What a command comes to on nothing: the first events of a stream.
pub fn first<A: AsAggregate>(commands: &[A::Command], now: Timestamp) -> Vec<AnyEvent> {
    let mut state = A::default();
    let mut all = Vec::new();
    for command in commands {
        for event in state.decide(command, now).unwrap() {
            state.apply(&event);
            all.push(A::wrap(event));
        }
    }
    all
}

fn decide<K, A>(states: &mut BTreeMap<K, A>, id: K, command: &A::Command, now: Timestamp, groups: &mut Groups)
where
    K: Ord + Clone,
    for<'a> StreamId: From<&'a K>,
    A: Decider + AsAggregate,
{
    let state = states.entry(id.clone()).or_default();
    let Ok(events) = state.decide(command, now) else { return };
    if events.is_empty() {
        return;
    }
    events.iter().for_each(|event| state.apply(event));
    groups.push((StreamId::from(&id), events.into_iter().map(A::wrap).collect(), now));
}
