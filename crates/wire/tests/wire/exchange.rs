//! Four conversations between a till and the core, frame by frame. `docs/protocol.md` prints them from the vectors.
//! There are two connections: what is late comes over A, which hung, and everything after that goes over B. On one
//! connection a request cannot overtake an earlier one for the same account.

use crate::answers::{answer, decision};
use crate::requests::{NOON, account, key, padded, purchase};
use crate::{Sample, encode_any_answer};
use tegata_model::{Code, CredentialId, Operation};
use tegata_wire::*;

/// Collects the frames of a conversation.
struct Talk(Vec<Sample>);

impl Talk {
    fn asks(&mut self, name: &'static str, meaning: &str, header: &RequestHeader, operation: &Operation) {
        let mut frame = Vec::new();
        encode_operation(header, operation, &mut frame);
        self.0.push(Sample { name, meaning: meaning.to_owned(), frame });
    }

    fn gets(&mut self, name: &'static str, meaning: &str, kind: u8, flags: u16, number: u32, id: u64, d: DecisionBody) {
        let frame = encode_any_answer(&answer(kind, flags, number, id, AnswerBody::Decision(d)));
        self.0.push(Sample { name, meaning: meaning.to_owned(), frame });
    }
}

/// The header of a request for a coupon, under the nth key, which was made `made` seconds after noon.
fn header(coupon: &str, request_id: u64, n: u8, made: i64, acked: u32) -> RequestHeader {
    RequestHeader {
        acked,
        request_id,
        deadline_ms: 5_000,
        account: *account(coupon).bytes(),
        key: *key(n, made).bytes(),
        namespace: 21,
        ..RequestHeader::default()
    }
}

/// Decided so many milliseconds after noon.
fn decided(at_ms: i64, d: DecisionBody) -> DecisionBody {
    DecisionBody { decided_at: NOON + at_ms * 1_000, ..d }
}

/// Every frame of the three conversations, in order.
pub fn samples() -> Vec<Sample> {
    let mut t = Talk(Vec::new());
    debit(&mut t);
    time_out(&mut t);
    reversal_first(&mut t);
    secret(&mut t);
    t.0
}

/// What the server says to a hello that it takes.
fn greeting() -> HelloAnswer {
    HelloAnswer {
        version: 1,
        frame_bytes_max: 4_096,
        credits: 1_024,
        idle_limit_ms: 600_000,
        server_time: NOON,
        position: 4_710,
        store_id: padded("store-0001"),
        ..HelloAnswer::default()
    }
}

/// The secret is 32 bytes of 07.
fn secret(t: &mut Talk) {
    let credential = CredentialId::from_text("till-501").expect("an id");
    let challenge = Challenge { credential, nonce: [1; 32] };
    let mut frame = Vec::new();
    challenge.encode(1, &mut frame);
    t.0.push(Sample { name: "4-challenge", meaning: "A: the caller's nonce is 32 bytes of 01".into(), frame });
    let challenged = Challenged { nonce: [2; 32], store_id: greeting().store_id };
    let mut frame = Vec::new();
    encode_challenged(&mut frame, 1, &challenged);
    t.0.push(Sample { name: "4-challenged", meaning: "the server's nonce is 32 bytes of 02".into(), frame });
    let said = Hello {
        version_min: 1,
        version_max: 1,
        gateway: 501,
        role: 1,
        auth_method: AUTH_SECRET,
        namespaces: vec![21],
        ..Hello::default()
    };
    let auth = Exchange { challenge, challenged }.sign(&Secret::new([7; 32]), &said);
    let mut frame = Vec::new();
    Hello { auth, ..said }.encode(2, &mut frame);
    t.0.push(Sample { name: "4-hello", meaning: "A: gateway 501, with the proof".into(), frame });
    let mut frame = Vec::new();
    encode_hello_answer(&mut frame, 2, &greeting());
    t.0.push(Sample { name: "4-hello-answer", meaning: "version 1, 1,024 credits".into(), frame });
}

fn debit(t: &mut Talk) {
    let mut hello = Vec::new();
    let said =
        Hello { version_min: 1, version_max: 1, gateway: 501, role: 1, namespaces: vec![21], ..Hello::default() };
    said.encode(1, &mut hello);
    t.0.push(Sample { name: "1-hello", meaning: "A: gateway 501, keys of namespace 21".into(), frame: hello });
    let greeted = answer(KIND_HELLO, 0, 0, 1, AnswerBody::Hello(greeting()));
    t.0.push(Sample {
        name: "1-hello-answer",
        meaning: "A: version 1, 1,024 credits".into(),
        frame: encode_any_answer(&greeted),
    });
    let pay = Operation::Debit(purchase(1_500, "", 0, false));
    let coupon = header("C-1001", 2, 1, 1, 0);
    t.asks("1-debit", "A: coupon C-1001 pays 1,500 yen at SHOP1; 5,000 ms to live", &coupon, &pay);
    let approved = decided(1_040, decision(Code::Approved, 1_500, 3_500, 4_711, 0));
    t.gets("1-debit-answer", "A: approved, 3,500 yen left, position 4711; answer number 1", 4, 0, 1, 2, approved);
    let mut ack = Vec::new();
    encode_request(&RequestHeader { kind: KIND_ACK, acked: 1, ..RequestHeader::default() }, &mut ack);
    t.0.push(Sample { name: "1-ack", meaning: "A: the till showed it: answer 1 was seen".into(), frame: ack });
}

fn time_out(t: &mut Talk) {
    let pay = Operation::Debit(purchase(800, "T1", 0, false));
    let first = header("C-1002", 3, 2, 2, 1);
    t.asks("2-debit", "A: coupon C-1002 pays 800 yen; the network holds it up, no answer comes", &first, &pay);
    let again = RequestHeader { request_id: 2, age_ms: 5_000, deadline_ms: 8_000, acked: 0, ..first };
    t.asks("2-debit-repeat", "B, after its hello: the same key and body, 5,000 ms old", &again, &pay);
    let busy = DecisionBody { retry_after_ms: 250, ..decision(Code::Overloaded, 0, 0, 0, 0) };
    let refused = "B: refused for load, again in 250 ms; this says nothing about the first frame";
    t.gets("2-repeat-answer", refused, 4, 0, 1, 2, decided(7_010, busy));
    let fence = RequestHeader { request_id: 3, age_ms: 0, deadline_ms: 5_000, acked: 1, ..first };
    t.asks("2-fence", "B: never, from now on; the fence carries the debit's own key", &fence, &Operation::Fence);
    let fenced = decided(7_300, decision(Code::Fenced, 0, 0, 4_712, 0));
    t.gets("2-fence-answer", "B: fenced at 4712: nothing was taken, cash is safe", 12, 0, 2, 3, fenced);
    t.gets("2-debit-late", "A: the debit arrives after all and is told the same", 4, FLAG_REPLAYED, 2, 3, fenced);
}

fn reversal_first(t: &mut Talk) {
    let pay = Operation::Debit(purchase(2_000, "", 0, false));
    let original = header("C-1003", 4, 3, 10, 1);
    t.asks("3-debit", "A: coupon C-1003 pays 2,000 yen; held up again", &original, &pay);
    let undo = Operation::Reversal { original: key(3, 10), remain: 0 };
    t.asks(
        "3-reversal",
        "B: undo key 3, which the core has not seen, under key 4",
        &header("C-1003", 4, 4, 16, 2),
        &undo,
    );
    let done = decided(16_030, decision(Code::Approved, 0, 0, 4_713, 0));
    t.gets("3-reversal-answer", "B: accepted, 0 yen moved: a fence stands under key 3", 10, 0, 3, 4, done);
    let fenced = decided(16_030, decision(Code::Fenced, 0, 0, 4_713, 0));
    t.gets("3-debit-answer", "A: fenced by the reversal at 4713: nothing is taken", 4, FLAG_REPLAYED, 3, 4, fenced);
}
