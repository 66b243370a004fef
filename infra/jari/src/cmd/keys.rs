//! `jari keys`: a new master key, and the list of erasures.

use std::{io::IsTerminal, path::Path};

use anyhow::Context;
use jari_sealing::{ErasureList, MasterSource, SealingError};

use super::print;
use crate::{
    cli::{Keys as Options, KeysCommand},
    config::Config,
    database,
    keys::{self, Keys},
};

/// Does it on the database of the keys, beside the nodes that serve.
///
/// # Errors
/// What stands in the way, with its code.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    act(config, options).await.map_err(|error| match error.downcast_ref().map(SealingError::code) {
        Some(code) => error.context(code),
        None => error,
    })
}

async fn act(config: &Config, options: &Options) -> anyhow::Result<()> {
    let private = match config.keys.url.is_empty() {
        true => database::find(config)?.access,
        false => None,
    };
    let keys = keys::find(config, private.as_ref())?.context("keys.url names no database for the keys of persons")?;
    keys.store.migrate().await?;
    match &options.what {
        KeysCommand::Rotate { no_new, forget } => rotate(&keys, !no_new, *forget).await,
        KeysCommand::Erasures { export: Some(path), .. } => export(&keys, path).await,
        KeysCommand::Erasures { apply: Some(path), .. } => apply(&keys, path).await,
        KeysCommand::Erasures { .. } => unreachable!("the command line asks for one of the two"),
    }
}

async fn rotate(keys: &Keys, with_new: bool, forget: bool) -> anyhow::Result<()> {
    if with_new && matches!(keys.masters, MasterSource::File(_)) {
        // first: a rotation that cannot be done would leave one more master key in the file each time, which nothing retires
        keys.store.opens_with(&keys.masters.read()?).await?;
        keys.masters.add_new()?;
    }
    let masters = keys.masters.read()?;
    print(&format!("the present master key is {}\n", masters.present()));
    let shows = std::io::stderr().is_terminal();
    let rotated = keys
        .store
        .rotate(&masters, |done| {
            if shows {
                eprint!("\r{done} keys wrapped anew   ");
            }
        })
        .await?;
    if shows {
        eprintln!();
    }
    print(&format!(
        "{} keys were wrapped anew; retired: {}\n",
        rotated.keys,
        if rotated.retired.is_empty() { "none".into() } else { rotated.retired.join(", ") }
    ));
    if forget {
        let gone = keys.masters.drop_retired(&rotated.retired)?;
        print(&format!("{gone} retired master keys were removed from the file: destroy its backups, too\n"));
    } else {
        print(
            "Back the new master key up. Once no older backup of the keys is needed, destroy the retired ones (--forget): what was erased is then beyond everybody\n",
        );
    }
    Ok(())
}

async fn export(keys: &Keys, path: &Path) -> anyhow::Result<()> {
    let list = ErasureList::new(path);
    let unknown = keys.store.copy_to(&list).await?;
    print(&format!("{} holds {} erasures\n", path.display(), list.read()?.len()));
    if unknown > 0 {
        print(&format!(
            "{unknown} of them are not in this database: if it was restored, apply them (`jari keys erasures --apply {}`)\n",
            path.display()
        ));
    }
    Ok(())
}

async fn apply(keys: &Keys, path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(path.exists(), "{} is not there", path.display());
    let listed = ErasureList::new(path).read()?;
    let gone = keys.store.apply(&listed).await?;
    // so that the next start has them, too
    keys.store.agree_with(&ErasureList::new(&keys.list)).await?;
    print(&format!("{} erasures applied: {gone} keys had come back and were destroyed again\n", listed.len()));
    Ok(())
}
