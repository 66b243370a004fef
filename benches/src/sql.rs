//! (a) Plain SQL: a transaction that takes one unit under a condition and writes a booking; and the same as one hand-made statement.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    drive::{Measured, closed_loop},
    place::{Bench, connect, pool},
};

const ONE_STATEMENT: &str = include_str!("sql/one_statement.sql");
const TAKE: &str = "UPDATE plain_slots SET remaining = remaining - 1 WHERE id = $1 AND remaining > 0";
const BOOK: &str = "INSERT INTO plain_bookings (id, slot, customer) VALUES ($1, $2, $3)";

/// Makes the tables of every baseline.
///
/// # Errors
/// A database that does not answer.
pub async fn prepare(bench: &Bench) -> anyhow::Result<()> {
    Ok(connect(&bench.config).await?.batch_execute(include_str!("sql/plain_schema.sql")).await?)
}

/// `clients` callers over `connections`; the transaction, or the one statement.
///
/// # Errors
/// A database that does not answer.
pub async fn run(bench: &Bench, slots: i32, clients: usize, connections: usize, one: bool, lasts: Duration) -> anyhow::Result<Measured> {
    let pool = pool(&bench.config, connections)?;
    Ok(closed_loop(clients, lasts, move |client, n| {
        let pool = pool.clone();
        async move {
            let slot = i32::try_from((client as u64 * 7_919 + n * 31) % slots as u64).unwrap_or(0);
            let booked = async {
                let mut connection = pool.get().await?;
                if one {
                    let statement = connection.prepare_cached(ONE_STATEMENT).await?;
                    return anyhow::Ok(connection.execute(&statement, &[&slot, &Uuid::now_v7(), &"customer"]).await? == 1);
                }
                let (take, book) = (connection.prepare_cached(TAKE).await?, connection.prepare_cached(BOOK).await?);
                let transaction = connection.transaction().await?;
                if transaction.execute(&take, &[&slot]).await? != 1 {
                    return Ok(false);
                }
                transaction.execute(&book, &[&Uuid::now_v7(), &slot, &"customer"]).await?;
                transaction.commit().await?;
                Ok(true)
            };
            booked.await.unwrap_or(false)
        }
    })
    .await)
}
