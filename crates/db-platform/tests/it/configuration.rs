//! docs/configuration.md says what the code does.

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

#[test]
fn the_page_is_what_the_settings_say() {
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        written == db_platform::configuration_page(),
        "out of date: cargo run -p db-platform --example configuration > docs/configuration.md"
    );
}
