//! `--json` against its schema, and the schema against its description.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::Value;

use crate::program::Folder;
use crate::services::Service;

const SCHEMA: &str = include_str!("../../../docs/report.schema.json");
const DESCRIPTION: &str = include_str!("../../../docs/json.md");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The validator of one of the schema's definitions.
fn validator(definition: &str) -> Validator {
    let mut schema = schema();
    schema["$ref"] = Value::from(format!("#/$defs/{definition}"));
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(definition: &str, value: &Value) {
    let errors: Vec<String> = validator(definition)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn every_report_keeps_to_the_schema() {
    let folder = Folder::new();
    for service in [
        Service::default(),
        Service { leaks: 0, ..Service::default() },
        Service { marks: false, ..Service::default() },
        Service { requests: 1, ..Service::default() },
        Service { requests: 0, ..Service::default() },
    ] {
        folder.with("trace.bin", &service.trace());
        let report = folder.json(&["trace.bin", "--json", "--no-page"]);
        assert_valid("report", &report);
        assert_eq!(report["schema"], 1);
        let merged = folder.json(&["merge", "trace.bin", "--json", "--no-page"]);
        assert_valid("merged", &merged);
        if service.leaks > 0 && service.requests > 1 {
            let curve = merged["suspects"][0]["curve"]["held"].as_array().unwrap();
            assert_eq!(curve.len(), merged["time_line"]["seconds"].as_array().unwrap().len());
            assert_eq!(curve.last(), Some(&merged["suspects"][0]["held_bytes"].as_f64().into()));
        }
    }
}

/// A key that is added without a word, or goes away, is seen here.
#[test]
fn the_schema_knows_no_key_that_no_report_has_and_refuses_what_it_does_not_know() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    let report = folder.json(&["trace.bin", "--json", "--no-page"]);
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    for (definition, value) in [
        ("report", &report),
        ("growth", &report["growth"]),
        ("suspect", &report["suspects"][0]),
        ("line", &report["suspects"][0]["your_line"]),
        ("frame", &report["suspects"][0]["stack"][0]),
        ("curve", &report["suspects"][0]["curve"]),
        ("time_line", &report["time_line"]),
        ("reconciliation", &report["reconciliation"]),
        ("lost", &report["lost"]),
        ("suppressions", &report["suppressions"]),
        ("process", &report["process"]),
    ] {
        let schema = schema();
        let known = keys(&schema["$defs"][definition]["properties"]);
        assert_eq!(keys(value), known, "{definition}");
    }
    let mut wrong = report.clone();
    wrong["surprise"] = Value::from(1);
    assert!(!validator("report").is_valid(&wrong));
    wrong = report;
    wrong["suspects"][0]["bytes_per_request"]["low"] = Value::Null;
    assert!(!validator("report").is_valid(&wrong));
}

#[test]
fn the_description_has_every_key_of_the_schema() {
    fn collect(value: &Value, keys: &mut BTreeSet<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            keys.extend(properties.keys().cloned());
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| collect(value, keys)),
            Value::Array(list) => list.iter().for_each(|value| collect(value, keys)),
            _ => {}
        }
    }
    let describes = |key: &String| {
        [format!("`{key}`"), format!("`{key}[]`")].iter().any(|text| DESCRIPTION.contains(text))
    };
    let mut keys = BTreeSet::new();
    collect(&schema(), &mut keys);
    let missing: Vec<_> = keys.iter().filter(|key| !describes(key)).collect();
    assert!(keys.len() > 50 && missing.is_empty(), "{missing:?}");
}

#[test]
fn the_numbers_are_those_of_the_service() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    let report = folder.json(&["trace.bin", "--json", "--no-page"]);
    assert_eq!(report["verdict"], "leak");
    assert_eq!(report["requests"]["count"], 2000);
    assert_eq!(report["requests"]["source"], "marks: request");
    let suspect = &report["suspects"][0];
    assert_eq!(suspect["rank"], 1);
    assert_eq!(
        suspect["your_line"],
        serde_json::json!({ "file": "/app/serve.py", "line": 42, "function": "handle" })
    );
    assert_eq!(suspect["held_bytes"], 2_000_000);
    assert_eq!((&suspect["op"], &suspect["domain"]), (&Value::Null, &"malloc".into()));
    let rate = |value: &Value| ["low", "estimate", "high"].map(|key| value[key].as_f64().unwrap());
    let [low, estimate, high] = rate(&suspect["bytes_per_request"]);
    assert!(low <= 1000.0 && 1000.0 <= high && (estimate - 1000.0).abs() < 5.0, "{suspect}");
    let [_, per_second, _] = rate(&suspect["bytes_per_second"]);
    assert!((per_second - 100_000.0).abs() < 2_000.0, "{per_second}");
    assert_eq!(suspect["share_of_growth"], 1.0);
    let free_for = report["growth"]["seconds_to_limit"].as_f64().unwrap();
    assert!((free_for - 5_000.0).abs() < 100.0, "{free_for}");
}

#[test]
fn the_page_has_the_same_report() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    let report = folder.json(&["trace.bin", "--json"]);
    let page = std::fs::read_to_string(folder.path("trace.html")).unwrap();
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    for key in ["verdict", "growth", "requests", "process", "reconciliation", "lost"] {
        assert_eq!(data["report"][key], report[key], "{key}");
    }
}
