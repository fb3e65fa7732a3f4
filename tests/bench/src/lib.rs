//! What the benches have in common: how figures are told, and what is calculated of samples.

pub mod quantile;
pub mod report;
