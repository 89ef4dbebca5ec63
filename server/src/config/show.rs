//! The settings as `tidegate config show` prints them.

use std::fmt::Write as _;

use toml::Value;

use super::Layers;

/// Words in a key's last part that make its value a secret.
const SECRET: [&str; 5] = ["secret", "password", "token", "credential", "key.pem"];

/// Settings as TOML with each value's origin in a comment. Secrets are masked.
#[must_use]
pub fn show(layers: &Layers) -> String {
    let mut text = String::new();
    let mut current = "";
    for (key, setting) in layers.iter() {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        if section != current {
            let _ = writeln!(text, "{}[{section}]", if current.is_empty() { "" } else { "\n" });
            current = section;
        }
        let line = format!("{name} = {}", mask(name, &setting.value));
        let _ = writeln!(text, "{line:<48} # {}", setting.origin);
    }
    text
}

/// The value, or `"***"` for a secret; user names and passwords in URIs are masked wherever they stand.
fn mask(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if SECRET.iter().any(|word| name.contains(word)) => Value::String("***".to_owned()),
        Value::String(text) => Value::String(mask_uri(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| mask(name, item)).collect()),
        other => other.clone(),
    }
}

fn mask_uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}
