//! What the program writes of its work, for who looks for one caller's command.

use jari_proto::{
    order::v1::{OrderState, PlaceOrderRequest, order_service_client::OrderServiceClient},
    status::reason,
};
use serde_json::Value;

use crate::{
    harness::{database, eventually},
    processes::{Folder, channel, free_address, start},
    serving::{Serving, order},
};

#[tokio::test(flavor = "multi_thread")]
async fn each_command_ends_with_a_line_that_has_its_name_id_position_code_and_time() {
    let (database, folder, address) = (database().await, Folder::new(), free_address());
    let shop = Serving::on(database.clone(), |config| config.settlement.enabled = false).await;
    shop.on_sale("poster", 5).await;
    let rest = format!("[server]\nlisten = \"{address}\"\n[settlement]\nlease_ms = 1_500\n[log]\nformat = \"json\"\nlevel = \"debug\"\n");
    let program = start(&folder.config("telemetry", &database, &rest), &["serve"]);
    let (taken, refused) = (order(&[("poster", 1)]), order(&[("nothing", 1)]));
    let orders = OrderServiceClient::new(channel(&address));
    eventually("it serves", || {
        let (mut orders, taken) = (orders.clone(), taken.clone());
        async move { orders.place_order(taken).await.is_ok_and(|told| told.into_inner().order.unwrap().state() == OrderState::Held) }
    })
    .await;
    let unusable = PlaceOrderRequest { customer: "who is this".into(), lines: Vec::new(), ..order(&[]) };
    for (request, code) in [(&refused, "PRODUCT_NOT_FOUND"), (&unusable, "REQUEST_INVALID")] {
        eventually(code, || async { reason(&orders.clone().place_order(request.clone()).await.unwrap_err()).as_deref() == Some(code) }).await;
    }

    let lines = || -> Vec<Value> { program.said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect() };
    // what was sent again to a slow program has lines that say so, too
    let of = |request_id: &str, code: &Value| {
        let is_it = |line: &Value| line["span"]["command_id"] == request_id && line["message"] == "command executed" && line["code"] == *code;
        lines().into_iter().find(is_it)
    };
    eventually("the last line is written", || async { lines().iter().any(|line| line["message"] == "request refused") }).await;
    let not_found = Value::from("PRODUCT_NOT_FOUND");
    eventually("those before it, too", || async { of(&taken.request_id, &Value::Null).is_some() && of(&refused.request_id, &not_found).is_some() })
        .await;
    let line = of(&taken.request_id, &Value::Null).unwrap();
    assert_eq!((&line["level"], &line["message"], &line["name"]), (&"DEBUG".into(), &"command executed".into(), &"place_order".into()), "{line}");
    assert!(line["position"].as_u64().unwrap() > 0 && line["duration_us"].is_u64() && line["code"].is_null(), "{line}");
    let line = of(&refused.request_id, &not_found).unwrap();
    assert_eq!(line["name"], "place_order", "{line}");
    let line = lines().into_iter().find(|line| line["message"] == "request refused").unwrap();
    assert_eq!((&line["code"], &line["fields"]), (&"REQUEST_INVALID".into(), &"customer lines".into()), "{line}");
    assert!(!program.said().contains("who is this"), "what stood in a field is not written: it may be anything");
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_comes_of_a_call_bears_its_trace_and_a_malformed_one_is_left_off() {
    let shop = Serving::start().await;
    shop.on_sale("poster", 5).await;
    let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, kept) in [(known, Some(known)), ("00-4bf92f3577b34da6a3ce929d0e0e4736", None)] {
        let before = shop.log().await.len();
        let mut call = tonic::Request::new(order(&[("poster", 1)]));
        call.metadata_mut().insert("traceparent", given.parse().unwrap());
        let told = shop.orders().place_order(call).await.unwrap().into_inner().order.unwrap();
        assert_eq!(told.state(), OrderState::Held);
        let log = shop.log().await;
        let traces: Vec<_> = log[before..].iter().map(|event| (&*event.event_type, event.metadata.trace.as_deref())).collect();
        assert_eq!(traces, ["OrderPlaced", "OrderHeld", "UnitsHeld"].map(|name| (name, kept)));
    }
    shop.node.stop().await;
}
