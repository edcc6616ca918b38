//! Reads what the server says beside its answers: NOTICE, WARNING.

/// A message of the server's that is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) severity: String,
    pub(crate) message: String,
}

impl Notice {
    /// From the body of NoticeResponse: a letter and a text that ends with zero, again and again. What was
    /// cut off is left out.
    pub(crate) fn read(body: &[u8]) -> Option<Notice> {
        let field = |wanted: u8| {
            body.split(|byte| *byte == 0)
                .filter_map(|field| field.split_first())
                .find(|(letter, _)| **letter == wanted)
                .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        };
        // `V` is the severity in English, whatever the server speaks.
        Some(Notice { severity: field(b'V').or_else(|| field(b'S'))?, message: field(b'M')? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_severity_and_the_message_are_read() {
        let notice = Notice::read(b"SWARNUNG\0VWARNING\0C01000\0Mno such thing\0\0").unwrap();
        assert_eq!((notice.severity.as_str(), notice.message.as_str()), ("WARNING", "no such thing"));
        assert_eq!(Notice::read(b"SWARNING\0"), None);
    }
}
