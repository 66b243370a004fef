//! A rebuild as operators start it, killed for real: whatever the moment, the next one goes on, and what comes out is what the log says.

use std::{path::Path, time::Duration};

use jari_event_store::{Position, Reader};
use jari_projections::{AsOf, Replay, digest_live, rebuild, replays, view_names};
use jari_proto::operations::v1::ProjectionState;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::archive,
    harness::eventually,
    processes::{Folder, Program, start},
    serving::{Serving, order},
};

/// A node with a history of a few thousand events, which goes on to serve.
async fn busy() -> Serving {
    let shop = Serving::start().await;
    for product in ["seat", "poster"] {
        shop.on_sale(product, 1_000_000).await;
    }
    let mut customers = tokio::task::JoinSet::new();
    for customer in 0..16 {
        let mut orders = shop.orders();
        customers.spawn(async move {
            for n in 0..60 {
                let request = order(&[(if (customer + n) % 2 == 0 { "seat" } else { "poster" }, 1)]);
                orders.place_order(request).await.unwrap();
            }
        });
    }
    while let Some(customer) = customers.join_next().await {
        customer.unwrap();
    }
    shop
}

/// Runs the program to its good end. What was killed a moment ago may still have its lock: whoever hears so starts again.
async fn run_well(config: &Path, words: &[&str]) -> Program {
    for _ in 0..600 {
        let mut program = start(config, words);
        if program.until_ended().await {
            return program;
        }
        let said = program.said();
        assert!(said.contains("is being rebuilt already") || said.contains("is being replayed as of"), "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("what was killed keeps its lock");
}

async fn assert_every_view_is_what_the_log_says(shop: &Serving) {
    let head = Reader::new(shop.database.clone()).head().await.unwrap();
    eventually("the views are level with the log", || async { shop.status().await.projections.iter().all(|view| view.position == head.to_i64()) })
        .await;
    for view in view_names() {
        let live = digest_live(&shop.database, view).await.unwrap();
        let then = Replay::of(view, AsOf::Position(head)).run(&shop.database, |_| {}, &CancellationToken::new()).await.unwrap();
        assert_eq!((live.position, live.digested.digest), (head, then.digested.digest), "{view}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_at_any_moment_is_taken_up_and_leaves_one_build_a_view() {
    let (shop, folder) = (busy().await, Folder::new());
    let config = folder.config("rebuild", &shop.database, "");
    let (mut kills, mut finished) = (0, 0);
    for round in 0..40_u64 {
        let view = view_names()[usize::try_from(round % 3).unwrap()];
        let mut rebuild = start(&config, &["rebuild", view]);
        // from before it has begun until after it has ended
        tokio::time::sleep(Duration::from_millis(40 + round * 97 % 600)).await;
        match rebuild.ended() {
            Some(well) => finished += usize::from(well),
            None => {
                rebuild.kill();
                kills += 1;
            }
        }
        // bookings go on
        shop.orders().place_order(order(&[("seat", 1)])).await.unwrap();
    }
    assert!(kills > 5, "{kills} kills, {finished} finished");
    for view in view_names() {
        run_well(&config, &["rebuild", view]).await;
    }
    let client = shop.database.connection().await.unwrap();
    let builds: i64 = client.query_one("SELECT count(*) FROM views.builds", &[]).await.unwrap().get(0);
    assert_eq!(builds, i64::try_from(view_names().len()).unwrap(), "what was begun is taken up, what was replaced is dropped");
    assert_every_view_is_what_the_log_says(&shop).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_is_taken_up_by_the_same_call_and_the_live_view_is_proved() {
    let (shop, folder) = (busy().await, Folder::new());
    let config = folder.config("replay", &shop.database, "");
    let head = Reader::new(shop.database.clone()).head().await.unwrap().to_string();
    let mut digests = std::collections::BTreeSet::new();
    for round in 0..12_u64 {
        let mut replay = start(&config, &["replay", "orders", "--as-of", &head]);
        tokio::time::sleep(Duration::from_millis(60 + round * 89 % 500)).await;
        if replay.ended().is_none() {
            replay.kill();
        }
    }
    for _ in 0..2 {
        let said = run_well(&config, &["replay", "orders", "--as-of", &head]).await.said();
        digests.insert(said.lines().find_map(|line| line.strip_prefix("digest")).unwrap().trim().to_owned());
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert_eq!(replays(&shop.database).await.unwrap(), [], "nothing stays");
    run_well(&config, &["replay", "orders", "--check"]).await;
    // somebody changes a row
    let client = shop.database.connection().await.unwrap();
    let table: String = client
        .query_one("SELECT format('views.orders_v%s_%s_orders', version, build) FROM views.builds WHERE view = 'orders' AND state = 'live'", &[])
        .await
        .unwrap()
        .get(0);
    client
        .batch_execute(&format!("UPDATE {table} SET customer = 'nobody' WHERE accepted_position = (SELECT max(accepted_position) FROM {table})"))
        .await
        .unwrap();
    let mut check = start(&config, &["replay", "orders", "--check"]);
    assert!(!check.until_ended().await && check.said().contains("DIFFERENT"), "{}", check.said());
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_replayed_and_rebuilt_alike_when_most_of_the_log_has_moved_to_the_archive() {
    let shop = busy().await;
    let head = Reader::new(shop.database.clone()).head().await.unwrap();
    let middle = Position::new(head.get() / 2);
    let digest = async |view: &str, as_of| Replay::of(view, as_of).run(&shop.database, |_| {}, &CancellationToken::new()).await.unwrap();
    let (before, then) = (digest("orders", AsOf::Position(head)).await, digest("availability", AsOf::Position(middle)).await);
    let time = Reader::new(shop.database.clone()).log_after(middle, 1).await.unwrap()[0].recorded_at;
    let by_time = digest("products", AsOf::Time(time)).await;
    assert!(archive(&shop.database, head.get()).await > head.get() / 4);
    assert_eq!(digest("orders", AsOf::Position(head)).await.digested.digest, before.digested.digest);
    assert_eq!(digest("availability", AsOf::Position(middle)).await.digested.digest, then.digested.digest);
    assert_eq!(digest("products", AsOf::Time(time)).await.position, by_time.position);
    for view in view_names() {
        rebuild(&shop.database, view, |_| {}, &CancellationToken::new()).await.unwrap();
    }
    assert_every_view_is_what_the_log_says(&shop).await;
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_begun_and_not_finished_is_told_by_the_status() {
    let shop = busy().await;
    let states = |status: &jari_proto::operations::v1::GetStatusResponse| status.projections.iter().map(|view| view.state()).collect::<Vec<_>>();
    assert_eq!(states(&shop.status().await), [ProjectionState::Live; 3]);
    let begun = "INSERT INTO views.builds (view, version, state, position, taken_up_at, taken_up_from)
        VALUES ('orders', 1, 'building', 1100, clock_timestamp() - interval '10 s', 100)";
    shop.psql(begun).await;
    let told = |status: jari_proto::operations::v1::GetStatusResponse| status.projections.into_iter().find_map(|view| view.rebuild).unwrap();
    let rebuild = told(shop.status().await);
    assert_eq!((rebuild.position, rebuild.under_way, rebuild.events_per_second, rebuild.time_left), (1_100, false, 0, None), "nobody is at it");
    let holder = shop.database.dedicated().await.unwrap();
    holder.execute("SELECT pg_advisory_lock(hashtextextended('jari.rebuild.orders', 0))", &[]).await.unwrap();
    let status = shop.status().await;
    assert_eq!(states(&status).iter().filter(|state| **state == ProjectionState::Rebuilding).count(), 1);
    let rebuild = told(status);
    // a thousand events in ten seconds and a little more
    assert!(rebuild.under_way && (1..=100).contains(&rebuild.events_per_second) && rebuild.time_left.is_some(), "{rebuild:?}");
    shop.node.stop().await;
}
