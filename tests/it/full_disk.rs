//! A database that answers, and takes nothing: time mends it, so nobody is told that it never will be.

use std::time::Duration;

use jari_proto::{
    order::v1::{OrderState, PlaceOrderRequest},
    status::reason,
};

use crate::{
    harness::{database, eventually},
    raw::client,
    serving::{Serving, draft, id, order},
};

/// There is room for an order that is accepted, and for nothing else while a code stands in `disk`.
const DISK: &str = "
    CREATE TABLE disk (says text);
    INSERT INTO disk VALUES (NULL);
    CREATE FUNCTION find_room() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    DECLARE
        code text := (SELECT says FROM disk);
    BEGIN
        IF code IS NOT NULL THEN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = code;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER disk BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.event_type <> 'OrderPlaced') EXECUTE FUNCTION find_room();";

/// Whether somebody who comes now is told to come back. Who comes in between two tries is let in, and waits; nobody is told that it cannot be.
async fn is_sent_away(shop: &Serving) -> bool {
    let mut products = shop.products();
    match tokio::time::timeout(Duration::from_secs(1), products.create_product(draft(&id()))).await {
        Ok(answer) => {
            let refused = answer.expect_err("there is no room for it");
            assert_eq!(reason(&refused).as_deref(), Some("LOG_UNAVAILABLE"), "{refused:?}");
            true
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_sends_callers_away_parks_no_order_and_all_are_settled_when_there_is_room() {
    let shop = Serving::on(database().await, |_| {}).await;
    shop.on_sale("poster", 10).await;
    let disk = client(&shop.database).await;
    disk.batch_execute(DISK).await.unwrap();
    for (round, code) in ["53100", "53200", "53300", "58030"].into_iter().enumerate() {
        disk.execute("UPDATE disk SET says = $1", &[&code]).await.unwrap();
        let place = order(&[("poster", 1)]);
        let accepted = shop.orders().place_order(PlaceOrderRequest { wait: None, ..place.clone() }).await.unwrap().into_inner().order.unwrap();
        assert_eq!(accepted.state(), OrderState::Accepted);
        eventually("callers are told to come back", || is_sent_away(&shop)).await;
        let parked = disk.query("SELECT code, message FROM parked_work", &[]).await.unwrap();
        assert!(parked.is_empty(), "{code}: {}", parked[0].get::<_, String>(1));
        disk.execute("UPDATE disk SET says = NULL", &[]).await.unwrap();
        let held = shop.orders().place_order(place).await;
        let held = match held {
            Err(status) if reason(&status).as_deref() == Some("LOG_UNAVAILABLE") => None,
            told => Some(told.unwrap().into_inner().order.unwrap().state()),
        };
        assert!(held.is_none_or(|state| state == OrderState::Held), "{held:?}");
        let settled = "SELECT count(*) FROM events WHERE event_type = 'OrderHeld'";
        let settled = async || disk.query_one(settled, &[]).await.unwrap().get::<_, i64>(0);
        eventually("the order is held", async || settled().await == round as i64 + 1).await;
        assert!(disk.query("SELECT 1 FROM parked_work", &[]).await.unwrap().is_empty(), "{code}");
    }
    shop.node.stop().await;
}
