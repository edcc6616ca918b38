//! One figure as a line: a JSON object that `cargo xtask bench` reads.
#![expect(clippy::print_stdout, reason = "figures go to standard output, one JSON object a line")]

use db_benches::pairs::Compared;
use serde_json::{Value, json};

/// Prints a ratio that must be `most` at most; none means that nothing is promised against this peer.
pub(crate) fn show(bench: &str, peer: &str, compared: &Compared, most: Option<f64>) {
    let (scale, unit) = match compared.peer {
        nanos if nanos < 1e4 => (1.0, "ns"),
        nanos if nanos < 1e6 => (1e3, "us"),
        _ => (1e6, "ms"),
    };
    let [low, high] = compared.interval;
    print(&json!({
        "bench": bench, "ours": round(compared.ours / scale), "peer": round(compared.peer / scale),
        "peer_name": peer, "unit": unit, "ratio": round(compared.ratio), "interval": [round(low), round(high)],
        "target": most.map(|most| format!("ratio at most {most}")),
        "holds": most.map(|most| compared.ratio <= most),
        "detail": { "pairs": compared.pairs, "cpu_ratio": round(compared.cpu_ratio) },
    }));
}

pub(crate) fn print(line: &Value) {
    println!("{line}");
}

/// The least and the greatest.
pub(crate) fn range(figures: impl IntoIterator<Item = f64>) -> [f64; 2] {
    let widest = |[low, high]: [f64; 2], figure: f64| [low.min(figure), high.max(figure)];
    figures.into_iter().fold([f64::INFINITY, f64::NEG_INFINITY], widest).map(round)
}

/// To four digits.
pub(crate) fn round(value: f64) -> f64 {
    let factor = 10_f64.powf(3.0 - value.abs().max(1e-6).log10().floor());
    (value * factor).round() / factor
}
