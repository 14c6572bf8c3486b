//! Which actors start cascades: the one list of client programs.

/// Names of programs that act for a person or a pipeline, as they appear in a user agent or as a field
/// manager. An actor is a client if its name begins with one of them and no letter follows.
pub const CLIENTS: &[&str] = &[
    "Apache-HttpClient",
    "Go-http-client",
    "Helm",
    "Lens",
    "Mozilla",
    "OpenAPI-Generator",
    "Postman",
    "PostmanRuntime",
    "Pulumi",
    "Terraform",
    "Wget",
    "ansible",
    "axios",
    "before-first-apply",
    "clusterloader",
    "clusterloader2",
    "curl",
    "e2e.test",
    "helm",
    "http.rb",
    "k6",
    "k9s",
    "kubectl",
    "kubernetes-client",
    "kustomize",
    "node-fetch",
    "oc",
    "okhttp",
    "pulumi-kubernetes",
    "python",
    "python-httpx",
    "python-requests",
    "python-urllib3",
    "skaffold",
    "terraform-provider-kubernetes",
    "tilt",
    "unknown",
];

/// Whether an actor of this name starts cascades rather than reacting to changes.
#[must_use]
pub fn is_client(actor: &str) -> bool {
    CLIENTS.iter().any(|client| {
        actor
            .strip_prefix(client)
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_people_are_clients() {
        for client in [
            "kubectl",
            "kubectl-client-side-apply",
            "curl",
            "curl/8.1",
            "helm",
            "k6",
        ] {
            assert!(is_client(client), "{client}");
        }
        for reconciler in [
            "kube-controller-manager",
            "kubelet",
            "octopus-operator",
            "helmreleases-controller",
            "kubectlish",
            "",
        ] {
            assert!(!is_client(reconciler), "{reconciler}");
        }
    }
}
