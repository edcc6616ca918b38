//! Addresses of networks and of hosts: which lies in which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::worth::Worth;

/// An address, and how many of its bits name the network.
pub(crate) fn parsed(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some((address, bits.unwrap_or(most).min(most)))
}

/// The address as a number, with the bits of an address of four bytes in front.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)
}

/// `one operator other`, for `<<`, `<<=` and their like.
pub(crate) fn compare(operator: &str, one: &str, other: &str) -> Worth {
    let (Some(one), Some(other)) = (parsed(one), parsed(other)) else { return Worth::Unknown };
    let (part, whole) = if operator.starts_with('<') { (one, other) } else { (other, one) };
    let wide_enough = if operator.ends_with('=') { part.1 >= whole.1 } else { part.1 > whole.1 };
    let same = (number(part.0) ^ number(whole.0)) & mask(whole.1) == 0;
    Worth::Boolean(wide_enough && same && part.0.is_ipv4() == whole.0.is_ipv4())
}

/// An address in a network, told by a number: a host, or a network with so many bits.
pub(crate) fn within(network: &str, number_of: u64, bits: Option<u32>) -> Option<String> {
    let (address, of) = parsed(network)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most).max(of);
    let room = bits - of;
    let place = u128::from(number_of) & if room >= 64 { u128::from(u64::MAX) } else { (1 << room) - 1 };
    let base = number(address) & mask(of);
    let found = base | place.checked_shl(128 - bits).unwrap_or(0);
    let text = match address {
        IpAddr::V4(_) => Ipv4Addr::from((found >> 96) as u32).to_string(),
        IpAddr::V6(_) => Ipv6Addr::from(found).to_string(),
    };
    Some(if bits == most { text } else { format!("{text}/{bits}") })
}

/// What the functions over addresses are worth; `None` for another function.
pub(crate) fn call(name: &str, text: &str) -> Option<Worth> {
    let (address, bits) = parsed(text)?;
    Some(match name {
        "family" => Worth::Number(if address.is_ipv4() { 4.0 } else { 6.0 }),
        "masklen" => Worth::Number(f64::from(bits)),
        "host" => Worth::Text(address.to_string()),
        "network" => {
            let within = within(text, 0, Some(bits))?;
            Worth::Text(if within.contains('/') { within } else { format!("{within}/{bits}") })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_network() {
        for number in [0, 1, 77, 255, 256, u64::MAX] {
            let host = within("10.1.2.0/24", number, None).unwrap_or_default();
            assert_eq!(compare("<<", &host, "10.1.2.0/24"), Worth::Boolean(true), "{host}");
            let part = within("10.0.0.0/8", number, Some(24)).unwrap_or_default();
            assert_eq!(compare("<<=", &part, "10.0.0.0/8"), Worth::Boolean(true), "{part}");
            let host = within("fd00::/64", number, None).unwrap_or_default();
            assert_eq!(compare("<<", &host, "fd00::/64"), Worth::Boolean(true), "{host}");
        }
        assert_eq!(compare("<<", "10.1.2.0/24", "10.1.2.0/24"), Worth::Boolean(false));
        assert_eq!(compare(">>=", "10.1.2.0/24", "10.1.2.0/24"), Worth::Boolean(true));
        assert_eq!(compare("<<", "11.1.2.3", "10.0.0.0/8"), Worth::Boolean(false));
        assert_eq!(compare("<<", "x", "10.0.0.0/8"), Worth::Unknown);
        assert_eq!(call("masklen", "10.0.0.0/8"), Some(Worth::Number(8.0)));
        assert_eq!(call("host", "10.0.0.0/8"), Some(Worth::Text("10.0.0.0".to_owned())));
        assert_eq!(within("0.0.0.0/0", 7, None), Some("0.0.0.7".to_owned()));
    }
}
