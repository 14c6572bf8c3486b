//! What a derivation depends on, as its name.

use std::fmt::Write as _;

use cascade_proto::tables::SCHEMA_VERSION;
use uuid::Uuid;

use crate::catalog::Trace;
use crate::milestones::Declarations;
use crate::session::EngineOptions;

/// Version of the layout of the files; raised when an older reader would misread them.
pub(super) const LAYOUT_VERSION: u32 = 1;
/// Hash of the sources of the rules, see build.rs.
pub(super) const RULES: &str = env!("CASCADE_RULES");

/// The id of the tables that this program derives of a trace with these settings. Memory and threads make no
/// difference.
pub(crate) fn id(trace: &Trace, options: &EngineOptions, declarations: &Declarations) -> String {
    let mut told = format!("layout {LAYOUT_VERSION}\nschema {SCHEMA_VERSION}\nrules {RULES}\n");
    let mut clients = options.clients.clone();
    clients.sort_unstable();
    for client in clients {
        // Writing to a String cannot fail.
        let _ = writeln!(told, "client {client:?}");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(told, "without {}", options.causes_without);
    if let Some(given) = &declarations.given {
        let _ = writeln!(told, "milestones {given:?}");
    }
    for input in &trace.inputs {
        let digest = input.digest.as_deref().unwrap_or("journal");
        let _ = writeln!(told, "file {:?} {} {digest}", input.file, input.rows);
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, told.as_bytes()).to_string()
}
