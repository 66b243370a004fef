//! Personal data: sealed wherever it is kept, opened in answers, and gone everywhere once its key is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_event_store::{Database, PoolSettings, migrate};
use jari_kafka::PrivateKafka;
use jari_postgres::{Lifetime, PrivatePostgres};
use jari_proto::{
    operations::v1::{GetStatusRequest, RelayState},
    order::v1::{Contact, Guest, ListOrdersRequest, OrderState, PersonalDataState, PlaceOrderRequest, WatchOrderRequest, WatchUntil},
    status::{reason, retry_after},
    subject::v1::EraseSubjectRequest,
};
use jari_sealing::{ErasureList, SealerSettings, SealingError};
use tonic::Code;

use crate::{
    harness::{database, eventually},
    keys::{Keys, WORDS, only, personal, readable, search},
    serving::{Serving, id, order},
};

/// Stands in the clear, so that the search is known to find what is there. Shares no piece with anything around it, by which a compressed topic could
/// break it up.
const CUSTOMER: &str = "Xq7-vW2-kZ9-jP4";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_after_an_erasure_is_sealed_under_a_new_key_on_every_node() {
    let (keys, log) = (Keys::new().await, database().await);
    let one = keys.serve(log.clone()).await;
    let other = keys.serve(log).await;
    one.on_sale("poster", 100).await;
    let before = one.place(personal("poster", "customer-9")).await;
    assert_eq!(one.persons(&before).await, Some(readable()));
    assert!(other.erase("customer-9").await.had_personal_data);
    // at once, on the node that used the key a moment ago and was not asked to erase it
    let after = one.place(personal("poster", "customer-9")).await;
    for shop in [&other, &one] {
        assert_eq!(shop.persons(&after).await, Some(readable()), "it was acknowledged, and is kept");
    }
    assert_eq!(other.persons(&before).await, Some(only(PersonalDataState::Erased)));
    eventually("the first node has let the old key go", || async { one.persons(&before).await == Some(only(PersonalDataState::Erased)) }).await;
    assert_eq!(one.persons(&after).await, Some(readable()));
    for shop in [one, other] {
        let status = shop.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner().keys.unwrap();
        assert!(status.enabled && status.answers, "{status:?}");
        shop.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_in_answers_and_stands_in_no_file_in_the_clear() {
    let server = PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap();
    let kafka = PrivateKafka::temporary(&std::env::temp_dir().join("jari-test-programs"), None).await.unwrap();
    let log = Database::new(server.access().superuser.clone(), PoolSettings::patient()).unwrap();
    migrate(&log, None).await.unwrap();
    let keys = Keys::at(server.access().keys.clone());
    let mut shop = keys.serve(log.clone()).await;
    shop.node.relay_to(&kafka.brokers());
    shop.on_sale("poster", 100).await;

    let placed = shop.orders().place_order(personal("poster", CUSTOMER)).await.unwrap().into_inner().order.unwrap();
    assert_eq!((placed.state(), placed.personal_data.as_ref()), (OrderState::Held, Some(&readable())));
    let plain = shop.place(PlaceOrderRequest { customer: CUSTOMER.into(), ..order(&[("poster", 1)]) }).await;
    assert_eq!(shop.persons(&placed.order_id).await, Some(readable()));
    assert_eq!(shop.persons(&plain).await, None);
    let list = ListOrdersRequest { customer: CUSTOMER.into(), ..ListOrdersRequest::default() };
    let orders = shop.order_queries().list_orders(list).await.unwrap().into_inner().orders;
    assert_eq!(orders.iter().map(|order| order.personal_data.clone()).collect::<Vec<_>>(), [None, Some(readable())]);
    let watch = WatchOrderRequest { order_id: placed.order_id.clone(), until: WatchUntil::Settled.into(), min_position: 0 };
    let watched = shop.order_queries().watch_order(watch).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(watched.order.unwrap().personal_data, Some(readable()));

    eventually("everything is relayed", || async {
        let status = shop.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        let relay = status.relay.unwrap();
        relay.state() == RelayState::Running && relay.position == status.log.unwrap().head_position
    })
    .await;
    let everywhere = |when: &'static str| {
        let (log, folders) = (log.clone(), [server.folder().root().to_owned(), kafka.folder().root().to_owned(), keys.folder.path().to_owned()]);
        async move {
            log.connection().await.unwrap().batch_execute("CHECKPOINT").await.unwrap();
            let known: usize = folders.iter().map(|folder| search(folder, &[CUSTOMER]).len()).sum();
            assert_eq!(known, 2, "{when}: the search finds what stands in the clear, in PostgreSQL's files and in Kafka's");
            for folder in folders {
                assert!(search(&folder, &WORDS).is_empty(), "{when}: {:?} in {}", search(&folder, &WORDS), folder.display());
            }
        }
    };
    everywhere("while it can be read").await;

    let erased = shop.erase(CUSTOMER).await;
    assert!(erased.had_personal_data && erased.erased_at.is_some());
    assert_eq!(shop.persons(&placed.order_id).await, Some(only(PersonalDataState::Erased)));
    shop.node.stop().await;
    let shop = keys.serve(log.clone()).await;
    assert_eq!(shop.persons(&placed.order_id).await, Some(only(PersonalDataState::Erased)), "after a restart");
    let stop = tokio_util::sync::CancellationToken::new();
    jari_projections::rebuild(&log, "orders", |_| {}, &stop).await.unwrap();
    eventually("the view that was made anew answers", || async { shop.persons(&placed.order_id).await == Some(only(PersonalDataState::Erased)) })
        .await;
    everywhere("after the erasure").await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_known_by_its_contact_and_after_the_erasure_by_the_rest() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = keys.serve(log.clone()).await;
    shop.on_sale("poster", 100).await;
    let first = personal("poster", "customer-1");
    let order_id = shop.place(first.clone()).await;
    assert_eq!(shop.place(first.clone()).await, order_id, "sealed anew, and the same command all the same");
    let other_contact = PlaceOrderRequest { contact: Some(Contact { name: "Somebody Else".into(), ..Contact::default() }), ..first.clone() };
    let without = PlaceOrderRequest { contact: None, guests: vec![], ..first.clone() };
    let other_guest = PlaceOrderRequest { guests: vec![], ..first.clone() };
    for other in [other_contact, without.clone(), other_guest] {
        let refused = shop.orders().place_order(other).await.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some("COMMAND_ID_REUSED"));
    }
    let events = shop.log().await.len();
    assert!(shop.erase("customer-1").await.had_personal_data);
    // the outcome is known from memory, then from the database
    assert_eq!(shop.place(first.clone()).await, order_id);
    shop.node.stop().await;
    let shop = keys.serve(log).await;
    assert_eq!(shop.place(first.clone()).await, order_id);
    for other in [without, PlaceOrderRequest { customer: "customer-2".into(), ..first }] {
        let refused = shop.orders().place_order(other).await.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some("COMMAND_ID_REUSED"), "the rest is compared as ever");
    }
    assert_eq!(shop.log().await.len(), events, "no repeat wrote anything");
    assert_eq!(shop.persons(&order_id).await, Some(only(PersonalDataState::Erased)));
    let again = shop.place(personal("poster", "customer-1")).await;
    assert_eq!(shop.persons(&again).await, Some(readable()), "who comes back gets a new key");
    assert_eq!(shop.persons(&order_id).await, Some(only(PersonalDataState::Erased)), "which opens nothing from before");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_done_once_and_is_seen_by_every_node_within_seconds() {
    let (keys, log) = (Keys::new().await, database().await);
    let (one, two) = (keys.serve(log.clone()).await, keys.serve(log).await);
    one.on_sale("poster", 100).await;
    let order_id = one.place(personal("poster", "customer-1")).await;
    let kept = one.place(personal("poster", "customer-2")).await;
    assert_eq!(two.persons(&order_id).await, Some(readable()));
    let erase = EraseSubjectRequest { request_id: id(), subject: "customer-1".into() };
    let at_once = (0..8).map(|n| {
        let (mut subjects, erase) = (if n % 2 == 0 { one.subjects() } else { two.subjects() }, erase.clone());
        async move { subjects.erase_subject(erase).await.unwrap().into_inner() }
    });
    let told = futures::future::join_all(at_once).await;
    assert!(told.iter().all(|answer| *answer == told[0] && answer.had_personal_data), "one erasure, told to all who asked for it: {told:?}");
    for node in [&one, &two] {
        eventually("the key is let go", || async { node.persons(&order_id).await == Some(only(PersonalDataState::Erased)) }).await;
        assert_eq!(node.persons(&kept).await, Some(readable()), "nobody else is touched");
    }
    let other = EraseSubjectRequest { subject: "customer-2".into(), ..erase };
    let refused = two.subjects().erase_subject(other).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::AlreadyExists, Some("ERASURE_ID_REUSED")));
    assert!(!one.erase("customer-1").await.had_personal_data && !one.erase("nobody").await.had_personal_data, "nothing to erase is no error");
    assert_eq!(ErasureList::new(keys.list()).read().unwrap().len(), 3, "one for each request");
    one.node.stop().await;
    two.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_of_the_keys_brings_nobody_back() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = keys.serve(log.clone()).await;
    shop.on_sale("poster", 100).await;
    let erased = shop.place(personal("poster", "customer-1")).await;
    let kept = shop.place(personal("poster", "customer-2")).await;
    shop.node.stop().await;
    let backup = keys.backup().await;
    let shop = keys.serve(log.clone()).await;
    shop.erase("customer-1").await;
    shop.node.stop().await;
    // without its list the backup would bring the person back: that is what the list is for
    let restored = Keys { config: backup, folder: keys.folder };
    let list = std::fs::read(restored.list()).unwrap();
    std::fs::remove_file(restored.list()).unwrap();
    let shop = restored.serve(log.clone()).await;
    assert_eq!(shop.persons(&erased).await, Some(readable()));
    shop.node.stop().await;
    std::fs::write(restored.list(), list).unwrap();
    let shop = restored.serve(log.clone()).await;
    assert_eq!(shop.persons(&erased).await, Some(only(PersonalDataState::Erased)));
    assert_eq!(shop.persons(&kept).await, Some(readable()));
    shop.node.stop().await;
    // a list that cannot be read is never taken for an empty one
    std::fs::write(restored.list(), "nonsense\n").unwrap();
    assert!(matches!(restored.try_sealer(SealerSettings::default()).await, Err(SealingError::ListUnreadable { line: 1, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_is_rotated_under_load_and_every_person_stays_readable() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = Arc::new(keys.serve(log.clone()).await);
    shop.on_sale("poster", 1_000_000).await;
    let gone = shop.place(personal("poster", "gone")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let booking: Vec<_> = (0..8)
        .map(|caller| {
            let (shop, stop) = (shop.clone(), stop.clone());
            tokio::spawn(async move {
                let mut placed = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    placed.push(shop.place(personal("poster", &format!("c-{caller}-{n}"))).await);
                }
                placed
            })
        })
        .collect();
    let mut retired = Vec::new();
    for _ in 0..3 {
        eventually("there is something to wrap anew", || async { shop.log().await.len() > 200 * (1 + retired.len()) }).await;
        keys.masters().add_new().unwrap();
        let masters = keys.masters().read().unwrap();
        let rotated = keys.store().rotate(&masters, |_| {}).await.unwrap();
        assert!(rotated.keys > 0 && rotated.retired.len() == retired.len() + 1, "{rotated:?}");
        retired = rotated.retired;
        if retired.len() == 2 {
            shop.erase("gone").await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let placed: Vec<String> = futures::future::join_all(booking).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(keys.masters().drop_retired(&retired).unwrap(), 3, "what is retired may be destroyed");
    let shop = Arc::into_inner(shop).unwrap();
    shop.node.stop().await;
    let shop = keys.serve(log).await;
    for order_id in &placed {
        assert_eq!(shop.persons(order_id).await, Some(readable()), "{order_id}");
    }
    assert_eq!(shop.persons(&gone).await, Some(only(PersonalDataState::Erased)), "wrapping anew brings nobody back");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_master_key_is_refused_at_the_start_and_changes_nothing() {
    let (keys, log) = (Keys::new().await, database().await);
    let shop = keys.serve(log.clone()).await;
    shop.on_sale("poster", 10).await;
    let order_id = shop.place(personal("poster", "customer-1")).await;
    shop.node.stop().await;
    let wrong = Keys { config: keys.config.clone(), folder: tempfile::tempdir().unwrap() };
    let refused = wrong.try_sealer(SealerSettings::default()).await.unwrap_err();
    assert_eq!(refused.code(), "MASTER_KEY_MISSING", "{refused}");
    let refused = keys.store().rotate(&wrong.masters().read().unwrap(), |_| {}).await.unwrap_err();
    assert_eq!(refused.code(), "MASTER_KEY_MISSING", "{refused}");
    let shop = keys.serve(log).await;
    assert_eq!(shop.persons(&order_id).await, Some(readable()));
    shop.node.stop().await;
}

/// Places an order, again and again while the keys are away, or answer too late.
async fn place_at_last(shop: &Serving, request: &PlaceOrderRequest) -> String {
    for _ in 0..2_400 {
        match shop.orders().place_order(request.clone()).await {
            Ok(placed) => return placed.into_inner().order.unwrap().order_id,
            Err(refused) => assert_eq!(reason(&refused).as_deref(), Some("KEYS_UNAVAILABLE"), "{refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the keys do not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_away_stop_nothing_but_what_needs_them() {
    let (server, log) = (PrivatePostgres::temporary(true, Lifetime::Owned).await.unwrap(), database().await);
    let keys = Keys::at(server.access().keys.clone());
    let short = SealerSettings { patience: Duration::from_millis(500), cached_for: Duration::from_millis(1), ..SealerSettings::default() };
    let shop = Serving::with_keys(log, keys.try_sealer(short).await.unwrap(), |_| {}).await;
    shop.on_sale("poster", 1_000).await;
    let order_id = place_at_last(&shop, &personal("poster", "customer-1")).await;
    let stopped = crate::outage::family(&server);
    stopped.iter().for_each(|pid| crate::outage::signal(*pid, "STOP"));
    let held_up = personal("poster", "customer-2");
    let waiting = (0..200).map(|n| {
        let (mut orders, request) = (shop.orders(), if n == 0 { held_up.clone() } else { personal("poster", &format!("c-{n}")) });
        async move { orders.place_order(request).await.unwrap_err() }
    });
    for refused in futures::future::join_all(waiting).await {
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("KEYS_UNAVAILABLE")), "{refused:?}");
        assert!(retry_after(&refused).is_some());
    }
    for _ in 0..50 {
        let plain = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap();
        assert_eq!(plain.state(), OrderState::Held);
    }
    assert_eq!(shop.persons(&order_id).await, Some(only(PersonalDataState::Unavailable)), "an answer that says so, not an error");
    let refused = shop.subjects().erase_subject(EraseSubjectRequest { request_id: id(), subject: "customer-1".into() }).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("KEYS_UNAVAILABLE"));
    assert!(!shop.status().await.keys.unwrap().answers);
    stopped.iter().rev().for_each(|pid| crate::outage::signal(*pid, "CONT"));
    eventually("it is told that they answer again, though nobody needs them", || async { shop.status().await.keys.unwrap().answers }).await;
    for _ in 0..2 {
        assert_eq!(place_at_last(&shop, &held_up).await, held_up.request_id, "under the same id, once");
    }
    eventually("what was there can be read again", || async { shop.persons(&order_id).await == Some(readable()) }).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_personal_data_is_refused_by_field_and_never_repeated_in_the_refusal() {
    let keys = Keys::new().await;
    let shop = keys.serve(database().await).await;
    shop.on_sale("poster", 10).await;
    let events = shop.log().await.len();
    let contact = |name: &str, email: &str, phone: &str| PlaceOrderRequest {
        contact: Some(Contact { name: name.into(), email: email.into(), phone: phone.into() }),
        ..order(&[("poster", 1)])
    };
    let guest = |line, unit_id: &str, name: &str| PlaceOrderRequest {
        guests: vec![Guest { line, unit_id: unit_id.into(), name: name.into() }],
        ..order(&[("poster", 1)])
    };
    let crowd = |count| PlaceOrderRequest {
        guests: vec![Guest { line: 0, unit_id: "piece".into(), name: "Secret".into() }; count],
        ..order(&[("poster", 1_000)])
    };
    let long = "가".repeat(101);
    for (request, field) in [
        (contact("", "", ""), "contact"),
        (contact(&long, "", ""), "contact.name"),
        (contact("Sec\u{7}ret", "", ""), "contact.name"),
        (contact("", "secret", ""), "contact.email"),
        (contact("", "@secret", ""), "contact.email"),
        (contact("", "sec ret@x", ""), "contact.email"),
        (contact("", "a@secret@x", ""), "contact.email"),
        (contact("", &format!("{}@x", "s".repeat(260)), ""), "contact.email"),
        (contact("", "", "Secret"), "contact.phone"),
        (contact("", "", "01"), "contact.phone"),
        (guest(0, "piece", ""), "guests[0].name"),
        (guest(0, "piece", &long), "guests[0].name"),
        (guest(1, "piece", "Secret"), "guests[0].line"),
        (guest(-1, "piece", "Secret"), "guests[0].line"),
        (guest(0, "seat", "Secret"), "guests[0].unit_id"),
        (PlaceOrderRequest { lines: order(&[("poster", 1)]).lines, ..crowd(2) }, "guests[1]"),
        (crowd(501), "guests"),
    ] {
        let refused = shop.orders().place_order(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::InvalidArgument, Some("REQUEST_INVALID")), "{field}");
        let told = format!("{refused:?}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{field}: {told}");
        assert!(!told.to_lowercase().contains("secret") && !told.contains(&long), "{told}");
    }
    assert_eq!(shop.log().await.len(), events, "a refusal writes no event");
    let most = PlaceOrderRequest { guests: crowd(500).guests, ..order(&[("poster", 500)]) };
    shop.orders().place_order(most).await.unwrap();
    for erase in [
        EraseSubjectRequest { request_id: String::new(), subject: "customer-1".into() },
        EraseSubjectRequest { request_id: "7".into(), subject: "customer-1".into() },
        EraseSubjectRequest { request_id: id(), subject: "a b".into() },
        EraseSubjectRequest::default(),
    ] {
        let refused = shop.subjects().erase_subject(erase).await.unwrap_err();
        assert_eq!(reason(&refused).as_deref(), Some("REQUEST_INVALID"));
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_takes_orders_and_refuses_what_it_could_not_seal() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 10).await;
    let request = personal("poster", "customer-1");
    let refused = shop.orders().place_order(request.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::FailedPrecondition, Some("PERSONAL_DATA_OFF")));
    let erase = EraseSubjectRequest { request_id: id(), subject: "customer-1".into() };
    let refused = shop.subjects().erase_subject(erase).await.unwrap_err();
    assert_eq!(reason(&refused).as_deref(), Some("PERSONAL_DATA_OFF"));
    let without = PlaceOrderRequest { contact: None, guests: vec![], ..request };
    assert_eq!(shop.orders().place_order(without).await.unwrap().into_inner().order.unwrap().state(), OrderState::Held, "the id was not used up");
    shop.node.stop().await;
}
