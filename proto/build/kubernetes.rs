//! Makes the table of Kubernetes' stored messages from `wire/kubernetes/`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

const FOLDER: &str = "wire/kubernetes";

/// The file of what all groups share; it holds no kinds.
const SHARED: &str = "meta";

/// Fields whose message Kubernetes' JSON lays into the message that has the field.
const INLINE_FIELDS: &[&str] = &[
    "ephemeralContainerCommon",
    "ingressRuleValue",
    "localObjectReference",
    "persistentVolumeSource",
    "volumeSource",
];

/// The table as Rust source; see `cascade_proto::wire::kubernetes`.
pub(crate) fn table() -> Result<String, Box<dyn Error>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(FOLDER)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            sources.push(path);
        }
    }
    sources.sort();

    let mut code = String::new();
    let mut kinds = Vec::new();
    for file in protox::compile(sources, ["."])?.file {
        let (group, version) = group_and_version(&file)?;
        for message in &file.message_type {
            let full_name = format!(".{}.{}", file.package(), message.name());
            if own_shape(&full_name).is_some() {
                continue;
            }
            write_message(&mut code, &full_name, message)?;
            if group != SHARED && is_kind(message) {
                let kind = message.name().to_owned();
                kinds.push((group.clone(), kind, version.clone(), full_name));
            }
        }
    }
    kinds.sort();
    writeln!(code, "static KINDS: &[(&str, &str, &str, &Message)] = &[")?;
    for (group, kind, version, full_name) in kinds {
        let message = constant(&full_name);
        writeln!(code, "    ({group:?}, {kind:?}, {version:?}, &{message}),")?;
    }
    writeln!(code, "];")?;
    Ok(code)
}

/// A file is named after its API group, or `group@version` for a version that differs from the
/// others; `core` stands for the group "".
fn group_and_version(file: &FileDescriptorProto) -> Result<(String, String), Box<dyn Error>> {
    let stem = Path::new(file.name())
        .file_stem()
        .and_then(|stem| stem.to_str())
        .ok_or("a file without a name")?;
    let (group, version) = stem.split_once('@').unwrap_or((stem, ""));
    let group = if group == "core" { "" } else { group };
    Ok((group.to_owned(), version.to_owned()))
}

fn is_kind(message: &DescriptorProto) -> bool {
    message
        .field
        .iter()
        .any(|field| field.number() == 1 && field.name() == "metadata")
}

fn write_message(
    code: &mut String,
    full_name: &str,
    message: &DescriptorProto,
) -> Result<(), Box<dyn Error>> {
    let mut fields: Vec<_> = message.field.iter().collect();
    fields.sort_by_key(|field| field.number());
    writeln!(code, "static {}: Message = Message {{", constant(full_name))?;
    writeln!(code, "    name: {:?},", message.name())?;
    writeln!(code, "    fields: &[")?;
    for field in fields {
        let is_map = message
            .nested_type
            .iter()
            .any(|nested| field.type_name() == format!("{full_name}.{}", nested.name()));
        writeln!(
            code,
            "        Field {{ number: {}, name: {:?}, shape: {}, repeated: {} }},",
            field.number(),
            field.name(),
            if is_map {
                "Shape::TextMap".to_owned()
            } else {
                shape(field)?
            },
            field.label() == Label::Repeated && !is_map,
        )?;
    }
    writeln!(code, "    ],\n}};")?;
    Ok(())
}

fn shape(field: &FieldDescriptorProto) -> Result<String, Box<dyn Error>> {
    Ok(match field.r#type() {
        Type::String => "Shape::Text".to_owned(),
        Type::Bytes => "Shape::Bytes".to_owned(),
        Type::Int32 | Type::Int64 => "Shape::Integer".to_owned(),
        Type::Bool => "Shape::Bool".to_owned(),
        Type::Message => match (own_shape(field.type_name()), field.type_name()) {
            (Some(shape), _) => shape.to_owned(),
            (None, name) if INLINE_FIELDS.contains(&field.name()) => {
                format!("Shape::Inline(&{})", constant(name))
            }
            (None, name) => format!("Shape::Message(&{})", constant(name)),
        },
        other => return Err(format!("{}: no shape for type {other:?}", field.name()).into()),
    })
}

/// The shape of messages that are a single value in Kubernetes' JSON.
fn own_shape(full_name: &str) -> Option<&'static str> {
    match full_name {
        ".kubernetes.meta.Time" => Some("Shape::Time"),
        ".kubernetes.meta.MicroTime" => Some("Shape::MicroTime"),
        ".kubernetes.meta.IntOrString" => Some("Shape::IntOrString"),
        _ => None,
    }
}

/// `.kubernetes.core.PodSpec` becomes `CORE_PODSPEC`.
fn constant(full_name: &str) -> String {
    full_name
        .trim_start_matches(".kubernetes.")
        .replace('.', "_")
        .to_uppercase()
}
