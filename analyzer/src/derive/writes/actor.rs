//! The actor that a user agent names.
//!
//! The rule, the same for SQL, reports and coverage:
//! - client-go says `program/version (os/arch) kubernetes/commit`, and `rest.AddUserAgent` appends
//!   `/loop`: the actor is the loop, as in `kube-controller-manager/v1.34.4 (linux/amd64)
//!   kubernetes/abc/replicaset-controller` → `replicaset-controller`. A loop that uses credentials of its
//!   own is named by its service account, `system:serviceaccount:kube-system:replicaset-controller`;
//!   the actor is the account's name, so that both settings give the same word.
//! - Any other user agent: the program before the first `/`, as in `kubectl/v1.34.4 (linux/amd64)
//!   kubernetes/abc` → `kubectl`, `curl/8.5.0` → `curl`.

/// What begins the name of a service account as a user.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The actor in a user agent; `None` when it names nobody.
pub(crate) fn of_user_agent(user_agent: &str) -> Option<&str> {
    let actor = controller_loop(user_agent).unwrap_or_else(|| program(user_agent));
    (!actor.is_empty()).then_some(actor)
}

/// The loop that `rest.AddUserAgent` appended.
fn controller_loop(user_agent: &str) -> Option<&str> {
    let (_program, rest) = user_agent.split_once(" (")?;
    let (platform, rest) = rest.split_once(") kubernetes/")?;
    let (_os, _architecture) = platform.split_once('/')?;
    let (_commit, appended) = rest.split_once('/')?;
    let name = appended.trim().rsplit('/').next()?;
    let name = match name.strip_prefix(SERVICE_ACCOUNT) {
        Some(account) => account.rsplit(':').next()?,
        None => name,
    };
    (!name.is_empty()).then_some(name)
}

/// What stands before the version.
fn program(user_agent: &str) -> &str {
    let words = user_agent.trim();
    words.split(['/', ' ']).next().unwrap_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_of_all_kinds() {
        let go = "(linux/amd64) kubernetes/abc1234";
        for (user_agent, actor) in [
            (
                format!("kube-controller-manager/v1.34.4 {go}/replicaset-controller"),
                Some("replicaset-controller"),
            ),
            (
                format!(
                    "kube-controller-manager/v1.20.2 {go}/system:serviceaccount:kube-system:job-controller"
                ),
                Some("job-controller"),
            ),
            (
                format!("kube-scheduler/v1.34.4 {go}/scheduler"),
                Some("scheduler"),
            ),
            (
                format!("kube-scheduler/v1.34.4 {go}"),
                Some("kube-scheduler"),
            ),
            (format!("kubectl/v1.34.4 {go}"), Some("kubectl")),
            (format!("kubelet/v1.34.4 {go}/"), Some("kubelet")),
            (
                "manager/v0.0.0 (linux/amd64) kubernetes/$Format/shop/app".into(),
                Some("app"),
            ),
            ("curl/8.5.0".into(), Some("curl")),
            (
                "OpenAPI-Generator/29.0.0/python".into(),
                Some("OpenAPI-Generator"),
            ),
            (
                "Mozilla/5.0 (X11; Linux) kubernetes/x".into(),
                Some("Mozilla"),
            ),
            ("my operator".into(), Some("my")),
            ("kwok".into(), Some("kwok")),
            ("/1.0".into(), None),
            ("  ".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(of_user_agent(&user_agent), actor, "{user_agent:?}");
        }
    }
}
