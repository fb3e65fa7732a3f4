//! The condition `FlickrReachable`: whether the hub sends requests to Flickr. Pure. It is no part of `Ready`: the hub does
//! its work while Flickr is away, and jobs wait.

use jiff::Timestamp;

use crate::engine::redis::OpenCircuit;

/// The condition.
pub const FLICKR_REACHABLE: &str = "FlickrReachable";

/// What the condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachability {
    /// Whether every application may call.
    pub reachable: bool,
    /// One word in `CamelCase`.
    pub reason: &'static str,
    /// A sentence that tells what is the case.
    pub message: String,
}

/// What these circuits mean at `now`. One whose time is over holds nothing up: the next request tries.
pub fn reachability(open: &[OpenCircuit], now: Timestamp) -> Reachability {
    let open: Vec<&OpenCircuit> = open.iter().filter(|circuit| circuit.until > now).collect();
    if open.is_empty() {
        return Reachability {
            reachable: true,
            reason: "CircuitsClosed",
            message: "Requests are sent to Flickr.".to_owned(),
        };
    }
    let circuits: Vec<String> = open
        .iter()
        .map(|circuit| {
            let what = if circuit.endpoint == "upload" {
                "uploads"
            } else {
                "calls"
            };
            // Seconds are enough, and change the status less often.
            let until = circuit.until.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("{what} of application {} until {until}", circuit.app)
        })
        .collect();
    Reachability {
        reachable: false,
        reason: "CircuitOpen",
        message: format!(
            "Flickr does not answer, or limits the application, so jobs wait: {}. Then one request tries whether it \
             answers again. If it goes on, see whether Flickr is up and whether something else uses the same key.",
            circuits.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_circuit_is_named_with_its_time() {
        let now = Timestamp::constant(1_799_999_990, 0);
        assert!(reachability(&[], now).reachable);
        let open = OpenCircuit {
            app: "main".to_owned(),
            endpoint: "rest",
            until: Timestamp::constant(1_800_000_000, 0),
        };
        assert!(reachability(std::slice::from_ref(&open), open.until).reachable);
        let found = reachability(&[open], now);
        assert!(!found.reachable);
        assert!(
            found
                .message
                .contains("calls of application main until 2027-01-15T08:00:00Z"),
            "{}",
            found.message
        );
    }
}
