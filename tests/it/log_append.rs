//! One append: groups whole or not at all, closed over dependence, on the state that they were decided on.

use jari_event_store::{Appender, LogError, Position, Reader};
use uuid::Uuid;

use crate::{
    harness::database,
    raw::{INSERT, batch, client, command, elsewhere, group, leased, read, stream, values, write},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_decided_on_one_that_fell_lands_nothing_even_at_the_same_versions() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    client(&database).await.batch_execute(&format!("{INSERT} {}", values("hot", 1))).await.unwrap();
    // decided on version 0; the second on top of it, at the very version that the other writer has brought about
    let (first, second) = (batch(vec![group(vec![write("hot", 0, "mine")])]), batch(vec![group(vec![write("hot", 1, "on mine")])]));
    let (first, second) = tokio::join!(biased; appender.append(&first, 1, None, false), appender.append(&second, 2, Some(1), false));
    assert!(first.unwrap_err().is_unique_violation());
    assert!(second.unwrap().stale, "the second was decided on a state that never was");
    let first = batch(vec![group(vec![read("hot", 0), write("cold", 0, "x")])]);
    let second = batch(vec![group(vec![write("hot", 1, "on what was not there")])]);
    let (first, second) = tokio::join!(biased; appender.append(&first, 3, None, false), appender.append(&second, 4, Some(3), false));
    assert_eq!(first.unwrap().fallen, [0]);
    assert!(second.unwrap().stale, "a batch of which a part fell did not land whole");
    let reader = Reader::new(database);
    assert_eq!(reader.head().await.unwrap().get(), 1);
    let whole = batch(vec![group(vec![write("hot", 1, "sound")])]);
    let next = batch(vec![group(vec![write("hot", 2, "on it")])]);
    let (whole, next) = tokio::join!(biased; appender.append(&whole, 5, None, false), appender.append(&next, 6, Some(5), false));
    assert!(whole.unwrap().fallen.is_empty() && !next.unwrap().stale);
    assert_eq!(reader.head().await.unwrap().get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_read_is_checked_and_falls_with_all_that_depends_on_it_and_nobody_else() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    client(&database).await.batch_execute(&format!("{INSERT} {}", values("product", 1))).await.unwrap();
    let groups = vec![
        group(vec![write("before", 0, "lands")]),
        group(vec![read("product", 0), write("order", 0, "decided on an old product")]),
        group(vec![read("order", 1), write("slot", 0, "depends on the second")]),
        group(vec![read("slot", 1)]),
        group(vec![read("product", 0)]),
        group(vec![write("before", 1, "a neighbour's neighbour lands")]),
    ];
    let appended = appender.append(&batch(groups), 1, None, false).await.unwrap();
    assert_eq!(appended.fallen, [1, 2, 3, 4]);
    let events = Reader::new(database).log_after(Position::new(1), 10).await.unwrap();
    let landed: Vec<(&str, u64, u64)> = events.iter().map(|e| (&*e.aggregate_id, e.sequence, e.position.get())).collect();
    assert_eq!(landed, [("before", 1, 2), ("before", 2, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_fallen_group_claims_lets_nobody_overtake_it() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    client(&database).await.batch_execute(&format!("{INSERT} {}", values("order", 1))).await.unwrap();
    for claims in [true, false] {
        let turn = jari_event_store::StreamUse { claims, ..read("slot", 0) };
        let groups = vec![group(vec![read("order", 0), turn]), group(vec![write("slot", 0, "behind it")])];
        let appended = appender.append(&batch(groups), 1, None, false).await.unwrap();
        assert_eq!(appended.fallen, if claims { vec![0, 1] } else { vec![0] }, "claims: {claims}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_recorded_falls_alone_and_nothing_of_its_batch_is_lost() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    let (known, new) = (Uuid::now_v7(), Uuid::now_v7());
    appender.append(&batch(vec![command(vec![write("a", 0, "first")], known)]), 1, None, false).await.unwrap();
    let again = batch(vec![
        command(vec![write("b", 0, "again")], known),
        command(vec![write("b", 1, "on it")], Uuid::now_v7()),
        command(vec![write("c", 0, "beside it")], new),
    ]);
    let refused: LogError = appender.append(&again, 2, None, false).await.unwrap_err();
    assert!(refused.is_unique_violation());
    let appended = appender.append(&again, 3, None, true).await.unwrap();
    assert_eq!((appended.repeated.clone(), appended.fallen.clone()), (vec![0], vec![0, 1]));
    assert_eq!(appended.heads(&again), [None, None, Some(Position::new(2))]);
    let reader = Reader::new(database);
    assert_eq!(reader.stream_after(&stream("c"), 0, 9).await.unwrap().len(), 1);
    assert_eq!(reader.head().await.unwrap().get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_under_an_old_epoch_lands_nothing_and_its_neighbours_land() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    let client = client(&database).await;
    client.batch_execute("INSERT INTO leases VALUES ('settlement', 'b', 'b', 2, now())").await.unwrap();
    let groups = vec![leased(vec![write("a", 0, "old owner")], "settlement", 1), group(vec![write("b", 0, "a caller's")])];
    let appended = appender.append(&batch(groups), 1, None, false).await.unwrap();
    assert!(appended.lease_lost);
    assert_eq!(appended.fallen, [0]);
    let groups = vec![leased(vec![write("a", 0, "new owner")], "settlement", 2)];
    let appended = appender.append(&batch(groups), 2, None, false).await.unwrap();
    assert!(!appended.lease_lost && appended.fallen.is_empty());
    let never = vec![leased(vec![write("c", 0, "nobody's")], "unheard-of", 1)];
    assert!(appender.append(&batch(never), 3, None, false).await.unwrap().lease_lost, "a lease that nobody took is no lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_behind_an_event_from_the_future_is_recorded_no_earlier() {
    let database = database().await;
    let appender = Appender::connect(&database).await.unwrap();
    let ahead = INSERT.replace("metadata)", "metadata, recorded_at)");
    let ahead = format!("{ahead} {}", values("a", 1).replace("'{}')", "'{}', now() + interval '1 hour')"));
    client(&database).await.batch_execute(&ahead).await.unwrap();
    let appended = appender.append(&batch(vec![group(vec![write("b", 0, "by a clock that was set right")])]), 1, None, false).await.unwrap();
    // by way of the trigger, and of the walk in which some fall
    client(&database).await.batch_execute(&format!("{INSERT} {}", values("a", 2))).await.unwrap();
    let some = batch(vec![group(vec![read("a", 0)]), group(vec![write("c", 0, "lands")])]);
    assert_eq!(appender.append(&some, 2, None, false).await.unwrap().fallen, [0]);
    let events = Reader::new(database).log_after(Position::START, 9).await.unwrap();
    assert_eq!((events.len(), events[1].recorded_at), (4, appended.recorded_at));
    assert!(events.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at), "time of recording never decreases");
}

#[tokio::test]
async fn a_server_whose_transactions_look_back_by_default_does_not_make_an_append_look_back() {
    let database = database().await;
    let name = database.config().get_dbname().unwrap().to_owned();
    let told = format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'");
    elsewhere(&database).await.batch_execute(&told).await.unwrap();
    let fresh = database.apart(1).unwrap();
    for client in [fresh.connection().await.unwrap(), fresh.apart(1).unwrap().connection().await.unwrap()] {
        let isolation: String = client.query_one("SHOW transaction_isolation", &[]).await.unwrap().get(0);
        assert_eq!(isolation, "read committed");
    }
}
