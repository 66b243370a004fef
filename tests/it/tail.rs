//! The tail of the log: whoever reads it sees every event once and in order, however they come.

use std::{sync::Arc, time::Duration};

use jari_event_store::{Appender, Batch, Database, LogTail, Position, RecordedEvent, TailSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Node, database, eventually, hold, patient},
    raw::{INSERT, batch, client, group, values, write},
};

/// So seldom that nothing in a test comes by it.
const NEVER: Duration = Duration::from_secs(86_400);

struct Tail {
    tail: LogTail,
    stop: CancellationToken,
    following: JoinHandle<()>,
}

impl Tail {
    async fn start(database: &Database, settings: TailSettings) -> Self {
        let stop = CancellationToken::new();
        let (tail, following) = LogTail::start(database.clone(), settings, stop.clone()).await.unwrap();
        let tail = Self { tail, stop, following };
        // the listener is there when the server says so: a notice before that would be missed
        let reader = client(database).await;
        let listens = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN jari_log' AND state = 'idle'";
        eventually("it listens", || async { reader.query_one(listens, &[]).await.unwrap().get::<_, i64>(0) > 0 }).await;
        tail
    }

    /// Reads from `after` to `until`, in pages of `limit`, and proves that each position comes once and in order.
    async fn read(&self, after: u64, until: u64, limit: usize) {
        let mut after = Position::new(after);
        while after < Position::new(until) {
            let page = tokio::time::timeout(Duration::from_secs(30), self.tail.read(after, limit)).await;
            for event in page.unwrap_or_else(|_| panic!("nothing follows on {after}")).unwrap() {
                assert_eq!(event.position, after.next(), "each position once and in order");
                after = event.position;
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.following.await.unwrap();
    }
}

/// Appends one event to a stream of its own; what landed is returned, and offered to nobody.
async fn append(appender: &Appender, number: u64) -> Vec<Arc<RecordedEvent>> {
    let sent = batch(vec![group(vec![write(&format!("s{number}"), 0, "rain")])]);
    let appended = appender.append(&sent, number, None, false).await.unwrap();
    let heads = appended.heads(&sent);
    let Batch { groups } = sent;
    groups.into_iter().zip(heads).flat_map(|(group, head)| appended.recorded(group, head.unwrap())).map(Arc::new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_every_node_see_each_position_once_while_two_nodes_and_another_writer_append() {
    let one = Arc::new(Node::on(database().await, patient()).await);
    let two = Arc::new(Node::on(one.database.clone(), patient()).await);
    let slots = [one.open_stock("one", 1_000_000).await, two.open_stock("two", 1_000_000).await];
    // one that keeps all, and one that keeps so little that most of it is read from the database
    let roomy = Arc::new(Tail::start(&one.database, TailSettings::default()).await);
    let narrow = Arc::new(Tail::start(&one.database, TailSettings { keep: 8, page: 5, ..TailSettings::default() }).await);
    let all = 2 + 2 * 16 * 40 + 300;
    let readers: Vec<_> = [(roomy.clone(), 100), (roomy, 1), (narrow.clone(), 100), (narrow, 3)]
        .into_iter()
        .map(|(tail, limit)| tokio::spawn(async move { tail.read(0, all, limit).await }))
        .collect();
    let mut writers: Vec<_> = (0..32)
        .map(|caller| {
            let (node, slot) = (if caller % 2 == 0 { one.clone() } else { two.clone() }, slots[caller % 2].clone());
            tokio::spawn(async move {
                for n in 0..40 {
                    assert_eq!(node.run(hold(&slot, &format!("c{caller}-{n}"), 1)).await.refusal, None);
                }
            })
        })
        .collect();
    let database = one.database.clone();
    writers.push(tokio::spawn(async move {
        let client = client(&database).await;
        for sequence in 1..=300 {
            client.batch_execute(&format!("{INSERT} {}", values("foreign", sequence))).await.unwrap();
        }
    }));
    for task in writers.into_iter().chain(readers) {
        task.await.unwrap();
    }
    assert_eq!(one.log().await.len() as u64, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_another_node_brings_all_that_is_missing_and_one_of_our_own_brings_nothing() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings { poll: NEVER, ..TailSettings::default() }).await;
    let (own, other) = (Appender::connect(&database).await.unwrap(), Appender::connect(&database).await.unwrap());
    tail.tail.appended_by(&own);
    append(&other, 1).await;
    tail.read(0, 1, 10).await;
    // ours is announced, but will be offered: it is not read from the database for that, unless the look for what was there before came late
    let (mut seen, mut is_left) = (1, false);
    while !is_left && seen < 6 {
        let ours = append(&own, seen + 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        is_left = tail.tail.head().get() == seen;
        tail.tail.offer(ours);
        tail.read(seen, seen + 1, 10).await;
        seen += 1;
    }
    assert!(is_left, "each of them was read");
    // one that is never offered comes with the next of another
    append(&own, seen + 1).await;
    append(&other, seen + 2).await;
    tail.read(seen, seen + 2, 10).await;
    tail.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_offered_is_read_when_a_later_offer_shows_the_gap() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings { poll: NEVER, page: 2, ..TailSettings::default() }).await;
    let own = Appender::connect(&database).await.unwrap();
    tail.tail.appended_by(&own);
    let by_hand = client(&database).await;
    for sequence in 1..=5 {
        // no notice comes of these
        by_hand.batch_execute(&format!("{INSERT} {}", values("foreign", sequence))).await.unwrap();
    }
    tail.tail.offer(append(&own, 6).await);
    tail.read(0, 6, 10).await;
    // offered twice, and late
    let (seven, eight) = (append(&own, 7).await, append(&own, 8).await);
    for offered in [&eight, &seven, &eight, &seven] {
        tail.tail.offer(offered.clone());
    }
    tail.read(6, 8, 10).await;
    tail.end().await;
}

/// One thread: nothing is taken from the queue of offers while it is filled.
#[tokio::test]
async fn offers_for_which_there_is_no_room_are_read_from_the_log() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings { poll: NEVER, page: 50, ..TailSettings::default() }).await;
    let own = Appender::connect(&database).await.unwrap();
    tail.tail.appended_by(&own);
    let mut offers = Vec::new();
    for number in 1..=400 {
        offers.push(append(&own, number).await);
    }
    assert!(tail.tail.head().get() < 300, "but for what its first look may have found");
    offers.into_iter().for_each(|offer| tail.tail.offer(offer));
    tail.read(0, 400, 1_000).await;
    tail.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_connection_had_landed_unheard_is_looked_for_when_a_new_one_is_named() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings { poll: NEVER, ..TailSettings::default() }).await;
    let own = Appender::connect(&database).await.unwrap();
    tail.tail.appended_by(&own);
    append(&own, 1).await;
    tail.tail.appended_by(&Appender::connect(&database).await.unwrap());
    tail.read(0, 1, 10).await;
    tail.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_writer_who_sends_no_notice_are_found_by_asking_now_and_then() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings::default()).await;
    let by_hand = client(&database).await;
    for sequence in 1..=3 {
        by_hand.batch_execute(&format!("{INSERT} {}", values("foreign", sequence))).await.unwrap();
        tail.read(sequence - 1, sequence, 10).await;
    }
    tail.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_keeps_no_more_events_than_its_bound() {
    let database = database().await;
    let tail = Tail::start(&database, TailSettings { keep: 8, page: 5, poll: NEVER, ..TailSettings::default() }).await;
    let own = Appender::connect(&database).await.unwrap();
    tail.tail.appended_by(&own);
    for number in 1..=30 {
        tail.tail.offer(append(&own, number).await);
    }
    tail.read(0, 30, 10).await;
    assert_eq!(tail.tail.read_now(Position::new(22), 100).await.unwrap().len(), 8, "from memory, which gives whatever it has");
    assert_eq!(tail.tail.read_now(Position::new(21), 100).await.unwrap().len(), 5, "from the database, a page at a time");
    tail.end().await;
}
