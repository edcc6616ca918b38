//! Prints the settings of some groups as markdown.

use std::fmt::Write as _;

use super::{Described, Group};

/// One part for each group, and a table of the names from elsewhere that are not read.
pub fn page(groups: &[&Group]) -> String {
    let mut page = String::new();
    for group in groups.iter().filter(|group| !group.settings.is_empty()) {
        let _ = write!(page, "\n## {}\n", group.title);
        let (texts, values): (Vec<_>, Vec<_>) =
            group.settings.iter().map(|setting| setting.describe()).partition(|one| one.allowed.is_none());
        if !texts.is_empty() {
            page.push_str("\n| variable | meaning | default |\n|---|---|---|\n");
        }
        for text in texts {
            let _ = writeln!(page, "| {} | {} | {} |", names(&text), text.meaning, text.default[0]);
        }
        if !values.is_empty() {
            page.push_str(
                "\n| variable | meaning | development | test | staging | production | allowed |\n\
                 |---|---|---|---|---|---|---|\n",
            );
        }
        for value in values {
            let (names, default) = (names(&value), value.default.join(" | "));
            let allowed = value.allowed.unwrap_or_default();
            let _ = writeln!(page, "| {names} | {} | {default} | {allowed} |", value.meaning);
        }
    }
    let foreign: Vec<_> = groups.iter().flat_map(|group| group.elsewhere).collect();
    if !foreign.is_empty() {
        page.push_str(
            "\n## Names from elsewhere\n\n\
             They are not read. Those that are set in the environment are warned of once, at start.\n\n\
             | variable | what to write, or why there is nothing to write |\n|---|---|\n",
        );
    }
    for name in foreign {
        let unless = name.unless.map(|setting| format!(" (said where `{setting}` is not set)"));
        let _ = writeln!(page, "| `{}` | {}{} |", name.name, name.instead, unless.unwrap_or_default());
    }
    page
}

fn names(described: &Described) -> String {
    let one = |name: &str| {
        let unit = if described.unit_required.contains(&name) { " (*unit*)" } else { "" };
        format!("`{name}`{unit}")
    };
    let mut names = one(described.name);
    if !described.aliases.is_empty() {
        let aliases: Vec<String> = described.aliases.iter().map(|alias| one(alias)).collect();
        let _ = write!(names, ", or {}", aliases.join(", "));
    }
    names
}

#[cfg(test)]
mod tests {
    use crate::settings::{Foreign, Group, Limit, Setting, Text};

    #[test]
    fn texts_values_and_names_from_elsewhere_have_their_tables() {
        const URL: Text = Text { name: "URL", aliases: &["URI"], meaning: "Where.", default: "none" };
        const WAIT: Setting<Limit> = Setting {
            name: "WAIT",
            aliases: &["PATIENCE"],
            meaning: "Long?",
            default: [Limit::NEVER; 4],
            min: Limit::NEVER,
            max: Limit::NEVER,
            unit_required: &["PATIENCE"],
        };
        const ELSEWHERE: &[Foreign] = &[Foreign::new("DELAY", "`WAIT`").unless("WAIT")];
        let page = super::page(&[&Group { title: "Things", settings: &[&URL, &WAIT], elsewhere: ELSEWHERE }]);
        insta::assert_snapshot!(page, @r"

        ## Things

        | variable | meaning | default |
        |---|---|---|
        | `URL`, or `URI` | Where. | none |

        | variable | meaning | development | test | staging | production | allowed |
        |---|---|---|---|---|---|---|
        | `WAIT`, or `PATIENCE` (*unit*) | Long? | never | never | never | never | never or more, or never |

        ## Names from elsewhere

        They are not read. Those that are set in the environment are warned of once, at start.

        | variable | what to write, or why there is nothing to write |
        |---|---|
        | `DELAY` | `WAIT` (said where `WAIT` is not set) |
        ");
    }
}
