use flickrhub_job::audit::AuditEvent;
use prometheus::{IntCounterVec, Opts};

use super::fixture::Memory;
use super::*;

fn counter() -> IntCounterVec {
    IntCounterVec::new(Opts::new("a", "a"), &["outcome"]).unwrap_or_else(|error| panic!("{error}"))
}

fn log(memory: &Arc<Memory>, room: usize) -> AuditLog {
    AuditLog::with_room(Arc::clone(memory) as Arc<dyn AuditSink>, counter(), room)
}

fn call() -> AuditEntry {
    AuditEntry::of_log(AuditEvent::ApiCall, Timestamp::now(), None)
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn entries_are_chained_from_the_start_to_the_end_of_the_process() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 100);
    settle().await;
    for _ in 0..3 {
        log.record(call(), None, true);
    }
    log.close().await;
    let expected = [
        AuditEvent::ChainStarted,
        AuditEvent::ApiCall,
        AuditEvent::ApiCall,
        AuditEvent::ApiCall,
        AuditEvent::ChainEnded,
    ];
    assert_eq!(memory.events(), expected);
    assert_eq!(memory.faults(), 0);
}

#[tokio::test]
async fn while_mongodb_is_away_entries_wait_and_those_without_room_are_counted() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 10);
    settle().await;
    memory.away.store(true, Ordering::Relaxed);
    log.record(call(), None, true);
    settle().await;
    for _ in 0..15 {
        log.record(call(), None, true);
    }
    assert_eq!(memory.events().len(), 1, "requests do not wait for the log");
    memory.away.store(false, Ordering::Relaxed);
    for _ in 0..10 {
        settle().await;
        if memory.events().len() >= 13 {
            break;
        }
    }
    let calls = memory
        .events()
        .iter()
        .filter(|event| **event == AuditEvent::ApiCall)
        .count();
    assert_eq!(calls, 11);
    assert_eq!(memory.notes(), ["queue_full=5 rate_of_strangers=0"]);
    assert_eq!(memory.faults(), 0);
}

#[tokio::test]
async fn who_waits_for_an_entry_goes_on_when_it_is_written() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 10);
    settle().await;
    let started = tokio::time::Instant::now();
    log.write(call(), None, true).await;
    assert_eq!(memory.events(), [AuditEvent::ChainStarted, AuditEvent::ApiCall]);
    assert!(started.elapsed() < LONGEST_WAIT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn who_waits_while_mongodb_is_away_goes_on_after_a_second_and_the_next_at_once() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 10);
    settle().await;
    memory.away.store(true, Ordering::Relaxed);
    let started = tokio::time::Instant::now();
    log.write(call(), None, true).await;
    assert!(started.elapsed() >= LONGEST_WAIT, "{:?}", started.elapsed());
    let started = tokio::time::Instant::now();
    log.write(call(), None, true).await;
    assert!(started.elapsed() < LONGEST_WAIT, "{:?}", started.elapsed());
    memory.away.store(false, Ordering::Relaxed);
    for _ in 0..10 {
        settle().await;
        if memory.events().len() == 3 {
            break;
        }
    }
    let expected = [AuditEvent::ChainStarted, AuditEvent::ApiCall, AuditEvent::ApiCall];
    assert_eq!(memory.events(), expected, "both are written in the end");
    assert_eq!(memory.faults(), 0);
}

#[tokio::test]
async fn a_process_that_stops_while_mongodb_is_away_does_not_wait_for_it() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 10);
    settle().await;
    memory.away.store(true, Ordering::Relaxed);
    log.record(call(), None, true);
    let started = tokio::time::Instant::now();
    log.close().await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn strangers_cannot_fill_the_log() {
    let memory = Arc::new(Memory::default());
    let log = log(&memory, 1000);
    settle().await;
    for _ in 0..500 {
        log.record(call(), "192.0.2.1".parse().ok(), false);
    }
    log.record(call(), "192.0.2.2".parse().ok(), false);
    log.close().await;
    let calls = memory
        .events()
        .iter()
        .filter(|event| **event == AuditEvent::ApiCall)
        .count();
    assert_eq!(calls, 61);
    assert_eq!(memory.notes(), ["queue_full=0 rate_of_strangers=440"]);
}

#[tokio::test]
async fn a_chain_notes_where_the_others_stand() {
    let other = flickrhub_job::audit::Chain::new().seal(call()).head();
    let memory = Arc::new(Memory {
        heads: vec![other.clone()],
        ..Memory::default()
    });
    let log = log(&memory, 10);
    settle().await;
    drop(log);
    assert_eq!(memory.notes(), [other.to_string()]);
    assert_eq!(memory.events()[0], AuditEvent::ChainStarted);
}
