//! The client: one attempt, one outcome, however many connections and sends that takes.

use crate::call::Call;
use crate::connection::{Access, Connection, Credential, Lost, OpenError};
use crate::keys::random;
use crate::outcome::{InDoubt, Outcome};
use crate::retry::Budget;
use crate::sends::{Attempt, Next, PATIENCE, Resolving, Sends};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tegata_wire::Answer;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Where and as whom to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers that hold the same state, in the order in which they are tried.
    pub addrs: Vec<SocketAddr>,
    /// Who calls.
    pub credential: Credential,
}

/// A client. Cheap to clone; all clones share one connection, which is made when it is first needed and made again
/// whenever it is lost.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    access: Access,
    current: Mutex<Current>,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    /// Number of the address that is tried first when there is none.
    next: usize,
}

impl Client {
    /// A client; nothing is connected yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_access(options, Access::default())
    }

    /// The same, and proves who calls.
    #[must_use]
    pub fn with_access(options: Options, access: Access) -> Self {
        Self { shared: Arc::new(Shared { options, access, current: Mutex::default(), budget: Budget::new() }) }
    }

    /// The connection, made now if there is none.
    pub async fn connection(&self) -> Result<Arc<Connection>, OpenError> {
        let mut current = self.shared.current.lock().await;
        if let Some(connection) = current.connection.as_ref().filter(|c| c.is_usable()) {
            return Ok(Arc::clone(connection));
        }
        let (mut error, addrs) = (OpenError::TimedOut, &self.shared.options.addrs);
        // Whoever does not wait for one address to time out leaves the next one to those who come after.
        let first = current.next;
        for n in first..first + addrs.len() {
            let addr = addrs[n % addrs.len()];
            current.next = (n + 1) % addrs.len();
            match Connection::open_with(addr, &self.shared.options.credential, &self.shared.access, CONNECT_MAX).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *current = Current { connection: Some(Arc::clone(&connection)), next: 0 };
                    return Ok(connection);
                }
                Err(e) => error = e,
            }
        }
        current.next = 0;
        Err(error)
    }

    /// Ends the connection in order: what was answered is acknowledged first.
    pub async fn close(&self) {
        let connection = self.shared.current.lock().await.connection.take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }

    /// Sends an attempt until it has an outcome or its deadline passes: again under the same key, over another
    /// connection where one has gone quiet.
    ///
    /// It keeps nothing between attempts. A repeat under a key that was [`Outcome::Unknown`] may be told
    /// [`Outcome::NotExecuted`] or [`Outcome::SuspectedDuplicate`]: that speaks of the sends of the repeat alone, and the key
    /// is unknown still until it has a decision, or [`Client::resolve`] has fenced it.
    pub async fn decide(&self, attempt: &Attempt) -> Outcome {
        self.decide_and_tell(attempt, u32::MAX).await.0
    }

    /// The outcome, and whether anything was heard of a server meanwhile. It does not wait for the deadline when no
    /// connection could be made so many times in a row.
    pub(crate) async fn decide_and_tell(&self, attempt: &Attempt, alone_max: u32) -> (Outcome, bool) {
        let budget = &self.shared.budget;
        budget.earn();
        let began = Instant::now();
        let until = began + attempt.deadline;
        let (answers, mut inbox) = mpsc::unbounded_channel();
        let mut sends = Sends::new(attempt, alone_max);
        let mut last = None;
        loop {
            match sends.next(began.elapsed(), budget, random) {
                Next::Connect => match self.connection_by(until).await {
                    Err(said) => sends.unconnected(said),
                    Ok(connection) => {
                        let call = sends.connected(began.elapsed());
                        // What still waits for credits when the deadline comes was not sent.
                        match timeout_at(until, connection.send(call, answers.clone())).await {
                            Err(_) => sends.not_sent(),
                            Ok(()) => sends.sent(began.elapsed(), random),
                        }
                        last = Some(connection);
                    }
                },
                Next::Retire => {
                    if let Some(quiet) = &last {
                        quiet.retire();
                    }
                }
                Next::Wait(to) => {
                    if let Ok(Some(got)) = timeout_at(began + to, inbox.recv()).await {
                        sends.heard(began.elapsed(), got);
                    }
                }
                Next::End(outcome) => return (outcome, sends.was_heard()),
                Next::Ask(_) => unreachable!("an attempt asks nothing"),
            }
        }
    }

    /// The way out of an unknown outcome: asks for the status, and fences the key if nothing is decided under it.
    /// After a fence the original never takes effect, and [`Outcome::Declined`] means that nothing was taken. Goes on
    /// for `patience`; what is still unknown then is given back. A refusal of the question or of the fence says nothing
    /// about the key.
    pub async fn resolve(&self, doubt: InDoubt, patience: Duration) -> Outcome {
        let began = Instant::now();
        let mut resolving = Resolving::new(doubt, patience);
        loop {
            match resolving.next(began.elapsed()) {
                Next::Ask(call) => {
                    let answer = self.ask_or_tell(call, began + patience).await.ok();
                    resolving.heard(began.elapsed(), answer, random);
                }
                Next::Wait(to) => sleep_until(began + to).await,
                Next::End(outcome) => return outcome,
                Next::Connect | Next::Retire => unreachable!("whoever asks sees to the connection"),
            }
        }
    }

    /// The answer to one send, or whether a server said that it does not want this caller.
    pub(crate) async fn ask_or_tell(&self, call: Call, until: Instant) -> Result<Answer, bool> {
        let connection = self.connection_by(until.min(Instant::now() + PATIENCE)).await?;
        let (answers, mut answer) = mpsc::unbounded_channel();
        // Who waits for credits waits for others' answers: that is not the connection's fault.
        timeout_at(until, connection.send(call, answers)).await.map_err(|_| false)?;
        match timeout_at(until.min(Instant::now() + PATIENCE), answer.recv()).await {
            Ok(answer) => answer.unwrap_or(Err(Lost::Unanswered)).map_err(|_| false),
            Err(_) => {
                connection.retire();
                Err(false)
            }
        }
    }

    /// The connection, or whether a server refused to have one.
    pub(crate) async fn connection_by(&self, until: Instant) -> Result<Arc<Connection>, bool> {
        match timeout_at(until, self.connection()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(e)) => Err(e.is_of_server()),
            Err(_) => Err(false),
        }
    }
}
