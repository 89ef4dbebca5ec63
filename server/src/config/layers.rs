//! The sources of settings, stacked: every value remembers the last source that set it.
//!
//! A key is `section.key`. The compiled-in file says which keys exist and of what type each is; text from the environment and from
//! flags is read as that type.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_schemas::catalog::nearest;
use toml::Value;

use super::{Config, Error, clusters};

const DEFAULTS: &str = include_str!("default.toml");
const ENV_PREFIX: &str = "TIDEGATE__";

/// One setting's value and the source that set it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// `default`, `file …`, `environment …` or `flag …`.
    pub origin: String,
}

/// Settings given on the command line, as `section.key`, value and the flag to name in messages.
pub type Overrides = Vec<(String, String, String)>;

/// All settings by key.
#[derive(Debug, Clone)]
pub struct Layers {
    settings: BTreeMap<String, Setting>,
}

impl Layers {
    /// Stacks defaults, the file, the environment and flags.
    ///
    /// # Errors
    /// The first key that does not exist or value that does not fit, with its origin.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, Error> {
        let mut layers = Self::defaults()?;
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        let mut variables: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
            layers.set_text(&key, &text, format!("environment {name}"))?;
        }
        for (key, text, flag) in flags {
            layers.set_text(&key, &text, format!("flag {flag}"))?;
        }
        Ok(layers)
    }

    /// The settings as checked types.
    ///
    /// # Errors
    /// A value that does not fit, with its origin.
    pub fn config(&self) -> Result<Config, Error> {
        nest(&self.settings).try_into().map_err(|error: toml::de::Error| self.blame(&error))
    }

    /// Keys in order, with values and origins.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    fn defaults() -> Result<Self, Error> {
        let mut layers = Self { settings: BTreeMap::new() };
        for (key, value) in flatten(parse(DEFAULTS, Path::new("default.toml"))?) {
            layers.settings.insert(key, Setting { value, origin: "default".to_owned() });
        }
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        for (key, value) in flatten(parse(&text, path)?) {
            self.set(&key, value, format!("file {}", path.display()))?;
        }
        Ok(())
    }

    fn set_text(&mut self, key: &str, text: &str, origin: String) -> Result<(), Error> {
        if clusters::parts(key).is_some() {
            return self.set(key, Value::String(text.to_owned()), origin);
        }
        let like = self.find(key, &origin)?.value.clone();
        let value = read_like(&like, text).ok_or_else(|| Error::Value {
            origin: origin.clone(),
            key: key.to_owned(),
            message: format!("is \"{text}\"; expected {}", expected(&like)),
        })?;
        self.set(key, value, origin)
    }

    fn set(&mut self, key: &str, value: Value, origin: String) -> Result<(), Error> {
        if clusters::parts(key).is_some() {
            let Some(text) = clusters::text(&value) else {
                let message = format!("is {value}; expected text, a number, true, false or a list of strings");
                return Err(Error::Value { origin, key: key.to_owned(), message });
            };
            self.settings.insert(key.to_owned(), Setting { value: Value::String(text), origin });
            return Ok(());
        }
        let setting = self.find(key, &origin)?;
        if !setting.value.same_type(&value) {
            let message = format!("is {value}; expected {}", expected(&setting.value));
            return Err(Error::Value { origin, key: key.to_owned(), message });
        }
        *setting = Setting { value, origin };
        Ok(())
    }

    fn find(&mut self, key: &str, origin: &str) -> Result<&mut Setting, Error> {
        if !self.settings.contains_key(key) {
            let suggestion = self.suggest(key);
            return Err(Error::Unknown { origin: origin.to_owned(), key: key.to_owned(), suggestion });
        }
        self.settings.get_mut(key).ok_or_else(|| Error::Unknown {
            origin: origin.to_owned(),
            key: key.to_owned(),
            suggestion: None,
        })
    }

    /// The nearest key, or the key of that name in another section.
    fn suggest(&self, key: &str) -> Option<String> {
        let name = key.rsplit('.').next().unwrap_or(key);
        nearest(key, self.settings.keys().map(String::as_str))
            .map(str::to_owned)
            .or_else(|| self.settings.keys().find(|known| known.rsplit('.').next() == Some(name)).cloned())
    }

    /// Finds the setting a conversion failed at, so that the message can say where it was set.
    fn blame(&self, error: &toml::de::Error) -> Error {
        let message = error.message().to_owned();
        let culprit = self.settings.iter().find(|(key, _)| self.alone_fails(key, &message));
        let (key, origin) = culprit.map_or(("?", "settings"), |(key, setting)| (key, &setting.origin));
        Error::Value { origin: origin.to_owned(), key: key.to_owned(), message }
    }

    /// Whether the settings convert once `key` is back at its default.
    fn alone_fails(&self, key: &str, message: &str) -> bool {
        let Ok(defaults) = Self::defaults() else { return false };
        let Some(changed) = self.settings.get(key).filter(|setting| setting.origin != "default") else { return false };
        let mut only = defaults;
        only.settings.insert(key.to_owned(), changed.clone());
        nest(&only.settings).try_into::<Config>().is_err_and(|error| error.message() == message)
    }
}

/// Settings by section, as they are converted.
fn nest(settings: &BTreeMap<String, Setting>) -> toml::Table {
    let mut table = toml::Table::new();
    'settings: for (key, setting) in settings {
        let (path, name) = match clusters::parts(key) {
            Some((cluster, option)) => (vec!["kafka", "clusters", cluster], option),
            None => match key.split_once('.') {
                Some((section, name)) => (vec![section], name),
                None => continue,
            },
        };
        let mut at = &mut table;
        for part in path {
            let inner = at.entry(part).or_insert_with(|| Value::Table(toml::Table::new()));
            let Value::Table(inner) = inner else { continue 'settings };
            at = inner;
        }
        at.insert(name.to_owned(), setting.value.clone());
    }
    table
}

fn parse(text: &str, path: &Path) -> Result<toml::Table, Error> {
    text.parse().map_err(|error: toml::de::Error| Error::Syntax { path: path.to_owned(), message: error.to_string() })
}

/// Every leaf with its dotted key.
fn flatten(table: toml::Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (section, value) in table {
        match value {
            Value::Table(inner) => {
                leaves.extend(flatten(inner).into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            value => leaves.push((section, value)),
        }
    }
    leaves
}

fn read_like(like: &Value, text: &str) -> Option<Value> {
    match like {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let mut table: toml::Table = format!("list = {text}").parse().ok()?;
            table.remove("list").filter(|list| list.as_array().is_some_and(|items| items.iter().all(Value::is_str)))
        }
        Value::Array(_) => Some(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        )),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn expected(like: &Value) -> &'static str {
    match like {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Array(_) => "a list of strings: a,b or [\"a\", \"b\"]",
        _ => "a string in quotes",
    }
}
