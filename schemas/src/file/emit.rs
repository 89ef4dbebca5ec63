//! Version 1 documents as YAML, laid out as people write them: fields in the order of the documentation, small lists of
//! small mappings one item to a line.

use serde_json::Value;

use super::v1;

/// Fields in the order they are written; any others follow by name.
pub(crate) const ORDER: [&str; 56] = [
    "version",
    "project",
    "entities",
    "sources",
    "feature_views",
    "feature_services",
    "name",
    "view",
    "type",
    "keys",
    "table",
    "event_time",
    "valid_from",
    "valid_to",
    "created_time",
    "event_id",
    "columns",
    "on_rewrite",
    "kafka",
    "cluster",
    "topic",
    "format",
    "start",
    "sql",
    "from",
    "source",
    "key_columns",
    "ttl",
    "serve_ttl",
    "availability",
    "bounds",
    "nulls",
    "online",
    "schedule",
    "freshness",
    "retention",
    "includes",
    "full_names",
    "views",
    "request",
    "computed",
    "alias",
    "fn",
    "column",
    "window",
    "hop",
    "n",
    "p",
    "aggregate",
    "renamed_from",
    "default",
    "features",
    "expression",
    "on_error",
    "description",
    "owner",
];

/// A mapping or list of at most this many characters stands on one line.
const FLOW_WIDTH: usize = 100;

/// Writes a document.
pub(crate) fn yaml(document: &v1::Document) -> String {
    // The types hold nothing that JSON can't.
    let value = serde_json::to_value(document).unwrap_or_default();
    let mut out = String::new();
    for (name, value) in fields(&value) {
        match value {
            Value::Array(definitions) => {
                out.push_str(&format!("\n{name}:\n"));
                for definition in definitions {
                    block_item(definition, 2, &mut out);
                }
            }
            value => out.push_str(&format!("{name}: {}\n", flow(value))),
        }
    }
    out
}

fn fields(value: &Value) -> Vec<(&String, &Value)> {
    let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut fields: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| (rank(name), name.as_str()));
    fields
}

/// `- name: x` and the other fields below it.
fn block_item(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    for (index, (name, value)) in fields(value).into_iter().enumerate() {
        let lead = if index == 0 { "- " } else { "  " };
        out.push_str(&format!("{pad}{lead}{}:", key(name)));
        block_value(value, indent + 4, out);
    }
}

/// What follows `name:`: on the same line when short, else an item to a line.
fn block_value(value: &Value, indent: usize, out: &mut String) {
    let inline = flow(value);
    let of_mappings = value.as_array().is_some_and(|items| items.iter().any(Value::is_object));
    let long = inline.chars().count() > FLOW_WIDTH && (value.is_array() || value.is_object());
    if !(of_mappings || long) {
        out.push_str(&format!(" {inline}\n"));
        return;
    }
    out.push('\n');
    let pad = " ".repeat(indent);
    match value {
        Value::Array(items) => {
            for item in items {
                let inline = flow(item);
                if item.is_object() && inline.chars().count() > FLOW_WIDTH {
                    block_item(item, indent, out);
                } else {
                    out.push_str(&format!("{pad}- {inline}\n"));
                }
            }
        }
        value => {
            for (name, value) in fields(value) {
                out.push_str(&format!("{pad}{}: {}\n", key(name), flow(value)));
            }
        }
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(_) => {
            let fields: Vec<String> =
                fields(value).into_iter().map(|(name, value)| format!("{}: {}", key(name), flow(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn key(name: &str) -> String {
    scalar(name)
}

/// A text as it is where YAML reads it back as that text, else in quotes.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./+@<>()?!%=;'".contains(c) || c == ' ';
    let first = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '_';
    let word = text.starts_with(first) && text.chars().all(plain) && !text.ends_with(' ');
    let number_like =
        text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_alphabetic());
    let duration =
        number_like && text.chars().all(|c| c.is_ascii_alphanumeric()) && crate::duration::parse(text).is_ok();
    let means_else = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if (word && !means_else) || duration { text.to_owned() } else { quoted(text) }
}

/// Double quotes; JSON's escapes are YAML's, and what some YAML readers refuse is escaped too.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in Value::from(text).to_string().chars() {
        let code = u32::from(c);
        let printable = matches!(code, 0x20..=0x7e | 0xa0..=0xd7ff | 0xe000..=0xfefe | 0xff00..=0xfffd | 0x1_0000..);
        if printable && !matches!(code, 0x2028 | 0x2029) {
            out.push(c)
        } else {
            out.push_str(&format!("\\u{code:04x}"))
        }
    }
    out
}
