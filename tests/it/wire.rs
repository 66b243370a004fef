//! A wire to PostgreSQL that can be cut where it hurts most.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jari_event_store::{Database, PoolSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
};
use tokio_postgres::config::Host;

/// Where the connection of an append breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server has committed and answered; the answer is lost.
    AfterCommit,
    /// The server has half of the request.
    WithinRequest,
    /// The server gets the request only after the caller has seen the connection break.
    Delayed,
}

/// Passes connections on to PostgreSQL, and cuts the next append where it is told.
pub struct Wire {
    armed: Arc<Mutex<Option<Cut>>>,
    cuts: Arc<AtomicUsize>,
    done: Arc<Notify>,
}

/// How long a delayed request is kept back: the caller sees the break at once, and asks for the old connection's end soon.
const KEPT_BACK: Duration = Duration::from_millis(30);

impl Wire {
    /// A wire, and the database at its end.
    pub async fn to(database: &Database) -> (Self, Database) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = tokio_postgres::Config::new();
        let direct = database.config();
        config.user(direct.get_user().unwrap()).dbname(direct.get_dbname().unwrap()).host("127.0.0.1").port(listener.local_addr().unwrap().port());
        if let Some(password) = direct.get_password() {
            config.password(password);
        }
        let port = direct.get_ports().first().copied().unwrap_or(5432);
        let host = direct.get_hosts()[0].clone();
        let wire = Self { armed: Arc::default(), cuts: Arc::default(), done: Arc::default() };
        let (armed, cuts, done) = (wire.armed.clone(), wire.cuts.clone(), wire.done.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (host, armed, cuts, done) = (host.clone(), armed.clone(), cuts.clone(), done.clone());
                tokio::spawn(async move {
                    match host {
                        Host::Unix(folder) => {
                            let path: PathBuf = folder.join(format!(".s.PGSQL.{port}"));
                            let (from, to) = UnixStream::connect(path).await.unwrap().into_split();
                            pass(client, from, to, &armed, &cuts, &done).await;
                        }
                        Host::Tcp(name) => {
                            let (from, to) = TcpStream::connect((name, port)).await.unwrap().into_split();
                            pass(client, from, to, &armed, &cuts, &done).await;
                        }
                    }
                });
            }
        });
        (wire, Database::new(config, PoolSettings::default()).unwrap())
    }

    /// Cuts the next append, and returns when it is cut.
    pub async fn cut(&self, cut: Cut) {
        let cut_now = self.done.notified();
        *self.armed.lock().unwrap() = Some(cut);
        cut_now.await;
    }

    /// How many appends were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// One connection, until either side ends it or it is cut.
async fn pass(
    client: TcpStream,
    mut from_server: impl AsyncReadExt + Unpin,
    mut to_server: impl AsyncWrite + Unpin,
    armed: &Mutex<Option<Cut>>,
    cuts: &AtomicUsize,
    done: &Notify,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut appends = false;
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let request = &request[..length];
                // whoever prepares the append is the one who sends it; its next words are an append
                let prepares = request.windows(13).any(|word| word == b"append_batch(");
                let cut = if appends && !prepares { armed.lock().unwrap().take() } else { None };
                appends |= prepares;
                match cut {
                    None => if to_server.write_all(request).await.is_err() { return },
                    Some(cut) => {
                        match cut {
                            Cut::AfterCommit => {
                                to_server.write_all(request).await.unwrap();
                                // an answer comes after the commit; when the request was longer than this piece none comes
                                let _ = tokio::time::timeout(Duration::from_millis(500), from_server.read(&mut answer)).await;
                            }
                            Cut::WithinRequest => to_server.write_all(&request[..length / 2]).await.unwrap(),
                            Cut::Delayed => {}
                        }
                        drop((from_client, to_client));
                        cuts.fetch_add(1, Ordering::SeqCst);
                        done.notify_waiters();
                        if cut == Cut::Delayed {
                            tokio::time::sleep(KEPT_BACK).await;
                            let _ = to_server.write_all(request).await;
                            let _ = tokio::time::timeout(Duration::from_secs(2), from_server.read(&mut answer)).await;
                        }
                        return;
                    }
                }
            }
            read = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if to_client.write_all(&answer[..length]).await.is_err() { return }
            }
        }
    }
}
