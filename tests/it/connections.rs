//! The connection itself, below gRPC: what a client is told of its bounds, and what becomes of one that has fallen silent.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{harness::database, serving::Serving};

/// HTTP/2's first words, and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// One frame: its type and what it holds; nothing when the server has ended the connection.
async fn frame(connection: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
    connection.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

fn setting(settings: &[u8], id: u16) -> Option<u32> {
    let of = |entry: &[u8]| (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]));
    settings.chunks_exact(6).map(of).find_map(|(at, value)| (at == id).then_some(value))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_told_how_many_calls_it_may_make_and_is_ended_when_it_answers_no_ping() {
    let shop = Serving::on(database().await, |config| {
        config.server.keepalive_seconds = 1;
        config.server.max_streams = 77;
    })
    .await;
    let mut silent = TcpStream::connect(shop.node.address).await.unwrap();
    silent.write_all(HELLO).await.unwrap();
    let (mut bound, mut asked) = (None, false);
    let until_its_end = async {
        while let Some((kind, payload)) = frame(&mut silent).await {
            match kind {
                SETTINGS => bound = bound.or(setting(&payload, MAX_CONCURRENT_STREAMS)),
                PING => asked = true,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until_its_end).await.expect("it is ended");
    assert_eq!((bound, asked), (Some(77), true));
    shop.node.stop().await;
}
