//! The server's settings, without those that can hold a secret.

use crate::server::record::record;

record! {
    /// A setting of the server's. Of one that can hold a secret it is only known whether it is set: `(set)`.
    pub struct ServerSetting: "pg_settings", "@ AS s" {
        name: String;
        setting: Option<String>, as "CASE WHEN (s.name IN ('primary_conninfo', 'archive_command', \
            'restore_command', \
            'archive_cleanup_command', 'recovery_end_command', 'ssl_passphrase_command', 'application_name') \
            OR s.name LIKE '%.%' AND s.name !~ '^(auto_explain|pg_stat_statements|plpgsql)[.]') AND $ <> \
            '' THEN '(set)' ELSE $ END";
        unit: Option<String>;
        vartype: Option<String>;
        context: Option<String>;
        source: Option<String>;
        pending_restart: Option<bool>;
    }
}

impl ServerSetting {
    /// The figure in its base unit: bytes, seconds, or as it is; 1 and 0 for on and off. None for what is
    /// no number.
    pub fn base_value(&self) -> Option<(f64, &'static str)> {
        let text = self.setting.as_deref()?;
        if self.vartype.as_deref() == Some("bool") {
            return Some((f64::from(u8::from(text == "on")), ""));
        }
        let figure: f64 = text.parse().ok()?;
        let (factor, unit) = match self.unit.as_deref() {
            None | Some("") => return Some((figure, "")),
            Some("B") => (1.0, "bytes"),
            Some("kB") => (1_024.0, "bytes"),
            Some("8kB") => (8_192.0, "bytes"),
            Some("16MB") => (16_777_216.0, "bytes"),
            Some("MB") => (1_048_576.0, "bytes"),
            Some("us") => (1e-6, "seconds"),
            Some("ms") => (1e-3, "seconds"),
            Some("s") => (1.0, "seconds"),
            Some("min") => (60.0, "seconds"),
            Some("h") => (3_600.0, "seconds"),
            Some("d") => (86_400.0, "seconds"),
            Some(_) => return None,
        };
        // -1 stands for "none" or "as another setting", whatever the unit.
        Some((if figure == -1.0 { figure } else { figure * factor }, unit))
    }
}
