//! What is not known after the load is asked: status, and where nothing is decided, a fence. After this every key has
//! a definite answer, or the run says that it has none.

use crate::attempts::{Attempts, Said};
use crate::seed::DataSet;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tegata_client::{Link, LinkError};
use tegata_model::Operation;
use tegata_wire::{AnswerBody, DecisionBody, KIND_STATUS, RequestHeader, encode_operation, encode_request};

/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before what was not answered definitely is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// Asks for every number, and tells `each` what was said.
pub fn resolve(
    addr: SocketAddr,
    attempts: &Attempts,
    data: &DataSet,
    unknown: &[u64],
    each: &mut dyn FnMut(&Said),
) -> Result<(), LinkError> {
    let began = Instant::now();
    let mut left = unknown.to_vec();
    while !left.is_empty() && began.elapsed() < PATIENCE {
        let mut link = Link::open(addr, false)?;
        link.answer_within(PATIENCE)?;
        for fences in [false, true] {
            let credits = (link.hello.credits as usize).max(1);
            let mut still = Vec::new();
            for some in left.chunks(credits) {
                let answers = ask(&mut link, attempts, data, some, fences)?;
                for number in some {
                    match answers.get(number) {
                        // A status says nothing of what may be on its way; whatever is decided, it says.
                        Some(d) if d.code <= 100 || d.code == 153 => each(&Said::of(*number, d)),
                        _ => still.push(*number),
                    }
                }
            }
            left = still;
        }
        if !left.is_empty() {
            std::thread::sleep(AGAIN);
        }
    }
    Ok(())
}

fn ask(
    link: &mut Link,
    attempts: &Attempts,
    data: &DataSet,
    numbers: &[u64],
    fences: bool,
) -> Result<HashMap<u64, DecisionBody>, LinkError> {
    let mut out = Vec::new();
    for number in numbers {
        let Some(a) = attempts.get(*number) else { continue };
        let header = RequestHeader {
            kind: KIND_STATUS,
            request_id: *number,
            deadline_ms: 30_000,
            account: data.account_bytes(a.account),
            key: a.key,
            namespace: data.namespace,
            ..RequestHeader::default()
        };
        if fences {
            encode_operation(&header, &Operation::Fence, &mut out);
        } else {
            encode_request(&header, &mut out);
        }
    }
    link.send(&out)?;
    let mut answers = HashMap::new();
    for _ in numbers {
        let answer = link.receive()?;
        if let AnswerBody::Decision(d) = answer.body {
            answers.insert(answer.header.request_id, d);
        }
    }
    Ok(answers)
}
