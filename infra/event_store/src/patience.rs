//! How long a question to the database may take, and what becomes of the connection on which one was given up.
//!
//! A server that stands still (its disk hangs, its machine is paused) keeps connections open and says nothing. On a network the system notices after
//! a while; on a local socket nobody ever does.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Hook, HookError, Metrics};
use futures::FutureExt;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Database, LogError};

/// How long a short question may take unless whoever asks has other settings, the wait for a connection included: a hundred times what a slow one
/// takes, and less than a caller has patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that was lent longer ago than this is asked for a sign before it is lent again. Where many ask, connections are lent more often than
/// that, and nobody pays for it. Where a question was given up sooner, whoever is lent the connection next may wait in vain, but no longer than that.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long that sign may take, and how long the server is told to let go of what the connection still does.
const SIGN: Duration = Duration::from_secs(1);

impl Database {
    /// What `question`, a short one, gives within the patience that callers of this database have.
    ///
    /// # Errors
    /// As [`within`].
    pub async fn in_time<T, E: From<LogError>>(&self, question: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        within(self.patience, question).await
    }
}

/// What `question` gives within a bound.
///
/// # Errors
/// Its own, and [`LogError::Silent`] when it takes longer: then it is given up, and may still be answered to nobody.
pub async fn within<T, E: From<LogError>>(bound: Duration, question: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    timeout(bound, question).await.unwrap_or_else(|_| Err(LogError::Silent(bound).into()))
}

/// Takes a connection out of the pool that gives no sign: what was given up on it stands in the way of whoever is lent it next. A server that lives is
/// told to let go of that, or given-up questions would pile up there, each with a connection.
pub(crate) fn sign(tls: MakeRustlsConnect) -> Hook {
    Hook::async_fn(move |client: &mut ClientWrapper, lent: &Metrics| {
        if lent.last_used() < TRUSTED {
            return std::future::ready(Ok(())).boxed();
        }
        let tls = tls.clone();
        async move {
            if matches!(timeout(SIGN, client.simple_query("")).await, Ok(Ok(_))) {
                return Ok(());
            }
            // of no use to a server that is gone or stands still
            let _ = timeout(SIGN, client.cancel_token().cancel_query(tls)).await;
            Err(HookError::message("no sign of life"))
        }
        .boxed()
    })
}
