//! Waiting for credits is waiting for others' answers: it is no fault of the connection.

use crate::stage::{client, debit};
use std::time::Duration;
use tegata_client::{InDoubt, Outcome, Role};
use tegata_model::Code;
use tegata_wire::{self as wire, DecisionBody, HelloAnswer, Scan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than a third, and shorter than the whole, of what the client waits for one answer (2 s).
const SERVICE: Duration = Duration::from_millis(900);

/// A server that has one credit, works on one question at a time, and says of every key that it was fenced.
async fn serve(mut stream: TcpStream) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    while stream.read_buf(&mut input).await.is_ok_and(|n| n > 0) {
        while let Scan::Frame { frame, .. } = wire::scan(&input, wire::FRAME_BYTES_MAX) {
            let (header, len) = (wire::request_header(frame).expect("a frame"), frame.len());
            input.drain(..len);
            match header.kind {
                wire::KIND_HELLO => {
                    let hello = HelloAnswer { version: u16::from(wire::VERSION), credits: 1, ..HelloAnswer::default() };
                    wire::encode_hello_answer(&mut out, header.request_id, &hello);
                }
                wire::KIND_STATUS => {
                    tokio::time::sleep(SERVICE).await;
                    let fenced = DecisionBody { code: u16::from(Code::Fenced.number()), ..DecisionBody::default() };
                    wire::encode_decision_answer(&mut out, header.kind, 0, 0, header.request_id, &fenced);
                }
                _ => {}
            }
            stream.write_all(&out).await.expect("the client reads");
            out.clear();
        }
    }
}

#[tokio::test]
async fn who_waits_for_credits_does_not_give_the_connection_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let till = client(listener.local_addr().expect("bound"), Role::Gateway);
    let server = tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connections += 1;
            assert_eq!(connections, 1, "another connection, although the first one works");
            tokio::spawn(serve(stream));
        }
    });
    let doubt = |yen| InDoubt { attempt: debit("C1", yen, 0), code: Code::Unknown };
    let resolve = |yen| till.resolve(doubt(yen), Duration::from_secs(20));
    for outcome in <[Outcome; 4]>::from(tokio::join!(resolve(1), resolve(2), resolve(3), resolve(4))) {
        assert!(matches!(outcome, Outcome::Declined(_)), "{outcome:?}");
    }
    assert!(!server.is_finished(), "{:?}", server.await);
}
