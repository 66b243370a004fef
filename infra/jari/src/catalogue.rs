//! A catalogue in YAML: products, options, the slots of the coming days, and stock.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use jari_commands::{
    booking::OneStream,
    engine::{Engine, Origin},
};
use jari_domain::{
    Currency, Money, Quantity, Timestamp,
    ids::{OptionId, PoolId, ProductId, SlotId, UnitId},
    product::{Draw, Product, ProductCommand, ProductOption, SaleMode, Unit},
    slot::{InventorySlot, SlotCommand, Window},
};
use jari_event_store::CommandKey;
use serde::Deserialize;

/// Most days for which slots are opened at once.
const MAX_DAYS: u32 = 366;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    products: Vec<ProductEntry>,
    pools: Vec<PoolEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductEntry {
    id: String,
    title: String,
    sale_mode: SaleMode,
    time_zone: String,
    currency: String,
    hold_seconds: u32,
    #[serde(default)]
    cut_off_seconds: u32,
    options: Vec<OptionEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionEntry {
    id: String,
    title: String,
    units: Vec<UnitEntry>,
    /// Units of capacity a head, by pool.
    draws: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitEntry {
    id: String,
    title: String,
    price: u64,
    #[serde(default = "one")]
    heads: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolEntry {
    id: String,
    capacity: Quantity,
    /// Absent for stock.
    daily: Option<Daily>,
}

/// Slots at the same local times on each of the coming days.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Daily {
    time_zone: String,
    days_ahead: u32,
    starts: Vec<String>,
    minutes: u32,
}

/// What was put on sale.
#[derive(Debug, Clone, Copy, Default)]
pub struct Put {
    /// New products.
    pub products: usize,
    /// New slots.
    pub slots: usize,
}

/// Reads a catalogue, and sees to it that what it names is in it.
///
/// # Errors
/// Where it is not one, with line and column, or what does not fit together, by name.
pub fn read(text: &str) -> anyhow::Result<Catalogue> {
    let catalogue: Catalogue = serde_saphyr::from_str(text)?;
    catalogue.check()?;
    Ok(catalogue)
}

/// The first of `ids` that was there before.
fn twice<'a>(ids: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    let mut ids = ids;
    ids.find(|id| !seen.insert(*id))
}

impl Catalogue {
    /// What the domain cannot see, since it takes one command at a time.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(id) = twice(self.products.iter().map(|product| &product.id)).or_else(|| twice(self.pools.iter().map(|pool| &pool.id))) {
            bail!("{id} is there twice");
        }
        for pool in &self.pools {
            pool.check().with_context(|| format!("pool {}", pool.id))?;
        }
        for product in &self.products {
            jiff::tz::TimeZone::get(&product.time_zone).with_context(|| format!("product {}", product.id))?;
            if let Some(id) = twice(product.options.iter().map(|option| &option.id)) {
                bail!("product {}: option {id} is there twice", product.id);
            }
            for (option, pool) in product.options.iter().flat_map(|option| option.draws.keys().map(move |pool| (option, pool))) {
                let place = format!("product {}, option {}", product.id, option.id);
                let Some(known) = self.pools.iter().find(|known| known.id == *pool) else { bail!("{place}: there is no pool {pool}") };
                match (product.sale_mode, &known.daily) {
                    (SaleMode::Realtime, Some(_)) => bail!("{place}: {pool} has times, and a REALTIME product is sold from stock"),
                    (SaleMode::Reservation, None) => bail!("{place}: {pool} is stock, and a RESERVATION product is sold for a time"),
                    (SaleMode::Realtime, None) | (SaleMode::Reservation, Some(_)) => {}
                }
            }
        }
        Ok(())
    }
}

impl Catalogue {
    /// Puts everything on sale that is not yet: a catalogue may be given at each start, and opens the days that have come into reach.
    ///
    /// # Errors
    /// An entry that the domain refuses.
    pub async fn put_on_sale(&self, engine: &Engine, now: Timestamp) -> anyhow::Result<Put> {
        let mut put = Put::default();
        for entry in &self.products {
            let product = ProductId::parse(&entry.id).with_context(|| entry.id.clone())?;
            let mut created = false;
            for command in entry.commands().with_context(|| format!("product {}", entry.id))? {
                let drafting = matches!(command, ProductCommand::DraftProduct { .. });
                let outcome = engine.execute(OneStream::<Product>::on("load_catalogue", &product, command), own()).await?;
                match outcome.refusal {
                    Some(refusal) if drafting && refusal.code == "PRODUCT_EXISTS" => break,
                    Some(refusal) => bail!("product {}: {} {}", entry.id, refusal.code, refusal.message),
                    None => created = true,
                }
            }
            put.products += usize::from(created);
        }
        let mut openings = Vec::new();
        for entry in &self.pools {
            let pool_id = PoolId::parse(&entry.id).with_context(|| entry.id.clone())?;
            for window in entry.windows(now).with_context(|| format!("pool {}", entry.id))? {
                let slot = SlotId::of(&pool_id, window.map(|w| w.starts_at));
                let command = SlotCommand::OpenSlot { pool_id: pool_id.clone(), window, capacity: entry.capacity };
                let work = OneStream::<InventorySlot>::on("load_catalogue", &slot, command);
                openings.push(async move { (slot, engine.execute(work, own()).await) });
            }
        }
        for (slot, outcome) in futures::future::join_all(openings).await {
            match outcome?.refusal {
                Some(refusal) if refusal.code == "SLOT_EXISTS" => {}
                Some(refusal) => bail!("slot {slot}: {} {}", refusal.code, refusal.message),
                None => put.slots += 1,
            }
        }
        Ok(put)
    }
}

fn own() -> Origin {
    Origin { key: Some(CommandKey { caller: "catalogue".into(), id: uuid::Uuid::now_v7() }), actor: Some("catalogue".into()), ..Origin::default() }
}

impl ProductEntry {
    fn commands(&self) -> anyhow::Result<Vec<ProductCommand>> {
        let currency = Currency::parse(&self.currency)?;
        let mut commands = vec![ProductCommand::DraftProduct {
            title: self.title.clone(),
            sale_mode: self.sale_mode,
            time_zone: self.time_zone.clone(),
            currency,
            hold_seconds: self.hold_seconds,
            cut_off_seconds: self.cut_off_seconds,
        }];
        for option in &self.options {
            let unit = |unit: &UnitEntry| -> anyhow::Result<Unit> {
                let price = Money { minor: unit.price, currency };
                Ok(Unit { unit_id: UnitId::parse(&unit.id)?, title: unit.title.clone(), price, heads: unit.heads })
            };
            let draw =
                |(pool, per_head): (&String, &u32)| -> anyhow::Result<Draw> { Ok(Draw { pool_id: PoolId::parse(pool)?, per_head: *per_head }) };
            commands.push(ProductCommand::DefineOption(ProductOption {
                option_id: OptionId::parse(&option.id)?,
                title: option.title.clone(),
                units: option.units.iter().map(unit).collect::<anyhow::Result<_>>()?,
                draws: option.draws.iter().map(draw).collect::<anyhow::Result<_>>()?,
            }));
        }
        commands.push(ProductCommand::LaunchProduct);
        Ok(commands)
    }
}

impl PoolEntry {
    /// Whether slots can be made of it: what it says of times is right, and not too much.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(daily) = self.daily.as_ref().filter(|daily| daily.days_ahead > MAX_DAYS || daily.minutes == 0) {
            bail!("days_ahead is at most {MAX_DAYS} and minutes are at least 1, not {} and {}", daily.days_ahead, daily.minutes);
        }
        if let Some(start) = self.daily.as_ref().and_then(|daily| twice(daily.starts.iter())) {
            bail!("it starts twice at {start}");
        }
        self.windows(Timestamp::UNIX_EPOCH).map(|_| ())
    }

    /// The slots from now on; those that have started are past.
    fn windows(&self, now: Timestamp) -> anyhow::Result<Vec<Option<Window>>> {
        let Some(daily) = &self.daily else { return Ok(vec![None]) };
        let zone = jiff::tz::TimeZone::get(&daily.time_zone)?;
        let today = zone.to_datetime(now).date();
        let mut windows = Vec::new();
        for ahead in 0..daily.days_ahead {
            let day = today.checked_add(jiff::Span::new().days(i64::from(ahead)))?;
            for start in &daily.starts {
                let time = jiff::civil::Time::strptime("%H:%M", start).with_context(|| format!("{start:?} is not a time as in 09:30"))?;
                let starts_at = zone.to_timestamp(day.to_datetime(time))?;
                let ends_at = starts_at.checked_add(jiff::SignedDuration::from_mins(i64::from(daily.minutes)))?;
                if starts_at > now {
                    windows.push(Some(Window { starts_at, ends_at }));
                }
            }
        }
        Ok(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_catalogue_reads_and_opens_days_ahead() {
        let catalogue = read(include_str!("../../../examples/catalogue.yaml")).unwrap();
        let now = "2026-11-23T03:00:00Z".parse().unwrap();
        assert!(catalogue.products.len() >= 4);
        for product in &catalogue.products {
            product.commands().unwrap();
        }
        let slots: usize = catalogue.pools.iter().map(|pool| pool.windows(now).unwrap().len()).sum();
        assert!(slots > 50, "{slots}");
    }

    #[test]
    fn a_key_that_is_not_known_is_told_with_its_place() {
        let error = read("products: []\npools: []\nprodcts: 1\n").unwrap_err().to_string();
        assert!(error.contains("prodcts"), "{error}");
    }

    #[test]
    fn what_does_not_fit_together_is_named_before_anything_is_sold() {
        let example = include_str!("../../../examples/catalogue.yaml");
        for (from, to, expected) in [
            ("draws: { posters: 1 }", "draws: { poster: 1 }", "product souvenirs, option poster: there is no pool poster"),
            ("draws: { posters: 1 }", "draws: { gallery: 1 }", "gallery has times"),
            ("ferry-deck: 1, ferry-vehicles: 1", "ferry-deck: 1, posters: 1", "posters is stock"),
            ("- id: magnets", "- id: posters", "posters is there twice"),
            ("- id: special\n", "- id: general\n", "option general is there twice"),
            ("\"08:30\"", "\"8.30\"", "\"8.30\" is not a time"),
            ("\"08:30\"", "\"13:00\"", "starts twice at 13:00"),
            ("days_ahead: 14", "days_ahead: 400", "days_ahead is at most 366"),
            ("time_zone: Asia/Seoul\n", "time_zone: Asia/Soul\n", "Asia/Soul"),
        ] {
            assert!(example.contains(from), "{from}");
            let error = format!("{:#}", read(&example.replacen(from, to, 1)).expect_err(to));
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn slots_follow_the_local_clock_across_a_change_of_time() {
        let daily = Daily { time_zone: "Europe/Paris".into(), days_ahead: 3, starts: vec!["09:00".into()], minutes: 60 };
        let pool = PoolEntry { id: "p".into(), capacity: Quantity::ONE, daily: Some(daily) };
        // Summer time ends in the night to the 25th; the first slot of the day in which now lies is past.
        let windows = pool.windows("2026-10-24T08:00:00Z".parse().unwrap()).unwrap();
        let starts: Vec<String> = windows.into_iter().map(|window| window.unwrap().starts_at.to_string()).collect();
        assert_eq!(starts, ["2026-10-25T08:00:00Z", "2026-10-26T08:00:00Z"]);
        let today = pool.windows("2026-10-24T06:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(today[0].unwrap().starts_at.to_string(), "2026-10-24T07:00:00Z", "still summer");
    }
}
