//! What Prometheus is told: the names ([`catalogue`]), the numbers of one moment ([`Samples`]) and their text
//! form (OpenMetrics 1.0).

pub(crate) mod addresses;
pub mod catalogue;
mod durations;
pub mod errors;
mod samples;

pub use durations::Durations;
pub use samples::Samples;
pub(crate) use samples::float;

use prometheus_client::registry::Registry;

/// The text of a registry, in the form of OpenMetrics 1.0.
///
/// # Errors
/// A collector refuses to encode itself.
pub fn text(registry: &Registry) -> Result<String, String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)
        .map_err(|_| "the metrics cannot be encoded".to_owned())?;
    Ok(text)
}
