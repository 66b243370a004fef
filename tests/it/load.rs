//! `jari load`: what it reports, and what it leaves behind.

use crate::{
    harness::eventually,
    processes::{Folder, start},
    serving::Serving,
    subcommands::{beside, run},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_what_became_of_every_order_that_was_due_and_how_long_it_took() {
    let (shop, folder) = (Serving::start().await, Folder::new());
    let config = beside(&folder, "load", &shop);
    let report = |said: String| -> serde_json::Value {
        said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("no report: {said}"))
    };
    let open_loop = ["load", "--rate", "40", "--seconds", "2", "--slots", "3", "--connections", "2", "--json"];
    for (words, due) in [(&open_loop[..], Some(80)), (&["load", "--clients", "3", "--seconds", "1", "--json"], None)] {
        let before = shop.log().await.len();
        let (well, said) = run(&config, words).await;
        assert!(well, "{said}");
        let told = report(said);
        let answers = told["answers"].as_object().unwrap();
        let all: u64 = answers.values().filter_map(serde_json::Value::as_u64).sum();
        assert!(all > 0 && due.is_none_or(|due| all + told["dropped"].as_u64().unwrap() == due), "{told}");
        let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|name| told[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{told}");
        let log = shop.log().await;
        let held = log[before..].iter().filter(|event| event.event_type == "OrderHeld").count() as u64;
        let ended = log[before..].iter().filter(|event| event.event_type == "ProductEnded").count() as u64;
        assert_eq!(Some(ended), told["slots"].as_u64(), "what was opened for the load is not left on sale");
        assert!(answers.get("held").and_then(serde_json::Value::as_u64).is_some_and(|told| told <= held), "{told}: {held} are held in the log");
    }
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_interrupted_reports_and_ends_the_sale_of_what_it_opened() {
    let (shop, folder) = (Serving::start().await, Folder::new());
    let mut load = start(&beside(&folder, "load", &shop), &["load", "--clients", "2", "--seconds", "86400"]);
    eventually("orders are held", || async { shop.log().await.iter().any(|event| event.event_type == "OrderHeld") }).await;
    load.signal("INT");
    assert!(load.until_ended().await, "{}", load.said());
    assert!(load.said().contains(" orders settled in ") && load.said().contains("latency ms  p50 "), "{}", load.said());
    assert!(shop.log().await.iter().any(|event| event.event_type == "ProductEnded"));
    shop.node.stop().await;
}
