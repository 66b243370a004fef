//! Keys and dates that no page gave and no calendar of ours has: the caller's fault, by name, and never an outage.

use jari_domain::{
    Quantity,
    ids::{PoolId, ProductId, SlotId},
    product::{Product, ProductCommand, SaleMode},
    slot::{InventorySlot, SlotCommand, Window},
};
use jari_proto::{
    availability::v1::{ListAvailabilityRequest, availability_service_server::AvailabilityService},
    product::v1::{ListProductsRequest, product_query_service_server::ProductQueryService},
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Request, Status};

use super::{
    history::{draft, first, option},
    place::{Node, Pencil, database, refused, settings},
};
use crate::{QueryError, paging};

fn invalid(code: &str) -> (Code, String) {
    (Code::InvalidArgument, code.to_owned())
}

/// A product by reservation with a slot at `starts_at`, and one from stock.
async fn shop(pencil: &mut Pencil, starts_at: Timestamp) -> SlotId {
    for (product, mode) in [("museum", SaleMode::Reservation), ("poster", SaleMode::Realtime)] {
        let commands =
            [draft("미술관", mode, "Asia/Seoul"), ProductCommand::DefineOption(option("entry", &[product])), ProductCommand::LaunchProduct];
        pencil.say(&ProductId::parse(product).unwrap(), first::<Product>(&commands, Timestamp::now())).await;
    }
    let pool_id = PoolId::parse("museum").unwrap();
    let id = SlotId::of(&pool_id, Some(starts_at));
    let window = Some(Window { starts_at, ends_at: starts_at + SignedDuration::from_secs(3_600) });
    pencil.say(&id, first::<InventorySlot>(&[SlotCommand::OpenSlot { pool_id, window, capacity: Quantity::new(5) }], Timestamp::now())).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn page_tokens_with_keys_that_no_row_has_are_refused_as_tokens() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    let starts_at: Timestamp = "2126-12-24T05:00:00Z".parse().unwrap();
    let slot = shop(&mut pencil, starts_at).await;
    node.caught_up().await;
    let products = |key: &'static str| {
        let page_token = paging::token(&("products".to_owned(), None::<String>), &key);
        node.products.list_products(Request::new(ListProductsRequest { page_token, ..ListProductsRequest::default() }))
    };
    assert_eq!(refused(products("\0").await), invalid("PAGE_TOKEN_INVALID"));
    assert_eq!(refused(products("museum\0").await), invalid("PAGE_TOKEN_INVALID"));
    let page = products("museum/another writer's").await.unwrap().into_inner();
    assert_eq!(page.products.iter().map(|product| product.product_id.as_str()).collect::<Vec<_>>(), ["poster"], "a key need not be an id");

    let slots = |product: &'static str, date: &'static str, page_token: String| {
        let asked = ListAvailabilityRequest { product_id: product.into(), first_date: date.into(), page_token, ..ListAvailabilityRequest::default() };
        node.availability.list_availability(Request::new(asked))
    };
    let stock = |key: &str| paging::token(&("slots", "poster", "", "", ""), &key);
    assert_eq!(refused(slots("poster", "", stock("\0")).await), invalid("PAGE_TOKEN_INVALID"));
    assert!(slots("poster", "", stock("poster@stock")).await.is_ok());
    let dated = |micros: i64, id: &str| paging::token(&("slots", "museum", "", "2126-12-24", ""), &(micros, id));
    let there = starts_at.as_microsecond();
    // beyond every calendar, beyond the database's, and outside of the day that was asked for
    for micros in [i64::MIN, i64::MAX, -377_705_023_000_000_000, there - 86_400_000_000, there + 86_400_000_000] {
        assert_eq!(refused(slots("museum", "2126-12-24", dated(micros, "x")).await), invalid("PAGE_TOKEN_INVALID"), "{micros}");
    }
    assert_eq!(refused(slots("museum", "2126-12-24", dated(there, "museum\0")).await), invalid("PAGE_TOKEN_INVALID"));
    let before = slots("museum", "2126-12-24", dated(there - 1, "x")).await.unwrap().into_inner();
    assert_eq!(before.slots.iter().map(|slot| slot.slot_id.as_str()).collect::<Vec<_>>(), [slot.as_str()]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_of_years_that_nobody_sells_in_are_refused_as_dates() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    shop(&mut pencil, "2126-12-24T05:00:00Z".parse().unwrap()).await;
    node.caught_up().await;
    let days = |first: &'static str, last: &'static str| {
        let (first_date, last_date) = (first.into(), last.into());
        let asked = ListAvailabilityRequest { product_id: "museum".into(), first_date, last_date, ..ListAvailabilityRequest::default() };
        node.availability.list_availability(Request::new(asked))
    };
    for (first, last) in
        [("-005000-01-01", ""), ("-004713-01-01", ""), ("0000-01-01", ""), ("-009999-01-01", "-009999-01-02"), ("0001-01-01", "-000001-01-01")]
    {
        assert_eq!(refused(days(first, last).await), invalid("DATE_RANGE_INVALID"), "{first} {last}");
    }
    for (first, last) in [("0001-01-01", ""), ("9999-12-01", "9999-12-30")] {
        assert_eq!(days(first, last).await.unwrap().into_inner().slots.len(), 0, "{first} {last}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_database_cannot_take_is_no_outage() {
    let client = database().await.connection().await.unwrap();
    let told = |error: tokio_postgres::Error| refused::<()>(Err(Status::from(QueryError::from(error))));
    for sql in ["SELECT $1::text", "SELECT $1::text::timestamptz"] {
        assert_eq!(told(client.query_one(sql, &[&"-5000-01-01\0"]).await.unwrap_err()), invalid("REQUEST_INVALID"), "{sql}");
    }
    assert_eq!(told(client.query_one("SELECT $1::text::timestamptz", &[&"soon"]).await.unwrap_err()), invalid("REQUEST_INVALID"));
    assert_eq!(told(client.query_one("SELECT FROM nowhere", &[]).await.unwrap_err()), (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned()));
}
