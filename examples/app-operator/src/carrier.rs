//! The CPID on an object.

use cascade_cpid::ChangeContext;
use cascade_cpid::carriers::{KOC_ANNOTATION, koc};
use kube::ResourceExt;

/// What an object carries. An annotation that says nothing valid is reported and counts as none:
/// guessing would invent a cause.
pub(crate) fn context_of(object: &impl ResourceExt) -> Option<ChangeContext> {
    let text = object.annotations().get(KOC_ANNOTATION)?;
    koc::read(text).unwrap_or_else(|error| {
        let name = object.name_any();
        tracing::warn!(name, %error, "ignored a cpid annotation that cannot be read");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[test]
    fn a_damaged_annotation_is_no_cause() {
        let mut object = ConfigMap::default();
        assert_eq!(context_of(&object), None);
        let annotate = |object: &mut ConfigMap, text: &str| {
            object
                .annotations_mut()
                .insert(KOC_ANNOTATION.to_owned(), text.to_owned());
        };
        annotate(&mut object, r#"{"cpid":"a","ancCpids":["b"]}"#);
        let context = context_of(&object).unwrap();
        assert_eq!((context.cpid.as_str(), context.ancestors.len()), ("a", 1));
        annotate(&mut object, "{");
        assert_eq!(context_of(&object), None);
    }
}
