//! `jari dead-letters`: commands from Kafka that were refused, and the call that sends one again.

use jari_proto::operations::v1::{
    ListRefusedCommandsRequest, RedriveCommandRequest, RefusedCommand, operations_service_client::OperationsServiceClient,
};
use tonic::transport::Channel;

use super::{print, print_pages};
use crate::{
    cli::DeadLetters,
    config::Config,
    connect::{self, refused},
};

/// Commands of a page.
const PAGE: i32 = 500;

/// Lists them, or sends some again.
///
/// # Errors
/// A server that does not answer, or what it refuses.
pub async fn run(config: &Config, options: DeadLetters) -> anyhow::Result<()> {
    let channel = connect::node(config, options.server.as_deref()).await?;
    let mut node = OperationsServiceClient::new(channel).max_decoding_message_size(64 << 20);
    for offset in &options.redrive {
        redrive(&mut node, *offset).await?;
    }
    if !options.redrive.is_empty() {
        return Ok(());
    }
    let wanted = |command: &RefusedCommand| {
        let of = |wanted: &Option<String>, is: fn(&RefusedCommand) -> &str| wanted.as_deref().is_none_or(|wanted| wanted == is(command));
        of(&options.code, |command| command.refused.as_ref().map_or("", |refused| &refused.code))
            && of(&options.order, |command| command.refused.as_ref().map_or("", |refused| &refused.order_id))
    };
    // all of them first: what is refused once more comes behind them, and would be sent again for ever
    let mut found = Vec::new();
    print_pages("no commands were refused\n", async |page_token| {
        let asked = ListRefusedCommandsRequest { page_size: PAGE, page_token, ..Default::default() };
        let page = node.list_refused_commands(asked).await.map_err(|status| refused(&status))?.into_inner();
        let those = page.refused_commands.iter().filter(|command| wanted(command));
        found.extend(those.clone().map(|command| command.offset));
        Ok((those.map(line).collect(), page.next_page_token))
    })
    .await?;
    for offset in found.into_iter().filter(|_| options.redrive_all) {
        redrive(&mut node, offset).await?;
    }
    Ok(())
}

async fn redrive(node: &mut OperationsServiceClient<Channel>, offset: i64) -> anyhow::Result<()> {
    let request = RedriveCommandRequest { request_id: uuid::Uuid::now_v7().to_string(), offset };
    let sent = node.redrive_command(request).await.map_err(|status| refused(&status))?.into_inner();
    print(&format!("{offset} is sent again, as {}\n", sent.command_id));
    Ok(())
}

fn line(command: &RefusedCommand) -> String {
    let RefusedCommand { offset, refused, .. } = command;
    let Some(refused) = refused else { return format!("{offset}\n") };
    let kind = refused.command_type.rsplit('.').next().unwrap_or_default();
    let help = if refused.retryable { "may succeed later" } else { "as it is, it will be refused again" };
    format!("{offset}: {kind} of order {:?}: {} ({}); {help}\n", refused.order_id, refused.message, refused.code)
}
