//! `AvailabilityService`.

use std::{ops::RangeInclusive, time::SystemTime};

use jari_domain::{
    Decider, Position,
    ids::{OptionId, ProductId, SlotId},
    product::{ProductError, SaleMode},
    slot::{InventorySlot, SlotError, SlotStatus},
};
use jari_proto::{
    availability::v1::{
        self as wire, GetSlotRequest, GetSlotResponse, ListAvailabilityRequest, ListAvailabilityResponse, SlotState,
        availability_service_server::AvailabilityService,
    },
    r#type::v1::{Counts, Window},
};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use tonic::{Request, Response, Status};

use crate::{
    paging,
    reading::{Answer, Fields, Wanted},
    refusal::{DATE_RANGE_INVALID, QueryError},
    rows::instant,
    runner::Views,
    views::availability::{Availability, FIND_PRODUCT, GET_SLOT, LIST_SLOTS, LIST_STOCK},
};

/// Days of a list.
const MOST_DAYS: i32 = 31;
/// Years that a date may name, as its four digits do; the database's own calendar begins elsewhere than ours.
const YEARS: RangeInclusive<i16> = 1..=9_999;
/// Slots of a page when the caller does not say.
const USUAL_SLOTS: i32 = 200;

/// Answers from the view `availability`.
#[derive(Debug, Clone)]
pub struct AvailabilityQueries {
    views: Views,
}

impl AvailabilityQueries {
    /// Answers from `views`.
    #[must_use]
    pub fn new(views: Views) -> Self {
        Self { views }
    }
}

/// The filters of a list, as its tokens hold them.
type Query = (String, String, String, String, String);

#[tonic::async_trait]
impl AvailabilityService for AvailabilityQueries {
    async fn list_availability(&self, request: Request<ListAvailabilityRequest>) -> Result<Response<ListAvailabilityResponse>, Status> {
        let asked = request.get_ref();
        let wanted = self.views.wanted(asked.min_position, request.metadata())?;
        let size = paging::size(asked.page_size, USUAL_SLOTS)?;
        let product_id = ProductId::parse(&asked.product_id).map_err(|e| QueryError::id("product_id", &e))?;
        let option_id = Some(&*asked.option_id).filter(|id| !id.is_empty()).map(OptionId::parse).transpose();
        let option_id = option_id.map_err(|e| QueryError::id("option_id", &e))?;
        let query = ("slots".into(), asked.product_id.clone(), asked.option_id.clone(), asked.first_date.clone(), asked.last_date.clone());

        let (zone, position) = self.zone(&product_id, option_id.as_ref(), wanted).await?;
        // what the product was read from, the slots must have seen, too
        let wanted = Wanted { position, ..wanted };
        let page = match zone {
            Some(zone) => self.dated(&query, days(&asked.first_date, &asked.last_date, &zone)?, size, &asked.page_token, wanted).await?,
            None if asked.first_date.is_empty() && asked.last_date.is_empty() => self.stock(&query, size, &asked.page_token, wanted).await?,
            None => return Err(dates("first_date", "must be empty: the product is sold from stock").into()),
        };
        Ok(Response::new(page))
    }

    async fn get_slot(&self, request: Request<GetSlotRequest>) -> Result<Response<GetSlotResponse>, Status> {
        let wanted = self.views.wanted(request.get_ref().min_position, request.metadata())?;
        let id = SlotId::parse(&request.get_ref().slot_id).map_err(|e| QueryError::id("slot_id", &e))?;
        let answer = self.views.read_one(&Availability, wanted, GET_SLOT, &[&id.as_str(), &instant(self.views.now())]).await?;
        answer.must_be_whole(InventorySlot::TYPE)?;
        let rows = answer.rows()?;
        let row = rows.first().ok_or_else(|| QueryError::domain(&SlotError::NotFound))?;
        Ok(Response::new(GetSlotResponse { slot: Some(slot(*row)?), position: answer.position.to_i64() }))
    }
}

impl AvailabilityQueries {
    /// The zone in which the product's days are counted, `None` for one that is sold from stock; and the position of the answer.
    async fn zone(&self, product_id: &ProductId, option_id: Option<&OptionId>, wanted: Wanted) -> Result<(Option<TimeZone>, Position), QueryError> {
        let option = option_id.map_or("", OptionId::as_str);
        let answer = self.views.read_one(&Availability, wanted, FIND_PRODUCT, &[&product_id.as_str(), &option]).await?;
        answer.must_be_whole(jari_domain::product::Product::TYPE)?;
        let rows = answer.rows()?;
        let row = rows.first().ok_or_else(|| QueryError::domain(&ProductError::NotFound))?;
        if let Some(option_id) = option_id
            && !row.get::<bool>(3)?
        {
            return Err(QueryError::domain(&ProductError::OptionNotFound { option_id: option_id.clone() }));
        }
        match row.word(1, SaleMode::parse)? {
            SaleMode::Realtime => return Ok((None, answer.position)),
            SaleMode::Reservation => {}
        }
        let name: &str = row.get(2)?;
        let zone = TimeZone::get(name).map_err(|_| QueryError::TimeZoneUnknown { time_zone: name.to_owned() })?;
        Ok((Some(zone), answer.position))
    }

    async fn dated(
        &self,
        query: &Query,
        (from, to): (Timestamp, Timestamp),
        size: i32,
        token: &str,
        wanted: Wanted,
    ) -> Result<ListAvailabilityResponse, QueryError> {
        let after: Option<(i64, String)> = paging::after(query, token)?;
        let (after_at, after_id) = match after {
            Some((micros, id)) => {
                let at = Timestamp::from_microsecond(micros).ok().filter(|at| (from..to).contains(at));
                (at.ok_or_else(paging::not_ours)?, id)
            }
            None => (from, String::new()),
        };
        let [from_text, to_text] = [from, to].map(|at| at.strftime("%Y%m%dT%H%M%SZ").to_string());
        let (from, to, after_at, now) = (instant(from), instant(to), instant(after_at), instant(self.views.now()));
        let limit = i64::from(size) + 1;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 10] =
            [&query.1, &query.2, &from, &to, &after_at, &after_id, &now, &limit, &from_text, &to_text];
        let answer = self.views.read(&Availability, wanted, LIST_SLOTS, &parameters).await?;
        page(&answer, size, |row| {
            let starts_at: SystemTime = row.get(2)?;
            let micros = Timestamp::try_from(starts_at).map(Timestamp::as_microsecond).unwrap_or(0);
            Ok(paging::token(query, &(micros, row.get::<&str>(0)?)))
        })
    }

    async fn stock(&self, query: &Query, size: i32, token: &str, wanted: Wanted) -> Result<ListAvailabilityResponse, QueryError> {
        let after: String = paging::after(query, token)?.unwrap_or_default();
        let (now, limit) = (instant(self.views.now()), i64::from(size) + 1);
        let answer = self.views.read(&Availability, wanted, LIST_STOCK, &[&query.1, &query.2, &after, &now, &limit]).await?;
        page(&answer, size, |row| Ok(paging::token(query, &row.get::<&str>(0)?)))
    }
}

fn page(answer: &Answer, size: i32, token: impl Fn(Fields<'_>) -> Result<String, QueryError>) -> Result<ListAvailabilityResponse, QueryError> {
    answer.must_be_whole(InventorySlot::TYPE)?;
    let mut rows = answer.rows()?;
    let size = usize::try_from(size).unwrap_or(0);
    let more = rows.len() > size;
    rows.truncate(size);
    let next_page_token = match rows.last() {
        Some(last) if more => token(*last)?,
        _ => String::new(),
    };
    let slots = rows.into_iter().map(slot).collect::<Result<_, _>>()?;
    Ok(ListAvailabilityResponse { slots, next_page_token, position: answer.position.to_i64() })
}

/// `None` before it was opened.
fn state(status: SlotStatus) -> Option<SlotState> {
    match status {
        SlotStatus::Absent => None,
        SlotStatus::Open => Some(SlotState::Open),
        SlotStatus::Suspended => Some(SlotState::Suspended),
        SlotStatus::Closed => Some(SlotState::Closed),
    }
}

/// Columns in the order of `get_slot.sql`.
fn slot(row: Fields<'_>) -> Result<wire::Slot, QueryError> {
    let state = row.word(4, |word| SlotStatus::parse(word).and_then(state))?;
    let (starts_at, ends_at) = (row.time(2)?, row.time(3)?);
    let (capacity, recorded, confirmed): (i32, i32, i32) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let lapsed = row.get::<Option<i64>>(8)?.unwrap_or(0);
    let held = recorded.saturating_sub(i32::try_from(lapsed).unwrap_or(i32::MAX)).max(0);
    let available = capacity.saturating_sub(held).saturating_sub(confirmed).max(0);
    Ok(wire::Slot {
        slot_id: row.get(0)?,
        pool_id: row.get(1)?,
        window: starts_at.is_some().then_some(Window { starts_at, ends_at }),
        state: state.into(),
        counts: Some(Counts { capacity, held, confirmed, available }),
        earliest_hold_expires_at: row.time(9)?,
    })
}

fn dates(field: &'static str, what: &str) -> QueryError {
    QueryError::Field { field, code: DATE_RANGE_INVALID, what: what.to_owned() }
}

/// From the first instant of the first day to the first after the last day, in `zone`. A day there may have 23 or 25 hours.
fn days(first: &str, last: &str, zone: &TimeZone) -> Result<(Timestamp, Timestamp), QueryError> {
    let read = |field, text: &str| -> Result<Date, QueryError> {
        let date: Option<Date> = text.parse().ok().filter(|date: &Date| date.to_string() == text && YEARS.contains(&date.year()));
        date.ok_or_else(|| dates(field, "must be a date, YYYY-MM-DD"))
    };
    let from = read("first_date", first)?;
    let to = if last.is_empty() { from } else { read("last_date", last)? };
    let spanned = from.until(to).map_or(i32::MAX, |span| span.get_days());
    if !(0..MOST_DAYS).contains(&spanned) {
        return Err(dates("last_date", "must not be before first_date, and at most 31 days are listed"));
    }
    let begin = |date: Date| date.to_zoned_datetime(zone.clone()).and_then(|day| day.start_of_day()).map(|day| day.timestamp());
    let after = to.checked_add(1.day());
    match (begin(from), after.and_then(begin)) {
        (Ok(from), Ok(to)) => Ok((from, to)),
        _ => Err(dates("first_date", "is beyond the calendar")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_are_counted_in_the_zone_of_the_product() {
        let seoul = TimeZone::get("Asia/Seoul").unwrap();
        assert_eq!(days("2026-12-24", "", &seoul).unwrap(), (at("2026-12-23T15:00:00Z"), at("2026-12-24T15:00:00Z")));
        let paris = TimeZone::get("Europe/Paris").unwrap();
        // the clocks go forward on 29 March: the day has 23 hours
        assert_eq!(days("2026-03-29", "2026-03-29", &paris).unwrap(), (at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z")));
    }

    #[test]
    fn date_ranges_that_make_no_sense_are_refused() {
        let utc = TimeZone::UTC;
        assert!(days("2026-12-01", "2026-12-31", &utc).is_ok());
        assert!(days("0001-01-01", "", &utc).is_ok() && days("9999-12-01", "9999-12-29", &utc).is_ok());
        for (first, last) in [
            ("", ""),
            ("2026-12-01", "2027-01-01"),
            ("2026-12-02", "2026-12-01"),
            ("20261201", ""),
            ("2026-13-01", ""),
            ("9999-12-31", ""),
            ("-005000-01-01", ""),
            ("0000-12-31", ""),
            ("-000001-12-31", "0001-01-02"),
        ] {
            let refusal = Status::from(days(first, last, &utc).unwrap_err());
            assert_eq!(jari_proto::status::reason(&refusal).as_deref(), Some("DATE_RANGE_INVALID"), "{first} {last}");
        }
    }
}
