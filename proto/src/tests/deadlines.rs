//! Calls that give themselves too little time.

use std::{convert::Infallible, pin::Pin, time::Duration};

use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service, service_fn};

use crate::{
    deadline::{self, Timed},
    status::reason,
};

/// What a server of ours makes of a call that takes so long and then answers with `body`.
async fn answer(timeout: Option<&str>, takes: Duration, body: Body) -> Response<Timed> {
    let body = std::sync::Mutex::new(Some(body));
    let inner = service_fn(move |_: Request<Body>| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            sleep(takes).await;
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let mut request = Request::new(Body::empty());
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    deadline::layer().layer(inner).call(request).await.unwrap()
}

/// A stream with something to say each `pause`, for ever.
struct Talking(Pin<Box<tokio::time::Sleep>>, Duration);

impl http_body::Body for Talking {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        if !self.1.is_zero() {
            std::task::ready!(self.0.as_mut().poll(context));
            self.0 = Box::pin(sleep(self.1));
        }
        std::task::Poll::Ready(Some(Ok(Frame::data(bytes::Bytes::from_static(b"word")))))
    }
}

fn talking(pause: Duration) -> Body {
    Body::new(Talking(Box::pin(sleep(pause)), pause))
}

/// The words of a stream, and how it ended.
async fn heard(answer: Response<Timed>) -> (usize, HeaderMap) {
    let (mut body, mut words) = (answer.into_body(), 0);
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.unwrap().into_trailers() {
            Ok(trailers) => {
                assert!(body.is_end_stream(), "nothing comes after the end");
                return (words, trailers);
            }
            Err(_) => words += 1,
        }
    }
    (words, HeaderMap::new())
}

fn told(headers: &HeaderMap) -> (Code, Option<String>) {
    let status = Status::from_header_map(headers).unwrap();
    (status.code(), reason(&status))
}

fn exceeded() -> (Code, Option<String>) {
    (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED".to_owned()))
}

#[test]
fn a_calls_own_deadline_is_read_from_its_header() {
    let of = |text: &str| {
        let mut call = HeaderMap::new();
        call.insert("grpc-timeout", text.parse().unwrap());
        deadline::of(&call)
    };
    assert_eq!(of("2S"), Some(Duration::from_secs(2)));
    assert_eq!(of("150m"), Some(Duration::from_millis(150)));
    assert_eq!(of("1H"), Some(Duration::from_secs(3_600)));
    for bad in ["", "S", "2", "2x", "123456789S", "-1S"] {
        assert_eq!(of(bad), None, "{bad:?}");
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_so_shortly_before_its_end() {
    for (timeout, shortest) in [("300m", 294), ("2m", 0), ("1n", 0)] {
        let began = Instant::now();
        let late = answer(Some(timeout), Duration::from_secs(3_600), Body::empty()).await;
        assert!(began.elapsed() >= Duration::from_millis(shortest), "{timeout}: {:?}", began.elapsed());
        assert_eq!(told(late.headers()), exceeded(), "{timeout}");
    }
    let in_time = answer(Some("60S"), Duration::from_millis(10), Body::empty()).await;
    assert!(in_time.headers().is_empty());
}

#[tokio::test]
async fn a_call_without_a_deadline_takes_as_long_as_it_takes() {
    for timeout in [None, Some("soon"), Some("123456789n")] {
        let answered = answer(timeout, Duration::from_millis(300), Body::empty()).await;
        assert!(answered.headers().is_empty(), "{timeout:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_call_however_much_it_has_to_say() {
    let (words, end) = heard(answer(Some("5S"), Duration::ZERO, talking(Duration::from_millis(20))).await).await;
    assert!((1..=250).contains(&words), "{words}");
    assert_eq!(told(&end), exceeded());
    let (words, end) = heard(answer(Some("100m"), Duration::ZERO, talking(Duration::from_secs(3_600))).await).await;
    assert_eq!((words, told(&end)), (0, exceeded()), "one that is silent");
    let (words, end) = heard(answer(Some("500m"), Duration::ZERO, talking(Duration::ZERO)).await).await;
    assert!(words > 100, "one that never pauses");
    assert_eq!(told(&end), exceeded());
}
