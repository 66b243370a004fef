//! The parts of a node that go on beside its server: each has a name, and is joined within a bound.

use std::{future::Future, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// A task of the node.
#[derive(Debug)]
pub(crate) struct Part {
    /// As an operator knows it.
    pub name: &'static str,
    task: JoinHandle<()>,
    /// Whether the node is of no use without it.
    is_needed: bool,
    /// Its end was told.
    is_told: bool,
}

impl Part {
    pub fn new(name: &'static str, task: JoinHandle<()>) -> Self {
        Self { name, task, is_needed: false, is_told: false }
    }

    /// One that bookings need.
    pub fn needed(self) -> Self {
        Self { is_needed: true, ..self }
    }

    /// Starts one.
    pub fn start(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Self {
        // joined by [`join`]; what ends it is the work's own affair
        Self::new(name, tokio::spawn(work))
    }

    /// Whether the node cannot go on: this part has ended by itself, and bookings need it. That another has ended is told, once.
    pub fn is_missed(&mut self) -> bool {
        let is_over = self.task.is_finished();
        if is_over && !self.is_needed && !std::mem::replace(&mut self.is_told, true) {
            tracing::error!(part = self.name, "a part of the node ended by itself; its role is free for another node, and bookings go on without it");
        }
        is_over && self.is_needed
    }
}

/// Several of the same name.
pub(crate) fn all(name: &'static str, tasks: Vec<JoinHandle<()>>) -> impl Iterator<Item = Part> {
    tasks.into_iter().map(move |task| Part::new(name, task))
}

/// Waits until all have ended, which they were told to. Those that have not ended after `bound`, all together, are given up: each of them waits for
/// something that does not come, as from a database that stands still, and the next start finds what it had under way, as after a crash.
pub(crate) async fn join(parts: Vec<Part>, bound: Duration) {
    let end = Instant::now() + bound;
    for Part { name, mut task, .. } in parts {
        match timeout_at(end, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(part = name, %error, "a part of the node broke"),
            Err(_) => {
                task.abort();
                tracing::warn!(part = name, seconds = bound.as_secs(), "a part of the node did not end in time, and was given up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_part_that_does_not_end_is_given_up_and_the_others_are_joined() {
        let (dropped, ended) = (CancellationToken::new(), CancellationToken::new());
        let (guard, done) = (dropped.clone().drop_guard(), ended.clone());
        let stuck = Part::start("stuck", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        let slow = Part::start("slow", async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            done.cancel();
        });
        let broken = Part::start("broken", async { panic!("as it should in this test") });
        let began = Instant::now();
        join(vec![stuck, slow, broken], Duration::from_secs(5)).await;
        assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_secs(30));
        assert!(ended.is_cancelled());
        tokio::time::timeout(Duration::from_secs(30), dropped.cancelled()).await.expect("what is given up goes on no more");
    }
}
