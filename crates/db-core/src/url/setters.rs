//! A URL that differs from another in one thing: its server, database, user, password, or a parameter.

use super::parameters::{self, BEFORE_THE_QUESTION as OWN};
use crate::{DatabaseUrl, Endpoint, InvalidUrl};

impl DatabaseUrl {
    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The same user and database, one other server.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.hosts = vec![endpoint];
        self
    }

    /// The same server and database, another user. The password stays: it is given with
    /// [`DatabaseUrl::with_password`].
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// The same user, with this password; none takes it away.
    ///
    /// ```
    /// let url: db_core::DatabaseUrl = "postgres://ann@db/app".parse()?;
    /// let url = url.with_user("bob").with_password("p@ss/word".to_owned());
    /// assert_eq!(url.to_string(), "postgres://bob:***@db:5432/app");
    /// # Ok::<(), db_core::InvalidUrl>(())
    /// ```
    #[must_use]
    pub fn with_password(mut self, password: impl Into<Option<String>>) -> Self {
        self.password = password.into();
        self
    }

    /// The same URL with a parameter, such as `application_name`, in place of the value that it had.
    ///
    /// ```
    /// let url: db_core::DatabaseUrl = "postgres://ann@db/app".parse()?;
    /// let url = url.with_param("application_name", "billing")?;
    /// assert_eq!(url.param("application_name"), Some("billing"));
    /// # Ok::<(), db_core::InvalidUrl>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no such parameter, or it has a method of its own (`host`, `user`, `password`,
    /// `dbname`), or it cannot have this value by itself or beside the others. The place that an error names
    /// is 1.
    pub fn with_param(mut self, name: &str, value: impl Into<String>) -> Result<Self, InvalidUrl> {
        let value = value.into();
        Self::read_param(name, &value)?;
        if OWN.contains(&name) {
            return Err(InvalidUrl::Unsupported {
                name: "that parameter",
                instead: "it has a method of its own",
            });
        }
        self.params.insert(name.to_owned(), value);
        parameters::check_together(&self.params)?;
        Ok(self)
    }

    /// The same URL without a parameter.
    #[must_use]
    pub fn without_param(mut self, name: &str) -> Self {
        self.params.remove(name);
        self
    }

    /// The same URL, whose sessions begin with this setting, such as `search_path`, in place of the value
    /// that it had among the URL's `options`.
    ///
    /// ```
    /// let url: db_core::DatabaseUrl = "postgres://ann@db/app?options=-cwork_mem%3D8MB".parse()?;
    /// let url = url.with_setting("search_path", "tenant_7, public")?;
    /// assert_eq!(url.session_settings()["search_path"], "tenant_7, public");
    /// assert_eq!(url.session_settings()["work_mem"], "8MB");
    /// # Ok::<(), db_core::InvalidUrl>(())
    /// ```
    ///
    /// # Errors
    /// Where the name is none that a setting can have.
    pub fn with_setting(self, name: &str, value: &str) -> Result<Self, InvalidUrl> {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '$');
        if !name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            || !name.chars().all(is_name)
        {
            return Err(InvalidUrl::Value {
                name: "a setting's name",
                one_of: "letters, digits, _, $ and .",
            });
        }
        let escaped = value.chars().fold(String::new(), |mut text, letter| {
            if letter == '\\' || letter.is_ascii_whitespace() {
                text.push('\\');
            }
            text.push(letter);
            text
        });
        // The last one counts.
        let before = self.param("options").map(|options| format!("{options} ")).unwrap_or_default();
        self.with_param("options", format!("{before}-c {name}={escaped}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> DatabaseUrl {
        "postgres://ann:pw@db/app?sslmode=require".parse().unwrap()
    }

    #[test]
    fn what_a_url_could_not_say_cannot_be_set() {
        assert!(url().with_param("sslmod", "require").is_err());
        assert!(url().with_param("sslmode", "maybe").is_err());
        assert!(url().with_param("connect_timeout", "soon").is_err());
        for name in OWN {
            assert!(url().with_param(name, "1").is_err(), "{name}");
        }
        // As the URL with both would be: a channel that is bound needs TLS that is required.
        assert!("postgres://ann@db/app?sslmode=prefer&sslrootcert=system".parse::<DatabaseUrl>().is_err());
        assert!(url().with_param("sslrootcert", "system").is_err());
    }

    #[test]
    fn a_setting_has_its_last_value_and_leaves_the_others() {
        let values = ["a b", "\"Tenant 7\", public", "c:\\x", "", " ", "tab\there"];
        for value in values {
            let url = url().with_setting("work_mem", "8MB").unwrap();
            let url =
                url.with_setting("search_path", "first").unwrap().with_setting("search_path", value).unwrap();
            assert_eq!(url.session_settings()["search_path"], value);
            assert_eq!(url.session_settings()["work_mem"], "8MB");
        }
        for name in ["", "search path", "a=b", "1x", "a;b"] {
            assert!(url().with_setting(name, "x").is_err(), "{name:?}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let url = url().with_password("secret".to_owned()).with_user("bob");
        assert!(!format!("{url} {url:?}").contains("secret"));
        assert!(!url.with_password(None).has_password());
    }
}
