//! Requests that are larger than the operator lets them be.

use jari_proto::status::reason;

use crate::{bad_input::send, harness::database, serving::Serving};

/// One call of each service.
const CALLS: [&str; 9] = [
    "/reservation.availability.v1.AvailabilityService/GetSlot",
    "/reservation.history.v1.HistoryService/GetStateAsOf",
    "/reservation.inventory.v1.InventoryService/OpenSlot",
    "/reservation.operations.v1.OperationsService/GetStatus",
    "/reservation.order.v1.OrderQueryService/GetOrder",
    "/reservation.order.v1.OrderService/PlaceOrder",
    "/reservation.product.v1.ProductQueryService/GetProduct",
    "/reservation.product.v1.ProductService/CreateProduct",
    "/reservation.subject.v1.SubjectService/EraseSubject",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_requests_holds_at_every_service_also_where_it_is_below_the_librarys_own() {
    let shop = Serving::on(database().await, |config| config.server.max_message_bytes = 100_000).await;
    for path in CALLS {
        for (bytes, code) in [(200_000, "REQUEST_TOO_LARGE"), (50_000, "REQUEST_MALFORMED")] {
            let refused = send(&shop, path, vec![0xff; bytes]).await.unwrap_err();
            assert_eq!(reason(&refused).as_deref(), Some(code), "{path} with {bytes} bytes: {refused:?}");
        }
    }
    shop.node.stop().await;
}
