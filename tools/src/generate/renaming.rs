//! Gives the objects of a copy names and uids of their own, equal ones for equal ones.

use std::rc::Rc;

use cascade_proto::tables::{Call, Change, Moment, Object, Request, RequestCall, Timestamp};
use uuid::Uuid;

use super::template::Part;

/// Which copy of a recording, and within it which of many equal objects.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    copy: u32,
    /// Counts the objects, or the writes, from 1.
    number: u32,
    part: Option<Rc<Part>>,
    has_own_labels: bool,
}

impl Tag {
    /// All objects of a copy.
    pub(super) const fn whole(copy: u32) -> Self {
        Self::again(copy, 0)
    }

    /// The same objects as before, written once more: only calls and requests are new ones.
    pub(super) const fn again(copy: u32, number: u32) -> Self {
        Self {
            copy,
            number,
            part: None,
            has_own_labels: false,
        }
    }

    /// One of many objects that are made after a part of a recording.
    pub(super) fn member(copy: u32, number: u32, part: &Rc<Part>, has_own_labels: bool) -> Self {
        Self {
            copy,
            number,
            part: Some(Rc::clone(part)),
            has_own_labels,
        }
    }

    /// Number of the object with this uid.
    fn number_of(&self, uid: &str) -> u32 {
        match &self.part {
            Some(part) if part.members.contains(uid) => self.number,
            _ => 0,
        }
    }

    fn uid(&self, uid: &mut String) {
        let (copy, number) = (self.copy, self.number_of(uid));
        let Ok(id) = Uuid::try_parse(uid) else {
            uid.push_str(&format!("-{copy}-{number}"));
            return;
        };
        let key = mix(u64::from(copy) << 32 | u64::from(number));
        let other = u128::from(key) << 64 | u128::from(mix(key));
        *uid = Uuid::from_u128(id.as_u128() ^ other).to_string();
    }

    /// A span or trace id: hexadecimal, of which the first half or all is 64 bits.
    fn span(&self, id: &mut String) {
        let key = mix(!(u64::from(self.copy) << 32 | u64::from(self.number)));
        let head = id
            .get(..16)
            .and_then(|head| u64::from_str_radix(head, 16).ok());
        if let Some(head) = head {
            id.replace_range(..16, &format!("{:016x}", head ^ key));
        }
    }

    fn namespace(&self, namespace: &mut String) {
        namespace.push_str(&format!("-{}", self.copy));
    }

    /// The name of an object: those in a namespace keep theirs, unless there are many of them.
    fn name(&self, namespace: Option<&str>, name: &mut String) {
        let Some(namespace) = namespace else {
            name.push_str(&format!("-{}", self.copy));
            return;
        };
        let Some(part) = &self.part else {
            return;
        };
        let is_member = part
            .names
            .iter()
            .any(|(other, known)| other == namespace && known == name);
        if is_member {
            name.push_str(&format!("-{}", self.number));
        }
    }

    /// A JSON object of texts: the values are the copy's own.
    fn labels(&self, labels: &mut String) {
        let own = if self.has_own_labels { self.number } else { 0 };
        *labels = labels.replace("\":\"", &format!("\":\"{}.{own}.", self.copy));
    }

    fn hash(&self, hash: &mut i64) {
        let key = mix(u64::from(self.copy) << 32 | u64::from(self.number));
        *hash ^= i64::from_ne_bytes(key.to_ne_bytes());
    }

    /// Renames what a stored value says. Its key is of the same object.
    fn object(&self, object: &mut Object, key: &mut String) {
        let namespace = object.namespace.clone();
        let old = object.name.clone();
        if let Some(name) = &mut object.name {
            self.name(namespace.as_deref(), name);
        }
        if let Some(namespace) = &mut object.namespace {
            self.namespace(namespace);
        }
        *key = self.key(key, namespace.as_deref(), old.as_deref(), object);
        if let Some(uid) = &mut object.uid {
            self.uid(uid);
        }
        for owner in object.owners.iter_mut().flatten() {
            self.uid(&mut owner.uid);
            let within = match owner.kind.as_str() {
                "Node" | "Namespace" => None,
                _ => namespace.as_deref(),
            };
            self.name(within, &mut owner.name);
        }
        for uid in object.related_uids.iter_mut().flatten() {
            self.uid(uid);
        }
        for other in object.name_refs.iter_mut().flatten() {
            self.name(other.namespace.as_deref(), &mut other.name);
            if let Some(namespace) = &mut other.namespace {
                self.namespace(namespace);
            }
        }
        for labels in [&mut object.labels, &mut object.selector]
            .into_iter()
            .flatten()
        {
            self.labels(labels);
        }
        if let Some(node) = &mut object.node_name {
            self.name(None, node);
        }
        for hash in [
            &mut object.spec_hash,
            &mut object.status_hash,
            &mut object.data_hash,
            &mut object.value_hash,
        ]
        .into_iter()
        .flatten()
        {
            self.hash(hash);
        }
    }

    /// A key ends with the namespace and the name; other keys get the copy's number at their end.
    fn key(
        &self,
        key: &str,
        namespace: Option<&str>,
        name: Option<&str>,
        object: &Object,
    ) -> String {
        let renamed = || {
            let head = key.strip_suffix(name?)?;
            let Some(namespace) = namespace else {
                return Some(format!("{head}{}", object.name.as_deref()?));
            };
            let head = head.strip_suffix('/')?.strip_suffix(namespace)?;
            let (namespace, name) = (object.namespace.as_deref()?, object.name.as_deref()?);
            Some(format!("{head}{namespace}/{name}"))
        };
        renamed().unwrap_or_else(|| format!("{key}-{}", self.copy))
    }

    /// Renames a change and moves it by `shift` nanoseconds.
    pub(super) fn change(&self, change: &mut Change, shift: i64) {
        self.object(&mut change.object, &mut change.key);
        for cpid in [&mut change.cpid.cpid, &mut change.prev_cpid]
            .into_iter()
            .flatten()
            .chain(change.cpid.cpid_ancestors.iter_mut().flatten())
        {
            self.uid(cpid);
        }
        let object = &mut change.object;
        let conditions = object.conditions.iter_mut().flatten();
        let writers = object.writers.iter_mut().flatten();
        let times = [&mut object.creation_time, &mut object.deletion_time]
            .into_iter()
            .flatten()
            .chain(conditions.filter_map(|condition| condition.last_transition_time.as_mut()))
            .chain(writers.filter_map(|writer| writer.time.as_mut()));
        for time in times {
            *time = move_second(*time, shift);
        }
    }

    /// Renames a call of a change and moves it.
    pub(super) fn call(&self, call: &mut Call, change: &Change, shift: i64) {
        call.key = Some(change.key.clone());
        for id in [&mut call.trace_id, &mut call.span_id]
            .into_iter()
            .flatten()
        {
            self.span(id);
        }
        if let Some(hash) = &mut call.value_hash {
            self.hash(hash);
        }
        if let Some(cpid) = &mut call.cpid {
            self.uid(cpid);
        }
        call.request = moved(call.request, shift);
        call.response = call.response.map(|response| moved(response, shift));
    }

    /// Renames the request of a call and moves it.
    pub(super) fn request(&self, request: &mut Request, link: &mut RequestCall, shift: i64) {
        for id in [
            &mut request.trace_id,
            &mut request.span_id,
            &mut link.trace_id,
            &mut link.call_span_id,
            &mut link.request_span_id,
        ] {
            self.span(id);
        }
        if let Some(parent) = &mut request.parent_span_id {
            self.span(parent);
        }
        if let Some(audit) = &mut request.audit_id {
            self.uid(audit);
        }
        let namespace = request.namespace.clone();
        if let Some(name) = &mut request.name {
            self.name(namespace.as_deref(), name);
        }
        if let Some(namespace) = &mut request.namespace {
            self.namespace(namespace);
        }
        request.start = moved(request.start, shift);
        request.end = moved(request.end, shift);
        request.received_unix_nano += shift;
    }
}

/// A moment, later.
pub(super) fn moved(moment: Moment, shift: i64) -> Moment {
    Moment {
        unix_nano: moment.unix_nano + shift,
    }
}

/// A time of one second's resolution, later.
fn move_second(time: Timestamp, shift: i64) -> Timestamp {
    const MICROSECONDS: i64 = 1_000_000;
    Timestamp((time.0 + shift / 1_000).div_euclid(MICROSECONDS) * MICROSECONDS)
}

/// A number that looks random, another one for every number (splitmix64's finaliser).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
