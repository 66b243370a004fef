//! Given events, then rows: what the test of a view is made of.

use jari_domain::{AnyEvent, StreamId, Timestamp, registry::AsAggregate};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    history::first,
    place::{Pencil, database},
};
use crate::{AsOf, Replay};

/// When everything of these tests is decided.
pub fn noon() -> Timestamp {
    "2026-12-24T12:00:00Z".parse().unwrap()
}

/// The events of one stream that these commands come to, at noon.
pub fn stream<A: AsAggregate>(id: impl Into<StreamId>, commands: &[A::Command]) -> (StreamId, Vec<AnyEvent>) {
    (id.into(), first::<A>(commands, noon()))
}

/// The rows of `view` after `streams`, one after the other: objects with `table` and the columns, by table and key. They are the same whether the
/// events come in one batch or each alone, or this fails.
pub async fn rows_after(view: &str, streams: Vec<(StreamId, Vec<AnyEvent>)>) -> Vec<Value> {
    let database = database().await;
    let mut pencil = Pencil::new(&database).await;
    pencil.append(streams.into_iter().map(|(stream, events)| (stream, events, noon())).collect()).await;
    let file = std::env::temp_dir().join(format!("jari-rows-{}.jsonl", uuid::Uuid::now_v7().simple()));
    let mut told: Option<String> = None;
    for range in [1_000, 1] {
        let replay = Replay { range, lines: Some(file.clone()), ..Replay::of(view, AsOf::Head) };
        let done = replay.run(&database, |_| {}, &CancellationToken::new()).await.unwrap();
        assert_eq!(done.quarantined, 0, "every row is taken");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(*told.get_or_insert_with(|| text.clone()), text, "together as one by one");
    }
    std::fs::remove_file(&file).unwrap();
    told.unwrap_or_default().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
