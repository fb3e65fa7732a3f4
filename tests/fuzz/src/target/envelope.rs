//! The message of a job in RabbitMQ.

use flickrhub_job::envelope::Envelope;

pub(crate) fn run(input: &[u8]) {
    let Ok(envelope) = Envelope::decode(input) else {
        return;
    };
    let Ok(encoded) = envelope.encode() else {
        panic!("an envelope that was read cannot be written");
    };
    assert_eq!(Envelope::decode(&encoded).ok(), Some(envelope));
}
