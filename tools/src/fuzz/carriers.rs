//! Carriers of CPIDs: texts that anybody who writes objects or calls can choose.

use cascade_cpid::carriers::embedded::{self, JsonPointer};
use cascade_cpid::carriers::{baggage, default_carriers, koc, text, traceparent};

use super::take_piece;

/// Input: a JSON pointer (a piece), a baggage header (a piece), and the text of a carrier.
///
/// # Panics
/// When what was read and is written again is read as something else.
pub(super) fn run(mut input: &[u8]) {
    let pointer = String::from_utf8_lossy(take_piece(&mut input));
    let header = String::from_utf8_lossy(take_piece(&mut input));
    let carrier = String::from_utf8_lossy(input);

    if let Ok(Some(context)) = koc::read(&carrier) {
        assert_eq!(context.validate(), Ok(()));
        if let Ok(written) = koc::write(&context) {
            assert_eq!(koc::read(&written), Ok(Some(context)), "{written}");
        }
    }
    if let Ok(Some(context)) = text::read(&carrier) {
        assert_eq!(text::write(&context.cpid).as_deref(), Ok(carrier.as_ref()));
    }
    if let Ok(parsed) = carrier.parse::<traceparent::Traceparent>() {
        assert_eq!(parsed.to_string().parse(), Ok(parsed));
        let read = traceparent::read(&carrier);
        assert_eq!(
            read.map(|context| context.map(|context| context.cpid)),
            Ok(Some(parsed.trace_id()))
        );
    }
    if let Ok(pointer) = pointer.parse::<JsonPointer>() {
        let _ = embedded::read(&carrier, &pointer);
    }
    for default in default_carriers() {
        let _ = default.format.read(&carrier);
    }

    if let Ok(Some(cpid)) = baggage::read(&header) {
        assert!(!cpid.is_empty());
        if let Ok(written) = baggage::write(Some(&header), &cpid) {
            assert_eq!(baggage::read(&written), Ok(Some(cpid)), "{written}");
        }
    }
    // Any text is a CPID, and stands beside whatever others have written.
    if let Ok(written) = baggage::write(Some(&header), &carrier) {
        assert!(written.len() <= baggage::MAX_BYTES);
        assert!(written.is_ascii(), "{written}");
        assert_eq!(
            baggage::read(&written).ok().flatten().as_deref(),
            Some(carrier.as_ref())
        );
        // Nothing of the others is lost by writing it again.
        assert_eq!(
            baggage::write(Some(&written), &carrier).as_ref(),
            Ok(&written)
        );
    }
}
