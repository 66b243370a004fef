//! An event that somebody took out of the database: whoever tells the log says that it lacks one, and tells nothing over the hole.

use jari_event_store::{LogError, Position, Reader};
use jari_export::{ExportError, Settings, check_rows};
use jari_history::HistorySettings;
use jari_projections::{AsOf, Replay, ReplayError};
use jari_proto::{
    history::v1::{
        GetStateAsOfRequest, ReadLogRequest, ReadStreamRequest, TraceCausesRequest, TraceCausesResponse,
        history_service_client::HistoryServiceClient, trace_causes_request::Origin,
    },
    order::v1::ConfirmOrderRequest,
    status::{facts, reason},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use crate::{
    export::{SMALL, positions, run},
    export_killed::Folder,
    history::{FOR_EVER, at, confirm, names, order_named, place, read_from},
    history_log::served_with,
    raw::client,
    serving::{Serving, id},
};

/// The positions that are told, and how that ends.
async fn read_to_the_end(history: &mut HistoryServiceClient<Channel>, asked: ReadLogRequest) -> (Vec<i64>, Option<Status>) {
    let mut answers = history.read_log(asked).await.unwrap().into_inner();
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(FOR_EVER, answers.message()).await.expect("it ends") {
            Ok(Some(answer)) => told.extend(answer.events.iter().map(|event| event.position)),
            Ok(None) => return (told, None),
            Err(status) => return (told, Some(status)),
        }
    }
}

async fn traced(history: &mut HistoryServiceClient<Channel>, origin: Origin) -> Result<TraceCausesResponse, Status> {
    let asked = TraceCausesRequest { origin: Some(origin), ..Default::default() };
    Ok(history.trace_causes(asked).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_away_is_missed_by_whoever_tells_the_log() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 50).await;
    place(&shop, "order", &[("poster", 1)]).await;
    place(&shop, "another", &[("poster", 1)]).await;
    confirm(&shop, "order").await;
    let log = shop.log().await;
    let of_order: Vec<_> = log.iter().filter(|event| &*event.aggregate_id == "order").map(|event| event.position.to_i64()).collect();
    let (hole, behind, head) = (of_order[1], of_order[2], log.len() as i64);
    let of_another: Vec<_> = log.iter().filter(|event| &*event.aggregate_id == "another").map(|event| event.position.to_i64()).collect();
    let (whole, part) = (Folder::new("whole"), Folder::new("part"));
    run(&shop.database, &whole.0, SMALL).await.unwrap();
    let take = format!("SET session_replication_role = replica; DELETE FROM events WHERE position = {hole}");
    client(&shop.database).await.batch_execute(&take).await.unwrap();

    let stop = CancellationToken::new();
    // a node that has begun since: what one remembers is not gone
    let mut history = served_with(&shop, HistorySettings::default(), &stop).await;
    let says = |status: &Status, position: i64| {
        let told = (status.code(), reason(status), facts(status).get("position").cloned());
        assert_eq!(told, (Code::DataLoss, Some("HISTORY_UNREADABLE".into()), Some(position.to_string())), "{status:?}");
    };
    for until in [None, at(hole), at(head)] {
        let (told, end) = read_to_the_end(&mut history, ReadLogRequest { until, ..Default::default() }).await;
        assert_eq!(told, (1..hole).collect::<Vec<_>>());
        says(&end.expect("it does not end well"), hole);
    }
    assert_eq!(read_from(&mut history, ReadLogRequest { until: at(hole - 1), ..Default::default() }).await.1, hole - 1, "before it all is well");
    let (rest, _) = read_from(&mut history, ReadLogRequest { after: at(hole), ..Default::default() }).await;
    assert_eq!(rest[0].position, hole + 1, "who knows better may go on after it");

    let aggregate = order_named("order");
    for until in [None, at(hole), at(head)] {
        let ask = ReadStreamRequest { aggregate: aggregate.clone(), until, ..Default::default() };
        let mut answers = history.read_stream(ask).await.unwrap().into_inner();
        assert_eq!(names(&answers.message().await.unwrap().unwrap().events), ["OrderPlaced"]);
        says(&answers.message().await.unwrap_err(), behind);
    }
    for moment in [hole, head] {
        let as_of = GetStateAsOfRequest { aggregate: aggregate.clone(), as_of: at(moment) };
        says(&history.get_state_as_of(as_of).await.unwrap_err(), behind);
    }

    // by its stream; as a neighbour behind the one before it and before the one behind it; by its stream again; and itself
    for (origin, position) in [
        (Origin::OrderId("order".into()), behind),
        (Origin::Position(of_order[0]), hole),
        (Origin::Position(hole + 1), hole),
        (Origin::Position(behind), behind),
        (Origin::Position(hole), hole),
    ] {
        says(&traced(&mut history, origin).await.unwrap_err(), position);
    }
    traced(&mut history, Origin::OrderId("another".into())).await.unwrap();

    let missing = Position::new(u64::try_from(hole).unwrap());
    let replay = async |as_of| Replay::of("orders", AsOf::Position(as_of)).run(&shop.database, |_| {}, &CancellationToken::new()).await;
    for as_of in [missing, Position::new(u64::try_from(head).unwrap())] {
        let refused = replay(as_of).await.unwrap_err();
        assert!(matches!(&refused, ReplayError::Away(LogError::Missing { position }) if *position == missing), "{refused}");
        assert_eq!(refused.code(), Some("HISTORY_UNREADABLE"));
    }
    replay(missing.previous()).await.unwrap();

    for _ in 0..2 {
        let refused = run(&shop.database, &part.0, Settings { step_events: 2, ..SMALL }).await.unwrap_err();
        assert!(matches!(refused, ExportError::Missing { position } if position == missing), "{refused}");
    }
    assert_eq!(positions(&part.0), (1..missing.get()).collect::<Vec<_>>());
    let mut checked = jari_export::Checked::default();
    check_rows(&Reader::new(shop.database.clone()), &whole.0, &mut checked).await.unwrap();
    assert!(checked.findings.iter().any(|finding| finding.contains("the log does not hold them")), "{:?}", checked.findings);

    // a history that begins with what is missing; and a command that was refused when the log ended there, so that it was not its
    let refused = ConfirmOrderRequest { request_id: id(), order_id: "nobody".into() };
    shop.orders().confirm_order(refused.clone()).await.unwrap_err();
    place(&shop, "third", &[("poster", 1)]).await;
    let take = format!("SET session_replication_role = replica; DELETE FROM events WHERE position IN ({head}, {})", of_another[0]);
    client(&shop.database).await.batch_execute(&take).await.unwrap();
    let ask = ReadStreamRequest { aggregate: order_named("another"), until: at(of_another[0]), ..Default::default() };
    says(&history.read_stream(ask).await.unwrap_err(), of_another[1]);
    let unknown = traced(&mut history, Origin::CorrelationId(refused.request_id)).await.unwrap_err();
    assert_eq!(reason(&unknown).as_deref(), Some("CAUSES_UNKNOWN"));
    stop.cancel();
    shop.node.stop().await;
}
