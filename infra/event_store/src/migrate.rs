//! The schema, brought up to date by the program itself.

use crate::{Database, LogError};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock under which one node migrates while the others wait.
const MIGRATION_LOCK: i64 = 0x6a61_7269_0001;

/// Brings the schema up to date. Safe when many nodes start at once: one works, the others wait and find nothing to do.
///
/// `owner` reaches the database as the role that owns the schema; `server_role` is granted the server's rights when it is another.
///
/// # Errors
/// [`LogError::Migration`] when a released migration was changed, or the database refuses a statement.
pub async fn migrate(owner: &Database, server_role: Option<&str>) -> Result<(), LogError> {
    let mut client = owner.dedicated().await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    let migrated = embedded::migrations::runner().set_abort_divergent(true).set_abort_missing(true).run_async(&mut client).await;
    let granted = match server_role {
        Some(role) => grant(&client, role).await,
        None => Ok(()),
    };
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
    migrated.map_err(|e| LogError::Migration(in_full(&e)))?;
    granted
}

async fn grant(client: &tokio_postgres::Client, role: &str) -> Result<(), LogError> {
    let known = client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1 AND NOT pg_has_role(rolname, 'jari_server', 'member')", &[&role]).await?;
    if known.is_some() {
        // A role's name cannot be a parameter; `quote_ident` is the server's own.
        let statement: String = client.query_one("SELECT format('GRANT jari_server TO %I', $1::text)", &[&role]).await?.try_get(0)?;
        client.batch_execute(&statement).await.map_err(|error| {
            let said = LogError::Database(error);
            LogError::Migration(format!("{said}; the role jari_server belongs to another owner of this server: let its superuser run `{statement}`"))
        })?;
    }
    Ok(())
}

/// An error with its causes: the outermost one does not say what the database said.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
