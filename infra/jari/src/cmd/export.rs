//! `jari export FOLDER`

use std::process::ExitCode;

use anyhow::anyhow;
use jari_event_store::{ChainWalk, Reader};
use jari_export::{Checked, ExportError, Format, Progress, Settings, check, check_chain, check_rows, export};

use super::{
    print,
    progress::{Line, print_findings, until_interrupted},
};
use crate::{
    cli::{Export, ExportFormat},
    config::Config,
    database,
};

/// The least claim on the processor that there is: bookings come first.
const LEAST: i32 = 19;

/// Takes of the processor what others leave.
pub fn give_way() {
    // one who may not be nicer is as nice as allowed
    let _ = rustix::process::nice(LEAST);
}

/// Exports what is new, or checks what was exported.
///
/// # Errors
/// What stands in the way, with its code; what was finished stays.
pub async fn run(config: &Config, options: &Export) -> anyhow::Result<ExitCode> {
    let reader = Reader::new(database::find(config)?.database);
    if options.check {
        return compare(&reader, options).await;
    }
    let format = options.format.map(|format| match format {
        ExportFormat::Parquet => Format::Parquet,
        ExportFormat::Jsonl => Format::Jsonl,
    });
    let settings = Settings { format, per_second: options.rate, ..Settings::default() };
    let (stop, mut line) = (until_interrupted(), Line::default());
    let done = export(&reader, &options.folder, settings, |progress| line.show(|| described(&progress)), &stop).await;
    line.end();
    let done = done.map_err(coded)?;
    let (rows, files, bytes, position) = (done.rows, done.files, done.bytes, done.position);
    if rows == 0 && position == done.head {
        print(&format!("nothing is new: everything up to position {position} was exported before\n"));
    } else {
        print(&format!("{rows} events in {files} files, {bytes} bytes: everything after position {} up to {position}\n", done.after));
    }
    if position < done.head {
        print(&format!("stopped before the head of the log, {}; the next export goes on from here\n", done.head));
    }
    Ok(ExitCode::SUCCESS)
}

async fn compare(reader: &Reader, options: &Export) -> anyhow::Result<ExitCode> {
    let folder = options.folder.clone();
    let mut checked = tokio::task::spawn_blocking(move || check(&folder)).await?.map_err(coded)?;
    check_chain(reader, &mut checked).await?;
    if checked.steps == 0 && checked.findings.is_empty() {
        print("nothing is exported here yet\n");
        return Ok(ExitCode::FAILURE);
    }
    let proved = if options.rows && checked.findings.is_empty() { Some(prove(reader, options, &mut checked).await?) } else { None };
    print(&format!("{} events in {} files of {} steps, up to position {}\n", checked.rows, checked.files, checked.steps, checked.position));
    print_findings(&checked.findings);
    if !checked.findings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("every file is as it was written; {} heads of the log's chain are as they were\n", checked.heads.len()));
    if let Some(proved) = proved {
        print(&format!("every row is what the log holds, and the log is what its chain says, up to {proved}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes everything anew from a log whose digests are walked from its beginning; where the walk ended.
async fn prove(reader: &Reader, options: &Export, checked: &mut Checked) -> anyhow::Result<String> {
    check_rows(reader, &options.folder, checked).await.map_err(coded)?;
    let mut chain = ChainWalk::begin(reader.database().clone()).await?;
    // ends at the log's head: a page takes its batches from those after the one before it
    while let Some(broken) = chain.step().await? {
        checked.findings.extend(broken.iter().map(ToString::to_string));
    }
    let chained = chain.at();
    Ok(format!("head {} at position {}", super::verify::hex(&chained.head), chained.position))
}

fn coded(error: ExportError) -> anyhow::Error {
    anyhow!("{}: {error}", error.code())
}

/// `120000 of 4000000 events, 3.0 %, 95000 a second`
fn described(progress: &Progress) -> String {
    let Progress { position, head, events_per_second, percent } = progress;
    format!("{position} of {head} events, {percent:.1} %, {events_per_second:.0} a second")
}
