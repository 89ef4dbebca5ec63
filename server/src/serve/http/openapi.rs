//! `GET /openapi.json`: what this port speaks, in OpenAPI 3.1. Bodies are described by the types that read and write them.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::lookup::{Body, ReplyBody};
use crate::serve::error::ErrorBody;

/// The document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let lookup = body::<Body>(&mut schemas);
    let answer = reply::<ReplyBody>(&mut schemas, "One column for each feature, one slot for each entity row.");
    let failure = reply::<ErrorBody>(&mut schemas, "What is wrong, and what to do about it.");
    let text = |description: &str| json!({ "description": description, "content": { "text/plain": {} } });
    let project = json!({ "name": "project", "in": "path", "required": true, "schema": { "type": "string" } });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Lookups of features as JSON. Everything else is on the gRPC port.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": {
            "/v1/projects/{project}/lookup": { "post": {
                "operationId": "lookup",
                "summary": "Newest served values of a feature service, or of features, for entity rows",
                "parameters": [project],
                "requestBody": lookup,
                "responses": { "200": answer, "default": failure.clone() },
            } },
            "/v1/projects": { "get": {
                "operationId": "projects",
                "summary": "The projects there are",
                "responses": {
                    "200": { "description": "Their names.", "content": { "application/json": { "schema": {
                        "type": "object",
                        "properties": { "projects": { "type": "array", "items": { "type": "string" } } },
                    } } } },
                    "default": failure,
                },
            } },
            "/healthz": { "get": {
                "operationId": "healthz", "summary": "The process is alive", "responses": { "200": text("`ok`") },
            } },
            "/readyz": { "get": {
                "operationId": "readyz", "summary": "It can answer",
                "responses": { "200": text("`ready`"), "503": text("Not yet, or not any more.") },
            } },
            "/metrics": { "get": {
                "operationId": "metrics", "summary": "Metrics for Prometheus",
                "responses": { "200": { "description": "OpenMetrics text.", "content": { "application/openmetrics-text": {} } } },
            } },
        },
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

fn body<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema::<T>(schemas) } } })
}

fn reply<T: JsonSchema>(schemas: &mut SchemaGenerator, description: &str) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema::<T>(schemas) } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_fields_are_described() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
                    Some(to) if name == "$ref" => found.push(to),
                    _ => references(value, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 4, "{found:?}");
        for to in found {
            let pointer = to.strip_prefix('#').expect("in this document");
            assert!(document.pointer(pointer).is_some(), "{to}");
        }
        let fields = &document["components"]["schemas"]["Lookup"]["properties"];
        for field in ["service", "features", "keys", "request", "full_names", "include_times", "return_expired"] {
            assert!(fields[field]["description"].is_string(), "{field}");
        }
    }
}
