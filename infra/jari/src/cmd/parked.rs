//! `jari parked`: orders that were accepted and could not be settled, and the call that tries them again.

use jari_proto::operations::v1::{ListParkedOrdersRequest, ParkedOrder, RetryParkedOrderRequest, operations_service_client::OperationsServiceClient};
use tonic::transport::Channel;

use super::{print, print_pages};
use crate::{
    cli::Parked,
    config::Config,
    connect::{self, refused},
};

/// Orders of a page.
const PAGE: i32 = 500;

/// Lists them, or has some tried again.
///
/// # Errors
/// A server that does not answer, or what it refuses.
pub async fn run(config: &Config, options: Parked) -> anyhow::Result<()> {
    let mut node = OperationsServiceClient::new(connect::node(config, options.server.as_deref()).await?);
    if options.retry.is_empty() {
        return list(&mut node).await;
    }
    for order_id in options.retry {
        let request = RetryParkedOrderRequest { request_id: uuid::Uuid::now_v7().to_string(), order_id: order_id.clone() };
        node.retry_parked_order(request).await.map_err(|status| refused(&status))?;
        print(&format!("{order_id} is tried again; listed again, it has failed again\n"));
    }
    Ok(())
}

async fn list(node: &mut OperationsServiceClient<Channel>) -> anyhow::Result<()> {
    print_pages("no orders are parked\n", async |page_token| {
        let asked = ListParkedOrdersRequest { page_size: PAGE, page_token, ..Default::default() };
        let page = node.list_parked_orders(asked).await.map_err(|status| refused(&status))?.into_inner();
        Ok((page.parked_orders.iter().map(line).collect(), page.next_page_token))
    })
    .await
}

fn line(order: &ParkedOrder) -> String {
    let ParkedOrder { order_id, accepted_position, code, message, attempts, .. } = order;
    let tried = if *attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
    format!("{order_id}, accepted at position {accepted_position}, tried {tried}: {message} ({code})\n    jari parked --retry {order_id}\n")
}
