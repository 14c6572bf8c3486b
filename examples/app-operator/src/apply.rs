//! `kubectl apply --trace` of the paper: where a CPID comes from.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use cascade_cpid::{ChangeContext, Merged, merge};
use cascade_proto::wire::mergelog::{Mergelog, MergelogRequest};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::baggage::with_cpid;
use crate::carrier::context_of;
use crate::client::{annotate, is_conflict};
use crate::inputs::Triggers;
use crate::report::{TraceServer, merge_record, root_record};
use crate::write_log::{WriteLog, Written};

/// The field manager of what is applied, and who reports its CPIDs.
const MANAGER: &str = "app-operator-apply";

/// How often an object may change between reading and writing it.
const ATTEMPTS: usize = 10;

/// Applies every object of a YAML or JSON file.
pub(crate) struct Apply<'a> {
    pub(crate) client: Client,
    /// The root CPID of this call, one for all objects; without it the objects' CPIDs are left alone.
    pub(crate) root: Option<ChangeContext>,
    pub(crate) server: Option<TraceServer>,
    pub(crate) keep_ancestors: usize,
    pub(crate) log: Option<&'a WriteLog>,
}

impl Apply<'_> {
    /// Reports the root CPID, then applies all objects. Nothing is written if the trace server does
    /// not answer: there would be a CPID that nobody knows.
    ///
    /// # Errors
    /// What went wrong, with the object it is about.
    pub(crate) async fn run(&mut self, file: &Path) -> anyhow::Result<()> {
        let objects = read_objects(file)?;
        if let Some(root) = self.root.clone() {
            self.post(root_record(MANAGER, &root, "apply --trace"))
                .await?;
        }
        for object in objects {
            let name = format!(
                "{} {}",
                object["kind"].as_str().unwrap_or("object"),
                object["metadata"]["name"]
                    .as_str()
                    .unwrap_or("without a name"),
            );
            self.apply(object)
                .await
                .with_context(|| format!("{name} could not be applied"))?;
        }
        Ok(())
    }

    async fn apply(&mut self, object: Value) -> anyhow::Result<()> {
        let typed: DynamicObject =
            serde_json::from_value(object.clone()).context("it is no Kubernetes object")?;
        let types = typed
            .types
            .clone()
            .context("apiVersion and kind are missing")?;
        let kind = GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = pinned_kind(&self.client, &kind).await?;
        let namespace = typed
            .namespace()
            .unwrap_or_else(|| self.client.default_namespace().to_owned());
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
        };
        let name = typed
            .metadata
            .name
            .clone()
            .context("metadata.name is missing")?;
        let parameters = PatchParams::apply(MANAGER).force();
        let mut made = None;
        for _ in 0..ATTEMPTS {
            let known = api.get_opt(&name).await?;
            let before = known.as_ref().and_then(context_of);
            let context = self.context(before.as_ref(), &mut made).await?;
            let mut patch = object.clone();
            if let Some(context) = &context {
                annotate(&mut patch, context)?;
            }
            let revision = known.as_ref().and_then(ResourceExt::resource_version);
            if let Some(revision) = &revision {
                // So that no CPID that we have not merged is overwritten.
                patch["metadata"]["resourceVersion"] = Value::from(revision.as_str());
            }
            let patch = Patch::Apply(patch);
            let request = api.patch(&name, &parameters, &patch);
            let written = Written {
                verb: "apply",
                kind: &types.kind,
                namespace: &namespace,
                name: &name,
                before: before.as_ref(),
                sent: context.as_ref(),
                sources: self
                    .root
                    .iter()
                    .chain(&before)
                    .map(|source| source.cpid.as_str())
                    .collect(),
                // A client's own decision: it has read nothing.
                inputs: Vec::new(),
                triggers: Triggers::default(),
            };
            match with_cpid(context.as_ref(), request).await {
                Ok(stored) => {
                    let unchanged = stored.resource_version() == revision;
                    if let Some(log) = self.log {
                        log.written(&written, &stored, unchanged);
                    }
                    tracing::info!(kind = types.kind, namespace, name, unchanged, "applied");
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => {
                    if let Some(log) = self.log {
                        log.conflict(&written);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("it changed {ATTEMPTS} times between reading and writing it; try again")
    }

    /// What an object is to carry that carries `before`: the root, or a new CPID made of both. One
    /// that was made for an earlier attempt is used again while `before` is the same.
    async fn context(
        &mut self,
        before: Option<&ChangeContext>,
        made: &mut Option<(Option<ChangeContext>, ChangeContext)>,
    ) -> anyhow::Result<Option<ChangeContext>> {
        let Some(root) = self.root.clone() else {
            return Ok(None);
        };
        if let Some((of, context)) = made
            && of.as_ref() == before
        {
            return Ok(Some(context.clone()));
        }
        let context = match merge(
            [root].into_iter().chain(before.cloned()),
            self.keep_ancestors,
        ) {
            Merged::Nothing => return Ok(None),
            Merged::Reuse(context) => context,
            Merged::New {
                context,
                source_cpids,
            } => {
                if let Some(log) = self.log {
                    log.merged(&context, &source_cpids);
                }
                self.post(merge_record(
                    MANAGER,
                    &context,
                    &source_cpids,
                    "apply --trace",
                ))
                .await?;
                context
            }
        };
        *made = Some((before.cloned(), context.clone()));
        Ok(Some(context))
    }

    async fn post(&mut self, record: Mergelog) -> anyhow::Result<()> {
        if let Some(server) = &mut self.server {
            let request = MergelogRequest {
                mergelogs: vec![record],
            };
            server
                .post_mergelogs(request)
                .await
                .context("the trace server did not take a mergelog")?;
        }
        Ok(())
    }
}

/// The objects of a file, or of stdin for `-`.
fn read_objects(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("stdin cannot be read")?
    } else {
        std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?
    };
    let objects =
        parse_objects(&text).with_context(|| format!("{} is not valid YAML", file.display()))?;
    ensure!(!objects.is_empty(), "{} holds no object", file.display());
    Ok(objects)
}

fn parse_objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    // An empty document between two separators is null.
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_several_objects() {
        let text = "# two\n---\nkind: A\nmetadata: {name: a}\n---\nkind: B\nspec:\n  port: 80\n";
        let objects = parse_objects(text).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[1]["spec"]["port"], 80);
        assert_eq!(parse_objects(r#"{"kind": "A"}"#).unwrap().len(), 1);
        assert!(parse_objects("kind: [").is_err());
    }
}
