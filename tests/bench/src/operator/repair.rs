//! How soon every child is back after it was deleted, and every field that the operator sets after somebody changed it or
//! took it away. The fields are enumerated from the objects, so none is forgotten.
//!
//! A change that the API server refuses, or that changes nothing that the operator set, needs no repair. The Secrets of
//! engines that have data are never made anew: what opens the data exists nowhere else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flickrhub_bench::quantile::{Times, number};
use flickrhub_bench::report::Report;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::Value;

use crate::cluster::{CHILDREN, Cluster, Kind, MANAGER};
use crate::field::{self, Field};
use crate::{Failure, hubs};

const BENCH: &str = "operator";
const NAMESPACE: &str = "bench-repair";
const HUB: &str = "gallery";
/// Longer than this is not repaired.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is promised.
const PROMISE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(3);

#[derive(Default)]
struct Findings {
    took: Vec<Duration>,
    late: Vec<String>,
    harmless: usize,
    refused: usize,
}

impl Findings {
    fn note(&mut self, what: &str, took: Option<Duration>) {
        let took = took.unwrap_or(PATIENCE);
        if took > PROMISE {
            self.late.push(format!("{what}: {:.2} s", took.as_secs_f64()));
        }
        self.took.push(took);
    }
}

pub(crate) async fn run(cluster: &Cluster, report: &mut Report) -> Result<(), Failure> {
    let operator = cluster.operator("repair").await?;
    operator.wait_to_lead().await?;
    hubs::prepare(cluster, NAMESPACE).await?;
    hubs::make(cluster, NAMESPACE, &hubs::hub(HUB)).await?;
    cluster.settled(Duration::from_secs(3)).await?;

    let mut findings = Findings::default();
    let (mut objects, mut paths) = (0, BTreeSet::new());
    for kind in CHILDREN {
        let api = cluster.objects(&kind, NAMESPACE);
        let names = children(&api).await?;
        if names.is_empty() {
            return Err(format!("the hub has no {}", kind.name).into());
        }
        for name in names {
            objects += 1;
            for field in field::fields(&get(&api, &name).await?) {
                // Objects of one kind have most paths in common.
                if paths.insert((kind.name, field.path.clone())) {
                    edit(&api, &kind, &name, &field, &mut findings).await?;
                }
            }
            if kind.name != "Secret" || name.ends_with("-client-default") {
                delete(&api, &kind, &name, &mut findings).await?;
            }
        }
    }
    operator.kill().await?;
    for late in &findings.late {
        eprintln!("not repaired in time: {late}");
    }
    let times: Times = findings.took.iter().copied().collect();
    let max = findings.took.iter().max().copied().unwrap_or_default();
    report.figure(BENCH, "repair_max_s", max.as_secs_f64(), "s", Value::Null)?;
    report.figure(BENCH, "repair_p50_ms", times.quantile_ms(0.5), "ms", Value::Null)?;
    for (metric, count) in [
        ("repair_objects", objects),
        ("repair_fields", paths.len()),
        ("repairs", findings.took.len()),
        ("repair_edits_refused", findings.refused),
        ("repair_edits_without_effect", findings.harmless),
        ("repairs_late", findings.late.len()),
    ] {
        report.figure(BENCH, metric, number(count), "", Value::Null)?;
    }
    if findings.late.is_empty() {
        Ok(())
    } else {
        Err(format!("{} repairs took longer than promised", findings.late.len()).into())
    }
}

/// The names of the hub's objects of a kind.
async fn children(api: &Api<DynamicObject>) -> Result<Vec<String>, Failure> {
    let ours = format!("app.kubernetes.io/managed-by=flickrhub-operator,app.kubernetes.io/instance={HUB}");
    let found = api.list(&ListParams::default().labels(&ours)).await?;
    let of_another = |object: &DynamicObject| {
        let annotations = object.metadata.annotations.as_ref();
        let namespace = annotations.and_then(|annotations| annotations.get("flickrhub.dev/hub-namespace"));
        namespace.is_some_and(|namespace| namespace != NAMESPACE)
    };
    let found = found.items.into_iter().filter(|object| !of_another(object));
    Ok(found.filter_map(|object| object.metadata.name).collect())
}

async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Value, Failure> {
    Ok(serde_json::to_value(api.get(name).await?)?)
}

/// Changes a field, and takes it away, each in the first way that is accepted.
async fn edit(
    api: &Api<DynamicObject>,
    kind: &Kind,
    name: &str,
    field: &Field,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let others = field.others().into_iter().map(Some).collect();
    for ways in [others, vec![None]] {
        let before = get(api, name).await?;
        let mut accepted = None;
        for way in ways {
            match write(api, name, field, way).await? {
                Some(after) => {
                    accepted = Some(after);
                    break;
                }
                None => findings.refused += 1,
            }
        }
        let Some(after) = accepted else {
            continue;
        };
        if is_as_before(&before, &after) {
            findings.harmless += 1;
            continue;
        }
        let took = repaired(api, name, &before).await?;
        let what = format!("{} {name}{}", kind.name, field.path);
        if took.is_none() {
            // What is wrong with this field must not be held against the next one.
            heal(api, name, &before).await?;
        }
        findings.note(&what, took);
    }
    Ok(())
}

/// Gives a field another value, or none; `None` if the API server refuses.
async fn write(
    api: &Api<DynamicObject>,
    name: &str,
    field: &Field,
    value: Option<Value>,
) -> Result<Option<Value>, Failure> {
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    loop {
        let mut object = get(api, name).await?;
        field.set(&mut object, value.clone());
        let Ok(object) = serde_json::from_value::<DynamicObject>(object) else {
            return Ok(None);
        };
        match api.replace(name, &params, &object).await {
            Ok(object) => return Ok(Some(serde_json::to_value(object)?)),
            // Somebody else wrote meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether everything that the operator owned is there, and its own.
fn is_as_before(before: &Value, now: &Value) -> bool {
    let Some(own) = field::owned(before) else {
        return true;
    };
    field::owned(now) == Some(own) && field::projection(before, own) == field::projection(now, own)
}

/// How long it takes until an object is as before; `None` if it takes too long.
async fn repaired(api: &Api<DynamicObject>, name: &str, before: &Value) -> Result<Option<Duration>, Failure> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(now) = api.get_opt(name).await? {
            let is_new =
                now.metadata.uid.as_deref() != before.pointer("/metadata/uid").and_then(Value::as_str);
            let now = serde_json::to_value(now)?;
            // An object that was made anew may own an item by another key: that of its own IP address or port.
            if is_as_before(before, &now) || (is_new && field::owned(&now).is_some()) {
                return Ok(Some(began.elapsed()));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Has the object made anew.
async fn heal(api: &Api<DynamicObject>, name: &str, before: &Value) -> Result<(), Failure> {
    api.delete(name, &DeleteParams::background()).await?;
    repaired(api, name, before).await?;
    Ok(())
}

async fn delete(
    api: &Api<DynamicObject>,
    kind: &Kind,
    name: &str,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let before = get(api, name).await?;
    api.delete(name, &DeleteParams::background()).await?;
    let took = repaired(api, name, &before).await?;
    findings.note(&format!("{} {name} deleted", kind.name), took);
    Ok(())
}
