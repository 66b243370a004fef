//! `jari dead-letters`: commands from Kafka that were refused, and the call that sends one again.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use anyhow::{Context, bail};
use jari_proto::{
    operations::v1::{ListRefusedCommandsRequest, RedriveCommandRequest, RefusedCommand, operations_service_client::OperationsServiceClient},
    status::reason,
};
use tonic::{Code, Status, transport::Channel};

use super::{print, print_pages};
use crate::{
    cli::DeadLetters,
    config::Config,
    connect::{self, refused},
};

/// Commands of a page.
const PAGE: i32 = 500;
/// The code of one that cannot be sent again, whoever tries.
const NOT_KEPT: &str = "COMMAND_NOT_KEPT";

/// Lists them, or sends some again.
///
/// # Errors
/// A server that does not answer, or what it refuses.
pub async fn run(config: &Config, options: DeadLetters) -> anyhow::Result<()> {
    let channel = connect::node(config, options.server.as_deref()).await?;
    let mut node = OperationsServiceClient::new(channel).max_decoding_message_size(64 << 20);
    if !options.redrive.is_empty() {
        let sent = redrive(&mut node, &options.redrive).await?;
        // each of them was named: one that cannot be sent is a failure, too
        return if sent.not_kept + sent.failed == 0 { Ok(()) } else { bail!("{}", sent.line()) };
    }
    let wanted = |command: &RefusedCommand| {
        let of = |wanted: &Option<String>, is: fn(&RefusedCommand) -> &str| wanted.as_deref().is_none_or(|wanted| wanted == is(command));
        of(&options.code, |command| command.refused.as_ref().map_or("", |refused| &refused.code))
            && of(&options.order, |command| command.refused.as_ref().map_or("", |refused| &refused.order_id))
    };
    // all of them first: what is refused once more comes behind them, and would be sent again for ever
    let (mut found, mut lineage) = (Vec::new(), Lineage::default());
    print_pages("no commands were refused\n", async |page_token| {
        let asked = ListRefusedCommandsRequest { page_size: PAGE, page_token, ..Default::default() };
        let page = node.list_refused_commands(asked).await.map_err(|status| refused(&status))?.into_inner();
        let mut lines = Vec::new();
        for command in &page.refused_commands {
            let before = lineage.add(command);
            if wanted(command) {
                found.push(command.offset);
                lines.push(line(command, before));
            }
        }
        Ok((lines, page.next_page_token))
    })
    .await?;
    if !options.redrive_all || found.is_empty() {
        return Ok(());
    }
    let listed = found.len();
    found.retain(|offset| !lineage.followed.contains(offset));
    let sent = redrive(&mut node, &found).await?;
    print(&format!("{}; {} were left out, since a later one came of them\n", sent.line(), listed - found.len()));
    if sent.failed > 0 { bail!("{} were not sent again, though they can be", sent.failed) } else { Ok(()) }
}

/// What came of sending some again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    sent: usize,
    not_kept: usize,
    failed: usize,
}

impl Sent {
    fn line(&self) -> String {
        format!("{} sent again, {} not", self.sent, self.not_kept + self.failed)
    }
}

/// Sends them again, one after the other, and tells of each. One that is not sent holds up none behind it, but for a node or a Kafka that is away: those
/// hold up all.
async fn redrive(node: &mut OperationsServiceClient<Channel>, offsets: &[i64]) -> anyhow::Result<Sent> {
    let mut all = Sent::default();
    for offset in offsets {
        let request = RedriveCommandRequest { request_id: uuid::Uuid::now_v7().to_string(), offset: *offset };
        match node.redrive_command(request).await {
            Ok(sent) => {
                all.sent += 1;
                print(&format!("{offset} is sent again, as {}\n", sent.into_inner().command_id));
            }
            Err(status) if is_away(&status) => {
                return Err(refused(&status)).context(format!("{}; those from {offset} on were not tried", all.line()));
            }
            Err(status) => {
                let is_not_kept = reason(&status).is_some_and(|code| code == NOT_KEPT);
                *(if is_not_kept { &mut all.not_kept } else { &mut all.failed }) += 1;
                print(&format!("{offset} is not sent again: {}\n", refused(&status)));
            }
        }
    }
    Ok(all)
}

/// Whether the answer is about the node, the way to it or its Kafka, and not about the one command: only a refusal has a code.
fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable || reason(status).is_none()
}

/// Which refused command came of which. Fed with all of them, in their order.
#[derive(Debug, Default)]
struct Lineage {
    /// The last of each line, by the marks under which the next one would come.
    last: HashMap<u64, i64>,
    /// Those of which a later one came: to send them again would double their line each time.
    followed: HashSet<i64>,
}

impl Lineage {
    /// Takes the next one, and gives the one that it came of: the same command of the same sender, under the same id or the one under which it is sent
    /// again.
    fn add(&mut self, command: &RefusedCommand) -> Option<i64> {
        let refused = command.refused.as_ref()?;
        let mark = |id: &str| {
            let mut mark = DefaultHasher::new();
            (id, &refused.command_source, &refused.command_type, &refused.command).hash(&mut mark);
            mark.finish()
        };
        // one that bore no id that could be used was not sent again by anybody
        let marks = [&refused.command_id, &command.command_id_again].map(|id| Some(id).filter(|id| !id.is_empty()).map(|id| mark(id)));
        let before = marks[0].and_then(|own| self.last.remove(&own));
        self.followed.extend(before);
        self.last.extend(marks.into_iter().flatten().map(|mark| (mark, command.offset)));
        before
    }
}

fn line(command: &RefusedCommand, before: Option<i64>) -> String {
    let RefusedCommand { offset, refused, .. } = command;
    let Some(refused) = refused else { return format!("{offset}\n") };
    let kind = refused.command_type.rsplit('.').next().unwrap_or_default();
    let help = if refused.retryable { "may succeed later" } else { "as it is, it will be refused again" };
    let again = before.map(|before| format!(", again after {before}")).unwrap_or_default();
    format!("{offset}{again}: {kind} of order {:?}: {} ({}); {help}\n", refused.order_id, refused.message, refused.code)
}

#[cfg(test)]
mod tests {
    use jari_proto::order::v1::OrderCommandRefused;

    use super::*;

    fn letter(offset: i64, id: &str, again: &str, command: &str) -> RefusedCommand {
        let refused = OrderCommandRefused { command_id: id.into(), command: command.into(), ..Default::default() };
        RefusedCommand { offset, id: String::new(), refused: Some(refused), command_id_again: again.into() }
    }

    #[test]
    fn only_the_newest_of_a_line_of_refusals_is_sent_again() {
        let mut lineage = Lineage::default();
        let letters = [
            letter(0, "a", "b", "order 1"),
            letter(2, "x", "x", "order 2"),
            letter(4, "b", "c", "order 1"),
            // sent again twice before the first was refused once more
            letter(6, "b", "d", "order 1"),
            // not decided at first: under its own id again
            letter(8, "x", "y", "order 2"),
            // an id that its sender used for two commands, and none
            letter(10, "d", "e", "order 3"),
            letter(12, "", "f", "order 4"),
            letter(14, "", "g", "order 4"),
        ];
        let before: Vec<_> = letters.iter().map(|letter| lineage.add(letter)).collect();
        assert_eq!(before, [None, None, Some(0), Some(4), Some(2), None, None, None]);
        assert_eq!(lineage.followed, HashSet::from([0, 2, 4]));
    }

    #[test]
    fn a_refusal_of_one_command_is_told_apart_from_a_node_that_is_away() {
        let told = |code, kind| jari_proto::status::refusal_status(code, kind, "no", [].into(), None);
        assert!(!is_away(&told(NOT_KEPT, Code::FailedPrecondition)) && !is_away(&told("REFUSED_COMMAND_UNKNOWN", Code::NotFound)));
        assert!(is_away(&told("KAFKA_UNAVAILABLE", Code::Unavailable)) && is_away(&Status::unknown("reset")));
    }
}
