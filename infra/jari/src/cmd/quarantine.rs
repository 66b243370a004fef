//! `jari quarantine`: streams that a view has set aside, and the call that lets it read one again.

use jari_proto::operations::v1::{
    ListQuarantinedStreamsRequest, QuarantinedStream, RetryQuarantinedStreamRequest, operations_service_client::OperationsServiceClient,
};
use tonic::transport::Channel;

use super::{print, print_pages};
use crate::{
    cli::Quarantine,
    config::Config,
    connect::{self, refused},
};

/// Streams of a page.
const PAGE: i32 = 500;

/// Lists them, or retries one.
///
/// # Errors
/// A server that does not answer, or what it refuses.
pub async fn run(config: &Config, options: Quarantine) -> anyhow::Result<()> {
    let mut node = OperationsServiceClient::new(connect::node(config, options.server.as_deref()).await?);
    let projection = options.view.unwrap_or_default();
    let Some((aggregate_type, aggregate_id)) = options.retry else { return list(&mut node, projection).await };
    let request = RetryQuarantinedStreamRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        projection: projection.clone(),
        aggregate_type: aggregate_type.clone(),
        aggregate_id: aggregate_id.clone(),
    };
    let position = node.retry_quarantined_stream(request).await.map_err(|status| refused(&status))?.into_inner().position;
    print(&format!("{projection} reads {aggregate_type}/{aggregate_id} again, and has read it up to position {position}\n"));
    Ok(())
}

async fn list(node: &mut OperationsServiceClient<Channel>, projection: String) -> anyhow::Result<()> {
    print_pages("no streams are set aside\n", async |page_token| {
        let asked = ListQuarantinedStreamsRequest { projection: projection.clone(), page_size: PAGE, page_token, ..Default::default() };
        let page = node.list_quarantined_streams(asked).await.map_err(|status| refused(&status))?.into_inner();
        Ok((page.quarantined_streams.iter().map(line).collect(), page.next_page_token))
    })
    .await
}

fn line(stream: &QuarantinedStream) -> String {
    let QuarantinedStream { projection, aggregate_type, aggregate_id, failed_position, code, message, waiting_events, .. } = stream;
    let retry = format!("jari quarantine {projection} --retry {aggregate_type}/{aggregate_id}");
    format!(
        "{projection}: {aggregate_type}/{aggregate_id} from position {failed_position}, {waiting_events} events wait: {message} ({code})\n    {retry}\n"
    )
}
