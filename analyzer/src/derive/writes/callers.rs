//! Who made requests, and what `requests` says of each that a write needs.

use std::borrow::Cow;
use std::cmp::Ordering;

use arrow::array::{BooleanArray, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use bytemuck::{Pod, Zeroable};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;

use super::actor;
use super::clocks::Span;
use super::words::{Translation, Word, Words};
use crate::causality::kernel::{FastMap, Interner};
use crate::derive::columns::{flags, int64, int64s, stream, text, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// Who made a request, and how: few are different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub(super) actor: Word,
    pub(super) user: Word,
    pub(super) verb: Word,
    pub(super) subresource: Word,
}

/// A request as far as a write is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RequestFacts {
    /// Received, nanoseconds since the Unix epoch, kube-apiserver's clock.
    pub(super) start_unix_nano: i64,
    /// Answered, likewise.
    pub(super) end_unix_nano: i64,
    /// The kube-apiserver whose clock this is.
    pub(super) apiserver: Word,
    /// Index into the callers plus one.
    pub(super) caller: u32,
}

/// What `caller` is of a request that was not read.
const NO_CALLER: u32 = 0;

impl RequestFacts {
    /// Of a request that was not read.
    pub(super) const NOT_READ: Self = Self {
        start_unix_nano: 0,
        end_unix_nano: 0,
        apiserver: Word::NONE,
        caller: NO_CALLER,
    };

    /// The request, if it was read.
    pub(super) fn read(self) -> Option<Self> {
        (self.caller != NO_CALLER).then_some(self)
    }

    /// From when to when kube-apiserver served it.
    pub(super) fn span(&self) -> Span {
        Span {
            begin: self.start_unix_nano,
            end: self.end_unix_nano,
        }
    }
}

/// Who made requests.
#[derive(Debug, Default)]
pub(super) struct Callers {
    list: Vec<Caller>,
    codes: FastMap<Caller, u32>,
    words: Words,
    /// User agents, and who each names.
    agents: Interner,
    actors: Vec<Word>,
}

impl Callers {
    /// Nobody yet; who is found is told in terms of `words`.
    pub(super) fn new(words: Words) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    /// Gives the words back.
    pub(super) fn take_words(&mut self) -> Words {
        std::mem::take(&mut self.words)
    }

    /// Puts the words into terms of another collection, which they were read beside.
    pub(super) fn translate(&mut self, words: &mut Words) -> Translation {
        let translation = self.take_words().translation(words);
        for caller in &mut self.list {
            *caller = Caller {
                actor: translation.of(caller.actor),
                user: translation.of(caller.user),
                verb: translation.of(caller.verb),
                subresource: translation.of(caller.subresource),
            };
        }
        translation
    }

    /// All callers, by index.
    pub(super) fn into_list(self) -> Vec<Caller> {
        self.list
    }

    /// Keeps the one of two requests that claim the same that was received first, whatever order they are read in; `known`
    /// need not have been read.
    pub(super) fn keep_first(&self, known: &mut RequestFacts, other: RequestFacts) {
        if known.caller == NO_CALLER || self.order(&other, known).is_lt() {
            *known = other;
        }
    }

    /// By when requests were received. Those of the same time are told apart by texts: which of two words is less depends
    /// on what was read before.
    fn order(&self, one: &RequestFacts, other: &RequestFacts) -> Ordering {
        let times = |request: &RequestFacts| (request.start_unix_nano, request.end_unix_nano);
        let texts = |request: &RequestFacts| {
            let caller = at(&self.list, request.caller);
            let words =
                caller.map(|caller| [caller.actor, caller.user, caller.verb, caller.subresource]);
            let words = words.map(|words| words.map(|word| self.words.text(word)));
            (self.words.text(request.apiserver), words)
        };
        times(one).cmp(&times(other)).then_with(|| {
            if one == other {
                return Ordering::Equal;
            }
            texts(one).cmp(&texts(other))
        })
    }

    fn code(&mut self, caller: Caller) -> u32 {
        *self.codes.entry(caller).or_insert_with(|| {
            self.list.push(caller);
            // Callers are far fewer than requests, and more than four billion fit into no memory.
            u32::try_from(self.list.len()).unwrap_or(NO_CALLER)
        })
    }

    /// The actor in a user agent; there are few different ones.
    fn actor(&mut self, user_agent: &str) -> Word {
        let number = self.agents.number(user_agent) as usize;
        if number == self.actors.len() {
            let actor = actor::of_user_agent(user_agent);
            self.actors.push(self.words.of(actor));
        }
        self.actors.get(number).copied().unwrap_or(Word::NONE)
    }
}

/// All requests, to be taken in by [`RequestColumns`].
pub(super) async fn requests(context: &SessionContext) -> Result<SendableRecordBatchStream, Error> {
    let query = format!(
        "SELECT trace_id, span_id, apiserver, start_unix_nano, end_unix_nano, method, name IS NOT NULL AS is_named,
            subresource, user_agent, \"user\"
        FROM {STORED_SCHEMA}.requests"
    );
    stream(context, &query).await
}

/// Some of the requests.
pub(super) struct RequestColumns<'b> {
    pub(super) traces: &'b StringArray,
    pub(super) spans: &'b StringArray,
    starts: &'b Int64Array,
    ends: &'b Int64Array,
    apiservers: &'b StringArray,
    methods: &'b StringArray,
    named: &'b BooleanArray,
    subresources: &'b StringArray,
    agents: &'b StringArray,
    users: &'b StringArray,
}

impl<'b> RequestColumns<'b> {
    pub(super) fn of(batch: &'b RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            traces: texts(batch, "trace_id")?,
            spans: texts(batch, "span_id")?,
            starts: int64s(batch, "start_unix_nano")?,
            ends: int64s(batch, "end_unix_nano")?,
            apiservers: texts(batch, "apiserver")?,
            methods: texts(batch, "method")?,
            named: flags(batch, "is_named")?,
            subresources: texts(batch, "subresource")?,
            agents: texts(batch, "user_agent")?,
            users: texts(batch, "user")?,
        })
    }

    /// The request in a row, unless it is not known when it was.
    pub(super) fn facts(&self, row: usize, callers: &mut Callers) -> Option<RequestFacts> {
        let (start_unix_nano, end_unix_nano) =
            int64(self.starts, row).zip(int64(self.ends, row))?;
        let actor = text(self.agents, row).map_or(Word::NONE, |agent| callers.actor(agent));
        let verb = text(self.methods, row).map(|method| verb(method, self.named.value(row)));
        let words = &mut callers.words;
        let caller = Caller {
            actor,
            user: words.of(text(self.users, row)),
            verb: words.of(verb.as_deref()),
            subresource: words.of(text(self.subresources, row)),
        };
        Some(RequestFacts {
            start_unix_nano,
            end_unix_nano,
            apiserver: words.of(text(self.apiservers, row)),
            caller: callers.code(caller),
        })
    }
}

/// The entry at an index plus one; nothing at 0.
pub(super) fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?.checked_sub(1)?)
}

/// Kubernetes' verb for an HTTP method: a DELETE that names no object deletes a collection.
fn verb(method: &str, is_named: bool) -> Cow<'static, str> {
    match (method, is_named) {
        ("POST", _) => "create".into(),
        ("PUT", _) => "update".into(),
        ("PATCH", _) => "patch".into(),
        ("DELETE", true) => "delete".into(),
        ("DELETE", false) => "deletecollection".into(),
        _ => method.to_lowercase().into(),
    }
}
