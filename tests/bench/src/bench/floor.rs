//! What a write that the majority has costs on this machine: the unit that a job's cost can be compared in between machines.
//!
//! Documents of the size of a job go into a collection of the bench's own, one by one and in groups. The hub does nothing
//! meanwhile; what it spends anyway is taken off.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::Failure;
use crate::processes::{Containers, Spent};
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;

const BENCH: &str = "floor";
/// Writes of each kind.
const WRITES: usize = 300;
/// Documents of one write.
const GROUPS: [usize; 2] = [1, 50];
const MONGODB: &str = "mongodb";

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    let collection = scene.tier.database.collection("bench_floor");
    let outcome = measure(scene, &collection, report).await;
    collection.drop().await?;
    outcome
}

async fn measure(
    scene: &Scene,
    collection: &Collection<Document>,
    report: &mut Report,
) -> Result<(), Failure> {
    let containers = Containers::of_the_hub(&scene.client).await?;
    // The first write makes the collection.
    collection.insert_one(document(0)).await?;
    let idle = scene.idle(&containers).await?;
    for documents in GROUPS {
        let before = containers.cpu()?;
        for write in 0..WRITES {
            collection
                .insert_many((0..documents).map(|index| document(write * documents + index)))
                .await?;
        }
        let spent = before.until(&containers.cpu()?);
        let share = of_mongodb(&idle).mul_f64(spent.took.as_secs_f64() / idle.took.as_secs_f64());
        let above = of_mongodb(&spent).saturating_sub(share);
        report.figure(
            BENCH,
            "majority_insert_cpu_ms_per_document",
            above.as_secs_f64() * 1e3 / number(WRITES * documents),
            "ms",
            json!({"documents_per_write": documents}),
        )?;
    }
    Ok(())
}

fn of_mongodb(spent: &Spent) -> Duration {
    spent.by_part.get(MONGODB).copied().unwrap_or_default()
}

fn document(index: usize) -> Document {
    doc! { "number": i64::try_from(index).unwrap_or_default(), "payload": "x".repeat(500) }
}
